"""What the C library does with the memory of large messages, where values may be so large that it matters.

By itself it keeps freed memory in as many arenas as there are threads, and raises the size from which it gives memory back
with every large block it sees: measured with messages of 64 MiB, up to twice their size stayed behind, and the peaks of
the next ones came on top.
"""

from __future__ import annotations

import asyncio
import ctypes

from sidecar.core.limits import Limits
from sidecar.runtime.settings import Settings

LARGE_BYTES = 8 << 20
"""A message of this size or more leaves something behind that is worth giving back."""
READ_CHUNK_BYTES = 8 << 20
"""What gRPC reads from a socket in one go at most: fewer, larger blocks. With its default, peaks were a tenth higher."""
_SOON_S = 0.2
"""From such a message to the giving back: its reply is on the wire by then."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_OPTIONS = {_M_MMAP_THRESHOLD: 1 << 20, _M_TRIM_THRESHOLD: 16 << 20, _M_ARENA_MAX: 1}


def is_concerned(settings: Settings) -> bool:
    """Whether messages may be larger than by default."""
    return settings.request_limits().message_bytes_max > Limits().message_bytes_max


def prepare(settings: Settings) -> None:
    """Have large blocks come from the system and go back to it. To be called before there are threads."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if is_concerned(settings) else None
    if mallopt is not None:
        for option, value in _OPTIONS.items():
            mallopt(option, value)


def server_options(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Options of the gRPC server."""
    return (("grpc.experimental.tcp_max_read_chunk_size", READ_CHUNK_BYTES),) if is_concerned(settings) else ()


class GivingBack:
    """Gives freed memory back after large messages, in a thread. For the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if is_concerned(settings) else None
        self._due = False

    def moved(self, size: int) -> None:
        """A message of so many bytes came or goes."""
        if size < LARGE_BYTES or self._due or self._trim is None:
            return
        self._due = True
        asyncio.get_running_loop().call_later(_SOON_S, self._give_back)

    def _give_back(self) -> None:
        self._due = False
        if self._trim is not None:
            asyncio.get_running_loop().run_in_executor(None, self._trim, 0)
