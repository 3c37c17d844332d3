"""What a consumer decides, blocking or asyncio: what it shows, what it sends, and when it connects again. No I/O."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Final

from statesidecar import _replies
from statesidecar._credentials import Renewal, Token
from statesidecar._retry import RetryPolicy, backoff_s, repeatable
from statesidecar.errors import StateSidecarError, Unavailable
from statesidecar.outbox import ReceivedMessage, Refusal
from statesidecar.v1 import outbox_service_pb2 as pb

CLOSE_S: Final = 2.0
"""How long the end of a consumer waits for the daemon to have taken its last acknowledgements."""
LASTING_S: Final = 5.0
"""A stream that lasted so long was one, also if nothing came down it."""
REMEMBERED: Final = 10_000
_RANDOM: Final = SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be consumed, and how."""

    namespace: str
    topics: Iterable[str]
    in_flight_max: int
    remember: int
    reconnect_s: float | None

    def __post_init__(self) -> None:
        if isinstance(self.topics, str) or self.remember < 0 or (self.reconnect_s or 0.0) < 0:
            raise ValueError("topics are several, and remember >= 0 and reconnect_s >= 0 are needed")


class Consuming:
    """One consumer over all of its streams. Thread-safe: messages are settled by whoever dealt with them.

    It remembers which messages it has shown. One that comes again, because its acknowledgement was lost with a stream or
    the stream broke while the caller had it, is not shown again: it is acknowledged again, or will be. One that was
    refused is shown again. What had come down a broken stream and was not shown is dropped: others may have it by now.
    """

    def __init__(
        self,
        asked: Asked,
        policy: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _RANDOM.random,
        token: Token | None = None,
    ) -> None:
        self._asked = asked
        self._policy = policy
        self._clock = clock
        self._random = random
        self._renewal = None if token is None else Renewal(token)
        self._lock = threading.Lock()
        self._wake: Callable[[], None] = _nobody
        self._stream = 0
        self._ready: deque[pb.DeliveredMessage] = deque()
        self._settled: dict[str, Refusal | None] = {}
        """What the stream's next request says."""
        self._shown: OrderedDict[str, bool] = OrderedDict()
        """By id, the oldest first: whether it was acknowledged."""
        self._began_s = 0.0
        self._failures = 0
        self._away_since_s: float | None = None

    def begin(self, wake: Callable[[], None]) -> int:
        """A new stream's number. `wake` is called when there is something to send."""
        with self._lock:
            if self._renewal is not None:
                self._renewal.begins()
            self._stream += 1
            self._wake = wake
            self._ready.clear()
            self._settled.clear()
            self._began_s = self._clock()
            return self._stream

    def first(self) -> pb.ConsumeRequest:
        """What a stream begins with."""
        asked = self._asked
        return pb.ConsumeRequest(namespace=asked.namespace, topics=asked.topics, in_flight_max=asked.in_flight_max)

    def request(self, stream: int) -> pb.ConsumeRequest | None:
        """What is to be sent on a stream; None: nothing, or it is over."""
        with self._lock:
            if stream != self._stream or not self._settled:
                return None
            settled, self._settled = self._settled, {}
        return pb.ConsumeRequest(
            acknowledged_ids=[name for name, refusal in settled.items() if refusal is None],
            refused=[
                pb.Refusal(id=name, reason=refusal.reason, permanent=refusal.permanent)
                for name, refusal in settled.items()
                if refusal is not None
            ],
        )

    def received(self, response: pb.ConsumeResponse) -> None:
        """Messages have come."""
        with self._lock:
            self._ready.extend(response.messages)
            self._healthy()

    def message(self) -> ReceivedMessage | None:
        """The next to show; None: nothing has come."""
        with self._lock:
            while self._ready:
                message = self._ready.popleft()
                if not self._known(message.id):
                    return _replies.received(self._asked.namespace, message, self._settle)
        return None

    def broken(self, error: StateSidecarError) -> float:
        """Seconds to wait before the next stream. Raises the error if another could do no better."""
        if self._renewal is not None and self._renewal.helps(error):
            return 0.0
        if not (isinstance(error, Unavailable) or repeatable(error, idempotent=True)):
            raise error
        now_s = self._clock()
        with self._lock:
            if now_s - self._began_s >= LASTING_S:
                self._healthy()
            if self._away_since_s is None:
                self._away_since_s = now_s
            if self._asked.reconnect_s is not None and now_s - self._away_since_s >= self._asked.reconnect_s:
                raise error
            self._failures += 1
            asked_s: float = getattr(error, "retry_after_s", None) or 0.0
            return asked_s + backoff_s(self._failures, self._policy, self._random)

    def _healthy(self) -> None:
        self._failures, self._away_since_s = 0, None
        if self._renewal is not None:
            self._renewal.answered()

    def _known(self, name: str) -> bool:
        if not self._asked.remember:
            return False
        acknowledged = self._shown.get(name)
        if acknowledged is None:
            self._shown[name] = False
            while len(self._shown) > self._asked.remember:
                self._shown.popitem(last=False)
            return False
        if acknowledged:
            self._settled[name] = None
            self._wake()
        return True

    def _settle(self, name: str, refusal: Refusal | None) -> None:
        with self._lock:
            self._settled[name] = refusal
            if refusal is not None:
                self._shown.pop(name, None)
            elif name in self._shown:
                self._shown[name] = True
            self._wake()


def ended() -> Unavailable:
    """What a stream that the daemon has ended without an error counts as."""
    return Unavailable("", "the stream has ended")


def _nobody(*_: Any) -> None:
    """Nobody is to be woken: there is no stream yet."""
