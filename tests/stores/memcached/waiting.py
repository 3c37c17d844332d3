"""Waiting for a server that was away, without sleeping: daemons try again when their clock has moved on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sidecar.core.cache import CacheUnavailable
from tests.support.clock import ManualClock

T = TypeVar("T")


async def until_it_answers(ask: Callable[[], Awaitable[T]], clock: ManualClock) -> T:
    """The first answer that is no CacheUnavailable."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await ask()
            except CacheUnavailable:
                clock.advance(1000)
                await asyncio.sleep(0)


async def until(holds: Callable[[], Awaitable[bool]], clock: ManualClock) -> None:
    """Until something is so."""
    async with asyncio.timeout(20):
        while not await holds():
            clock.advance(1000)
            await asyncio.sleep(0)
