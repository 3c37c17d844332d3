"""The calls of a client that has near caches: reads that fill them, writes that they hear of; and what their watch tells them."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

from statesidecar import _replies, _requests
from statesidecar._channel import Connection
from statesidecar._credentials import Token
from statesidecar._effects import Attempt, Plan
from statesidecar._following import Following
from statesidecar._near import Near, nears
from statesidecar._retry import RetryPolicy, backoff_s, repeatable
from statesidecar._states import States
from statesidecar.errors import DeadlineExceeded, InvalidRequest, StateSidecarError, Unavailable, WatchExpired
from statesidecar.near import NearCache
from statesidecar.types import Consistency, GetResult
from statesidecar.v1 import state_service_pb2 as pb

SILENCE_S: Final = 3.0
"""A watch over which nothing comes for so long is begun anew: by then nothing is returned for its sake."""
SLOW_S: Final = 30.0
"""Until a namespace that can't be watched, or may not, is tried again."""
_ONE_KEY: Final = frozenset({"Set", "CAS", "Delete", "Update"})
_NO_CHANGE: Final = frozenset({"Checkpoint"})


class NearStates(States):
    """As `States`, with near caches."""

    def __init__(
        self,
        timeout_s: float,
        retry: RetryPolicy,
        *,
        token: Token | None = None,
        near: Mapping[str, NearCache] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(timeout_s, retry, token=token, clock=clock)
        #: By namespace.
        self.near: dict[str, Near] = nears(near, self.floors)

    def near_get(
        self,
        near: Near,
        key: str,
        *,
        consistency: Consistency,
        min_version: int | None,
        max_schema_version: int,
        timeout_s: float | None,
    ) -> Plan[GetResult]:
        """A `get` of what the cache doesn't have. It asks the authority where the answer is to be kept.

        That is tried once, in half of the time: fails it, then the daemon is asked as by any other client.
        """
        namespace, deadline = near.namespace, self._deadline(timeout_s)
        reading = near.reading(key, max_schema_version)
        if reading is not None and consistency is not Consistency.STRONG:
            floor = self._floor(namespace, key, consistency) if min_version is None else min_version
            request = _requests.get(namespace, key, Consistency.STRONG, 0, max_schema_version)
            try:
                reply = yield Attempt("Get", request, (deadline - self._clock()) / 2)
            except (Unavailable, DeadlineExceeded):
                near.failed()
            except StateSidecarError:
                pass  # What is wrong with the call, the plain one is told as well
            else:
                found = _replies.get(reply)
                if found.version >= floor:  # Else a version that was seen is gone: the plain call says how
                    self.floors.observe(namespace, key, found.version)
                    near.keep(reading, found)
                    return found
        result = yield from self.get(
            namespace,
            key,
            consistency=consistency,
            min_version=min_version,
            max_schema_version=max_schema_version,
            timeout_s=deadline - self._clock(),
        )
        if reading is not None and consistency is Consistency.STRONG:
            near.keep(reading, result)
        return result

    def near_following(self, near: Near) -> NearFollowing:
        """What a watch for a near cache remembers between its streams."""
        return NearFollowing(near, self._retry, self.random, self.token)

    def _write(self, rpc: str, request: Any, timeout_s: float | None) -> Plan[Any]:
        try:
            return (yield from super()._write(rpc, request, timeout_s))
        finally:  # Whatever became of it: it may have landed, and not every write knows its version
            if (near := self.near.get(request.namespace)) is not None:
                _changed(near, rpc, request)

    def _send(self, rpc: str, request: Any, deadline: float, **how: Any) -> Plan[Any]:
        sent = super()._send(rpc, request, deadline, **how)
        if rpc != "Touch" or (near := self.near.get(request.namespace)) is None:
            return sent
        return _touching(sent, near, request.key)


def states(timeout_s: float, retry: RetryPolicy, token: Token | None, near: Mapping[str, NearCache] | None) -> States:
    """A client's calls. Without near caches they have nothing to do with them."""
    return NearStates(timeout_s, retry, token=token, near=near) if near else States(timeout_s, retry, token=token)


def near_of(calls: States) -> dict[str, Near]:
    """A client's near caches."""
    return calls.near if isinstance(calls, NearStates) else {}


class Door:
    """A client's connections, without keeping the client alive: one that is dropped has no more watches."""

    def __init__(
        self,
        borrow: Callable[[], Connection],
        give_back: Callable[[Connection], Any],
        give_up: Callable[[Connection], None],
    ) -> None:
        """Methods of the client."""
        self._borrow = weakref.WeakMethod(borrow)
        self._give_back = weakref.WeakMethod(give_back)
        self._give_up = weakref.WeakMethod(give_up)

    def borrow(self) -> Connection:
        """Raises InvalidRequest once the client is closed or gone."""
        borrow = self._borrow()
        if borrow is None:
            raise InvalidRequest("CLIENT_CLOSED", "the client is gone")
        return borrow()

    def give_back(self, connection: Connection) -> Any:
        """An asyncio client's is to be awaited."""
        give_back = self._give_back()
        return connection.channel.close() if give_back is None else give_back(connection)

    def give_up(self, connection: Connection) -> None:
        """Nothing comes over it."""
        if (give_up := self._give_up()) is not None:
            give_up(connection)


class NearFollowing(Following):
    """A watch of a whole namespace for the sake of its near cache. It never ends by itself, and owes nobody an event."""

    silence_s = SILENCE_S

    def __init__(self, near: Near, retry: RetryPolicy, random: Callable[[], float], token: Token | None = None) -> None:
        super().__init__(pb.WatchRequest(namespace=near.namespace, all=True), retry, random, token)
        self._near = near

    def take(self, response: pb.WatchResponse) -> None:
        """A response has come. From its place nobody goes on: after a break all is forgotten."""
        self._answered, self._failures = True, 0
        if self._renewal is not None:
            self._renewal.answered()
        if response.HasField("event"):
            event = response.event
            # That an entry has ended is no version to be read back
            ended = event.type == pb.EVENT_TYPE_EXPIRE
            self._near.changed(event.entry.key, 0 if ended else event.entry.version)
        self._near.heard()

    def failed(self, error: StateSidecarError) -> float:
        """A stream has ended, or could not be begun: the pause before the next."""
        self._near.broke()
        if self._renewal is not None and self._renewal.helps(error):
            return 0.0
        self._failures += 1
        if not isinstance(error, WatchExpired) and not repeatable(error, idempotent=True):
            return SLOW_S
        asked_s: float = getattr(error, "retry_after_s", None) or 0.0
        return asked_s + backoff_s(self._failures, self._retry, self._random)


def _touching(sent: Plan[Any], near: Near, key: str) -> Plan[Any]:
    try:
        return (yield from sent)
    finally:  # A copy has the end that the entry had before
        near.changed(key, 0)


def _changed(near: Near, rpc: str, request: Any) -> None:
    if rpc in _ONE_KEY:
        near.changed(request.key, 0)
    elif rpc == "Transact":
        for operation in request.operations:
            kind = operation.WhichOneof("operation")
            if kind not in {None, "check"}:
                near.changed(getattr(operation, kind).key, 0)
    elif rpc not in _NO_CHANGE:
        near.changed_any()
