"""Near caches of the asyncio client: reads that look there first, and a task for the watch of each namespace."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast

from statesidecar._effects import Plan
from statesidecar._near import Near
from statesidecar._near_calls import SLOW_S, Door, NearStates
from statesidecar._states import States
from statesidecar._watches import AsyncWatch
from statesidecar.errors import InvalidRequest, StateSidecarError
from statesidecar.types import Consistency

if TYPE_CHECKING:
    from statesidecar._async_client import AsyncStateClient

P = ParamSpec("P")
T = TypeVar("T")
_TURN: Final = 0xFF
"""Of so many hits, plus one, the last lets the event loop turn: who only hits would keep it from hearing of changes."""


def near_first(
    plan: Callable[Concatenate[States, P], Plan[T]],
) -> Callable[Concatenate[AsyncStateClient, P], Coroutine[Any, Any, T]]:
    """`get` of the client: from the near cache, if the namespace has one that may answer; no plan is made for that."""
    made = cast("Callable[..., Plan[T]]", plan)

    @wraps(plan)
    async def call(
        self: AsyncStateClient,
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
            if not near.hits & _TURN:
                await asyncio.sleep(0)
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
            return await self._run(whole)
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
        return await self._run(fill)

    return cast("Callable[Concatenate[AsyncStateClient, P], Coroutine[Any, Any, T]]", call)


async def close_near(nears: Iterable[Near]) -> None:
    """Ends the watches, and waits until they are over."""
    tasks = [task for near in nears if (task := near.close()) is not None]
    await asyncio.gather(*tasks, return_exceptions=True)


def watch_near(near: Near, calls: States, door: Door, client: object) -> None:
    """Begin to follow the namespace; until `near` is closed, or the client is collected."""
    if not near.begin():
        return
    loop = asyncio.get_running_loop()
    following = cast("NearStates", calls).near_following(near)
    task = loop.create_task(_follow(AsyncWatch(following, door.borrow, door.give_back, door.give_up), near))

    def stop() -> asyncio.Task[None] | None:
        if loop.is_closed() or task.done():
            return None
        task.cancel()
        return task

    near.stop = stop
    weakref.finalize(client, _dropped, loop, stop, os.getpid()).atexit = False


async def _follow(watch: AsyncWatch, near: Near) -> None:
    """Until it is cancelled, or the client is closed."""
    try:
        while True:
            try:
                await anext(watch, None)  # Never an event
            except InvalidRequest:
                return
            except StateSidecarError:  # A token that can't be had, say
                near.broke()
                await asyncio.sleep(SLOW_S)
    finally:
        near.broke()
        await watch.close()


def _dropped(loop: asyncio.AbstractEventLoop, stop: Callable[[], object], pid: int) -> None:
    """Its client was, without being closed. The collector runs in any thread."""
    if os.getpid() == pid:
        with suppress(RuntimeError):  # The loop is closed, and with it all tasks are over
            loop.call_soon_threadsafe(stop)
