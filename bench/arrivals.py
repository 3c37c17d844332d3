"""A thousand unary Gets a second for a minute over 16 connections, whether or not the last ones were answered.

They come by a clock, and each one's time is counted from when it was due: one that had to wait for another, for the
daemon, or for this process itself is told as late as its caller would have found it. `python -m bench.arrivals` measures
this alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import grpc.aio
import uvloop

from bench.histogram import Histogram
from bench.processes import daemon, floor
from bench.racing import Measured, Outcome, Race
from bench.stage import CACHED, KEYS, KILOBYTE, unary_get, value
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub

PER_S = 1000
CONNECTIONS = 16
LIMIT_S = 0.002
SHARE_MIN = 0.99
OURS, BARE = "Get", "bare handler"

_CLOCK_MONOTONIC, _ABSOLUTE, _NONBLOCK = 1, 1, os.O_NONBLOCK
_NANOSECOND = 10**9


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("first", _Timespec))


@contextmanager
def ticks(start_ns: int, every_ns: int) -> Iterator[int]:
    """A file descriptor that is readable at `start_ns` of the monotonic clock, and after every so many nanoseconds.

    Timers of event loops are as coarse as a millisecond, which is what is measured here. Linux only.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    try:
        spec = _Timer(_Timespec(0, every_ns), _Timespec(*divmod(start_ns, _NANOSECOND)))
        if libc.timerfd_settime(descriptor, _ABSOLUTE, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        yield descriptor
    finally:
        os.close(descriptor)


async def arrive(call_of: Callable[[int], Callable[[], Any]], *, seconds: float) -> list[float]:
    """Seconds of each call from when it was due, of `PER_S` calls a second; call n is made by `call_of(n % CONNECTIONS)`."""
    loop, calls = asyncio.get_running_loop(), [call_of(number) for number in range(CONNECTIONS)]
    every_ns, total = _NANOSECOND // PER_S, int(seconds * PER_S)
    durations: list[float] = []
    tasks: set[asyncio.Task[None]] = set()
    all_due = loop.create_future()
    made = 0

    async def call(number: int) -> None:
        due_ns = start_ns + number * every_ns
        await calls[number % CONNECTIONS]()
        durations.append((time.monotonic_ns() - due_ns) / _NANOSECOND)

    def tick() -> None:
        nonlocal made
        # How many were due since the last time: more than one if this process was late.
        for _ in range(min(int.from_bytes(os.read(descriptor, 8), sys.byteorder), total - made)):
            task = loop.create_task(call(made))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            made += 1
        if made == total and not all_due.done():
            all_due.set_result(None)

    start_ns = time.monotonic_ns() + 10 * every_ns
    with ticks(start_ns, every_ns) as descriptor:
        loop.add_reader(descriptor, tick)
        await all_due
        loop.remove_reader(descriptor)
    await asyncio.gather(*tasks)
    return durations


@asynccontextmanager
async def _gets(target: str) -> AsyncIterator[Callable[[int], Callable[[], Any]]]:
    """What each connection's caller does; every one is a connection of its own, and made."""
    async with AsyncExitStack() as stack:
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(target, options=own)) for _ in range(CONNECTIONS)
        ]
        gets = [unary_get(StateServiceStub(channel), CACHED) for channel in channels]

        def call_of(number: int) -> Callable[[], Any]:
            return lambda: gets[number](KEYS[number])

        await asyncio.gather(*(call_of(number)() for number in range(CONNECTIONS)))
        yield call_of


async def _measure(target: str, seconds: float) -> tuple[list[float], list[float]]:
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = StateServiceStub(channel)
        for key in KEYS[:CONNECTIONS]:
            await stub.Set(pb.SetRequest(namespace=CACHED, key=key, value=value(KILOBYTE)))
        answer = await unary_get(stub, CACHED)(KEYS[0])
    ready = dict.fromkeys(KEYS, answer.SerializeToString().hex())
    async with _gets(target) as ours:
        durations = await arrive(ours, seconds=seconds)
    with floor({"Get": ready}) as bare_target:
        async with _gets(bare_target) as bare:
            return durations, await arrive(bare, seconds=seconds / 4)


def measure(progress: Callable[[str], None], *, seconds: float = 60.0) -> Race:
    """On a daemon of its own; then the bare handler for a quarter of the time."""
    progress(f"{PER_S} Gets a second for {seconds:.0f} s")
    with daemon() as running:
        ours, bare = uvloop.run(_measure(running.target, seconds))
    return Race(
        title=f"{PER_S} Gets a second, unary, 1 KB, {seconds:.0f} s, {CONNECTIONS} connections",
        callers=CONNECTIONS,
        sides=[_told(OURS, ours, seconds), _told(BARE, bare, seconds / 4)],
        outcomes=[_share(OURS, ours, SHARE_MIN), _share(BARE, bare, None)],
    )


def _told(name: str, durations: list[float], seconds: float) -> Measured:
    histogram = Histogram.of(durations)
    return Measured(
        name=name,
        per_s=len(durations) / seconds,
        p50_us=histogram.quantile(0.5),
        p99_us=histogram.quantile(0.99),
        p999_us=histogram.quantile(0.999),
        max_us=histogram.quantile(1.0),
        client_cpu_us=0.0,
        server_cpu_us=0.0,
        calls=histogram.count,
        histogram=histogram.text(),
    )


def _share(name: str, durations: list[float], at_least: float | None) -> Outcome:
    share = sum(duration < LIMIT_S for duration in durations) / len(durations)
    title = f"{name}, the share below {LIMIT_S * 1e3:.0f} ms"
    return Outcome(title=title, value=share, at_least=at_least, at_most=None, rounds=[share])


if __name__ == "__main__":
    from bench.alone import run

    run(lambda progress, _: [measure(progress)])
