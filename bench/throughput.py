"""Reads and writes through the client library, by 1 to 128 callers, beside what asks Redis, etcd or the daemon otherwise.

`python -m bench.throughput` measures this alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import grpc.aio

from bench.processes import floor
from bench.racing import Call, Race, Side, Size, Target, p50_to, race, rate_to
from bench.stage import (
    BARE,
    BLOCKING,
    CACHED,
    DIRECT,
    ETCD,
    KEYS,
    KILOBYTE,
    MEMORY,
    OWNED,
    REDIS,
    UNARY,
    Clients,
    Servers,
    clients,
    each,
    servers,
    unary_get,
    value,
)
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub

CALLERS = (1, 8, 32, 128)
MOST = 32
BATCH = KEYS[:100]
MIXED_SETS = 10
"""One call of so many is a Set, the others are Gets."""
SIZES = (KILOBYTE, 16 * KILOBYTE, 256 * KILOBYTE)
Progress = Callable[[str], None]


def _to_direct(memory: float | None = None, tiered: float | None = None) -> list[Target]:
    """Both daemons to redis.asyncio."""
    return [rate_to(MEMORY, DIRECT, at_least=memory), rate_to(REDIS, DIRECT, at_least=tiered)]


async def _gets(at: Clients, bare: StateServiceStub, callers: int, size: Size) -> Race:
    started = at.servers
    sides = [at.side(name, running, each(KEYS, _getter(client))) for name, client, running in at.ours()]
    sides += [
        at.direct(each(KEYS, at.valkey.get)),
        Side(name=UNARY, call_of=each(KEYS, unary_get(at.stub, CACHED)), pids=[started.memory.pid]),
        Side(name=BARE, call_of=each(KEYS, unary_get(bare, CACHED))),
    ]
    if at.etcd is not None and started.etcd is not None:
        ask = at.etcd.get
        sides.append(
            Side(name=ETCD, call_of=each(KEYS, lambda key: ask(key.encode())), pids=[started.etcd.process.pid])
        )
    targets = _to_direct()
    if callers == MOST and size.loop == "asyncio":
        targets = _to_direct(memory=2.5, tiered=1.2)
    if at.etcd is not None:
        targets.append(rate_to(MEMORY, ETCD))
    if callers == 1:
        sides.append(at.direct(each(KEYS, _blocking(at.blocking.get)), BLOCKING))
        targets += [p50_to(MEMORY, UNARY, at_most=0.75), p50_to(MEMORY, BARE), p50_to(MEMORY, BLOCKING)]
    on = "" if size.loop == "asyncio" else f", {size.loop}"
    return await race(f"Get, 1 KB, a hit{on}", sides, targets, callers=callers, size=size)


async def _sets(at: Clients, size: Size) -> Race:
    content = value(KILOBYTE)
    sides = [at.side(name, running, each(KEYS, _setter(client, OWNED, content))) for name, client, running in at.ours()]
    sides.append(at.direct(each(KEYS, _direct_setter(at, content))))
    return await race("Set, 1 KB, the hot tier's own", sides, _to_direct(), callers=MOST, size=size)


async def _synced_sets(at: Clients, size: Size) -> Race | None:
    """Writes that are on disk when they are acknowledged."""
    if at.etcd is None or at.servers.etcd is None:
        return None
    content, put, etcd_pid = value(KILOBYTE), at.etcd.put, at.servers.etcd.process.pid
    ours = each(KEYS, lambda key: at.memory.set(CACHED, key, content))
    theirs = each(KEYS, lambda key: put(key.encode(), content))
    sides = [
        Side(name="SQLite", call_of=ours, pids=[at.servers.memory.pid]),
        Side(name=ETCD, call_of=theirs, pids=[etcd_pid]),
    ]
    return await race("Set, 1 KB, synced to disk", sides, [rate_to("SQLite", ETCD)], callers=MOST, size=size)


async def _mixed(at: Clients, size: Size) -> Race:
    content = value(KILOBYTE)

    def mixed(get: Callable[[str], Any], put: Callable[[str], Any]) -> Callable[[int], Call]:
        turns = count()
        return each(KEYS, lambda key: get(key) if next(turns) % MIXED_SETS else put(key))

    sides = [
        at.side(name, running, mixed(_getter(client, OWNED), _setter(client, OWNED, content)))
        for name, client, running in at.ours()
    ]
    sides.append(at.direct(mixed(at.valkey.get, _direct_setter(at, content))))
    return await race("90 % Get, 10 % Set, 1 KB", sides, _to_direct(), callers=MOST, size=size)


async def _batches(at: Clients, callers: int, size: Size) -> Race:
    sides = [at.side(name, running, _always(_batch_getter(client))) for name, client, running in at.ours()]
    sides.append(at.direct(_always(lambda: at.valkey.mget(BATCH))))
    return await race("BatchGet of 100, 1 KB each", sides, _to_direct(), callers=callers, size=size)


async def _by_size(at: Clients, progress: Progress, size: Size) -> list[Race]:
    races = []
    for bytes_ in SIZES:
        told, content, keys = f"{bytes_ // KILOBYTE} KB", value(bytes_), [f"{bytes_}-{key}" for key in KEYS[:64]]
        progress(f"Get and Set, {told}")
        await at.fill(OWNED, content, keys)
        gets = [at.side(name, running, each(keys, _getter(of, OWNED))) for name, of, running in at.ours()]
        gets.append(at.direct(each(keys, at.valkey.get)))
        races.append(await race(f"Get by size, {told}", gets, _to_direct(), callers=8, size=size))
        sets = [at.side(name, running, each(keys, _setter(of, OWNED, content))) for name, of, running in at.ours()]
        sets.append(at.direct(each(keys, _direct_setter(at, content))))
        races.append(await race(f"Set by size, {told}", sets, _to_direct(), callers=8, size=size))
    return races


def _getter(client: Any, namespace: str = CACHED) -> Callable[[str], Any]:
    return lambda key: client.get(namespace, key)


def _setter(client: Any, namespace: str, content: bytes) -> Callable[[str], Any]:
    return lambda key: client.set(namespace, key, content)


def _direct_setter(at: Clients, content: bytes) -> Callable[[str], Any]:
    return lambda key: at.valkey.set(key, content)


def _batch_getter(client: Any) -> Call:
    return lambda: client.batch_get(CACHED, BATCH)


def _always(call: Call) -> Callable[[int], Call]:
    return lambda _: call


def _blocking(call: Callable[[str], object]) -> Callable[[str], Awaitable[object]]:
    async def blocked(key: str) -> object:
        return call(key)

    return blocked


async def _hits(started: Servers, progress: Progress, size: Size) -> list[Race]:
    """By all numbers of callers, on Python's own loop; by some, on another."""
    async with clients(started) as at:
        content = value(KILOBYTE)
        await at.fill(CACHED, content)
        if at.etcd is not None:
            for key in KEYS:
                await at.etcd.put(key.encode(), content)
        answer: pb.GetResponse = await unary_get(at.stub, CACHED)(KEYS[0])
        races = []
        with floor({"Get": dict.fromkeys(KEYS, answer.SerializeToString().hex())}) as bare_target:
            async with grpc.aio.insecure_channel(bare_target) as channel:
                for callers in CALLERS if size.loop == "asyncio" else (1, MOST):
                    progress(f"Get, {callers} callers, {size.loop}")
                    races.append(await _gets(at, StateServiceStub(channel), callers, size))
        return races


async def _others(started: Servers, progress: Progress, size: Size) -> list[Race]:
    async with clients(started) as at:
        for namespace in (CACHED, OWNED):
            await at.fill(namespace, value(KILOBYTE))
        races = []
        for title, made in _calls(at, size):
            progress(title)
            if (measured := await made) is not None:
                races.append(measured)
        return [*races, *await _by_size(at, progress, size)]


def _calls(at: Clients, size: Size) -> Iterator[tuple[str, Awaitable[Race | None]]]:
    yield "Set", _sets(at, size)
    yield "Set, synced", _synced_sets(at, size)
    yield "90 % Get, 10 % Set", _mixed(at, size)
    for callers in (1, 8):
        yield f"BatchGet, {callers} callers", _batches(at, callers, size)


def measure(progress: Progress, size: Size) -> list[Race]:
    """All of them, on servers that live through the whole measurement."""
    progress("servers for reads and writes")
    with servers(etcd=True) as started:
        hits = size.run(_hits(started, progress, size))
        if size.loop == "asyncio":
            hits += (other := replace(size, loop="uvloop")).run(_hits(started, progress, other))
        return [*hits, *size.run(_others(started, progress, size))]


if __name__ == "__main__":
    from bench.alone import run

    run(measure)
