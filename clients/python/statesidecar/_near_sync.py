"""Near caches of the blocking client: reads that look there first, and a thread for the watch of each namespace."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar, cast

from statesidecar._effects import Plan
from statesidecar._near import Near
from statesidecar._near_calls import SLOW_S, Door, NearStates
from statesidecar._states import States
from statesidecar._watches import Watch
from statesidecar.errors import InvalidRequest, StateSidecarError
from statesidecar.types import Consistency

if TYPE_CHECKING:
    from statesidecar._client import StateClient

P = ParamSpec("P")
T = TypeVar("T")
_END_S: Final = 5.0
"""A cancelled stream ends at once; this bounds how long a `close` waits for one that does not."""


def near_first(
    plan: Callable[Concatenate[States, P], Plan[T]],
) -> Callable[Concatenate[StateClient, P], T]:
    """`get` of the client: from the near cache, if the namespace has one that may answer; no plan is made for that."""
    made = cast("Callable[..., Plan[T]]", plan)

    @wraps(plan)
    def call(
        self: StateClient,
        namespace: str,
        key: str,
        *,
        consistency: Consistency = Consistency.CACHED,
        min_version: int | None = None,
        max_schema_version: int = 0,
        timeout_s: float | None = None,
    ) -> object:
        near = self._near.get(namespace)
        if near is not None and (found := near.hit(key, consistency, min_version, max_schema_version)) is not None:
            return found
        if near is None:
            whole = made(
                self._calls,
                namespace,
                key,
                consistency=consistency,
                min_version=min_version,
                max_schema_version=max_schema_version,
                timeout_s=timeout_s,
            )
            return self._run(whole)
        if not near.watched:
            self._watch_near(near)
        fill = cast("NearStates", self._calls).near_get(
            near,
            key,
            consistency=consistency,
            min_version=min_version,
            max_schema_version=max_schema_version,
            timeout_s=timeout_s,
        )
        return self._run(fill)

    return cast("Callable[Concatenate[StateClient, P], T]", call)


def watch_near(near: Near, calls: States, door: Door, client: object) -> None:
    """Begin to follow the namespace, unless somebody else just did; until `near` is closed, or the client is collected."""
    if not near.begin():
        return
    following = cast("NearStates", calls).near_following(near)
    watching = NearWatch(following, door.borrow, door.give_back, door.give_up)
    thread = threading.Thread(target=watching.follow, args=(near,), name="state-sidecar-near", daemon=True)

    def stop() -> None:
        watching.close()
        thread.join(_END_S)

    thread.start()
    near.stop = stop
    weakref.finalize(client, watching.abandon, os.getpid()).atexit = False


class NearWatch(Watch):
    """A watch that no caller iterates."""

    def follow(self, near: Near) -> None:
        """Until it is closed, or the client is."""
        try:
            while not self._closed.is_set():
                try:
                    next(self, None)  # Never an event, so it returns at the end
                except InvalidRequest:
                    return
                except StateSidecarError:  # A token that can't be had, say
                    near.broke()
                    self._closed.wait(SLOW_S)
        finally:
            near.broke()
            self.close()

    def abandon(self, pid: int) -> None:
        """The client was collected, in whichever thread: nothing is waited for, and the thread of the watch ends it."""
        if os.getpid() == pid:  # In a forked child there is no such thread, and the call is the parent's
            self._closed.set()
            if (call := self._call) is not None:
                call.cancel()
