"""What a sink has while it is open, and leaves when it is closed wrongly."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

WAIT_S = 20.0


async def eventually(check: Callable[[], object], what: str = "") -> None:
    """Until `check` is true. Nothing says when a library's thread has ended."""
    end = time.monotonic() + WAIT_S
    while not check():
        assert time.monotonic() < end, what or check
        await asyncio.sleep(0)


class Left(tuple[int, int, int]):
    """Tasks, threads of the process, sockets."""

    __slots__ = ()

    def __le__(self, other: object) -> bool:
        assert isinstance(other, Left)
        return all(mine <= theirs for mine, theirs in zip(self, other, strict=True))


def left() -> Left:
    sockets = 0
    for opened in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            sockets += str(opened.readlink()).startswith("socket:")
    threads = {each.name for each in threading.enumerate() if not each.name.startswith("asyncio_")}
    return Left((len(asyncio.all_tasks()), len(threads), sockets))


def is_left(before: Left) -> bool:
    """Whether there is no more than before."""
    return left() <= before
