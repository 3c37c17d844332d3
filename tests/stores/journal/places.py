"""What a test does at the places that the journal's thread reaches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NoReturn

from sidecar.core import failpoints

HELD_S = 3.0
"""How long a failing test holds the thread."""


@contextmanager
def armed(place: str, effect: Callable[[], None]) -> Iterator[None]:
    """Something happens at a place."""
    failpoints.armed[place] = effect
    try:
        yield
    finally:
        del failpoints.armed[place]


@contextmanager
def counted(place: str) -> Iterator[list[str]]:
    """As long as the place was reached often."""
    reached: list[str] = []
    with armed(place, lambda: reached.append(place)):
        yield reached


@contextmanager
def failing(place: str, error: int) -> Iterator[None]:
    """The disk fails at a place, as an error of what comes next there."""

    def fail() -> NoReturn:
        raise OSError(error, "the disk failed")

    with armed(place, fail):
        yield


@asynccontextmanager
async def held(place: str) -> AsyncIterator[tuple[asyncio.Event, threading.Event]]:
    """The thread waits at the place: when it does so, and what lets it go on."""
    loop = asyncio.get_running_loop()
    reached, release = asyncio.Event(), threading.Event()

    def wait() -> None:
        loop.call_soon_threadsafe(reached.set)
        release.wait(HELD_S)

    with armed(place, wait):
        try:
            yield reached, release
        finally:
            release.set()
