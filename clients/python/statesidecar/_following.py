"""How a watch goes on: what is asked for next, what a response tells, and what becomes of an error. Without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import grpc

from statesidecar import _replies
from statesidecar._credentials import Renewal, Token
from statesidecar._retry import RetryPolicy, backoff_s, repeatable
from statesidecar.errors import StateSidecarError, Unavailable, WatchExpired
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.watching import WatchEvent, WatchEventType

WATCH_TOO_SLOW: Final = "WATCH_TOO_SLOW"
SILENCE_S: Final = 30.0
"""The daemon says something each second, but for a large snapshot's end: who says nothing for so long is gone."""


class Following:
    """One watch over all its streams."""

    silence_s = SILENCE_S

    def __init__(
        self, request: pb.WatchRequest, retry: RetryPolicy, random: Callable[[], float], token: Token | None = None
    ) -> None:
        self.resume_token = request.resume_token
        self._request = request
        self._retry = retry
        self._random = random
        self._renewal = None if token is None else Renewal(token)
        self._answered = False
        self._failures = 0
        self._shown_some = False
        self._owed: deque[WatchEvent] = deque()

    @property
    def begun(self) -> bool:
        """Whether the daemon watches, or has."""
        return self._answered

    def request(self) -> pb.WatchRequest:
        """What the next stream asks for."""
        if self._renewal is not None:
            self._renewal.begins()
        request = pb.WatchRequest()
        request.CopyFrom(self._request)
        request.resume_token = self.resume_token
        request.snapshot = self._request.snapshot and not self.resume_token
        return request

    def event(self) -> WatchEvent | None:
        """The next event that is owed to the caller, if one is."""
        return self._owed.popleft() if self._owed else None

    def take(self, response: pb.WatchResponse) -> None:
        """A response has come."""
        self._answered, self._failures = True, 0
        if self._renewal is not None:
            self._renewal.answered()
        if response.resume_token:
            self.resume_token = response.resume_token
        if response.HasField("event"):
            self._shown_some = self._shown_some or not response.resume_token
            self._owed.append(
                WatchEvent(
                    type=WatchEventType(response.event.type),
                    entry=_replies.entry(response.event.entry),
                    superseded=response.event.superseded,
                    resume_token=response.resume_token,
                )
            )
        if response.snapshot_complete:
            self._shown_some = False
            self._owed.append(WatchEvent(type=WatchEventType.SYNCED, resume_token=response.resume_token))

    def failed(self, error: StateSidecarError) -> float:
        """A stream has ended: the pause before the next. Raises the error if there is to be none."""
        if self._renewal is not None and self._renewal.helps(error):
            return 0.0
        self._failures += 1
        if isinstance(error, WatchExpired):
            if not self._request.snapshot:
                raise error
            self.resume_token, self._shown_some = "", True
        elif self._is_final(error):
            raise error
        if self._shown_some and not self.resume_token:
            self._shown_some = False
            self._owed.append(WatchEvent(type=WatchEventType.RESYNC))
        asked_s: float = getattr(error, "retry_after_s", None) or 0.0
        return asked_s + backoff_s(self._failures, self._retry, self._random)

    def _is_final(self, error: StateSidecarError) -> bool:
        if not self._answered and self._failures >= self._retry.attempts_max:
            return True
        return error.reason != WATCH_TOO_SLOW and not repeatable(error, idempotent=True)


def cut(message: str) -> StateSidecarError:
    """The error of a stream that ended without one."""
    return Unavailable("", message, code=grpc.StatusCode.UNAVAILABLE)
