"""What the comparisons of reads and writes share: two daemons, the servers beside them, and a client for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import grpc.aio
import redis
import redis.asyncio

from bench.peers import EtcdClient
from bench.processes import RunningDaemon, daemon
from bench.racing import Call, Side
from servers.base import HOST
from servers.etcd import Etcd
from servers.redis import Valkey
from statesidecar import AsyncStateClient, Tier
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub

CACHED, OWNED = "default", "system"
"""Namespaces: of SQLite with the hot tier before it; of the hot tier alone."""
KEYS = [f"user-{number:04}" for number in range(1000)]
KILOBYTE = 1024
TIMEOUT_S = 5.0
WARMING_MAX = 100
CONNECTIONS_MAX = 256
"""Of redis.asyncio: one for each caller, of whom its own default is too few."""
MEMORY, REDIS, DIRECT, BLOCKING, UNARY, BARE, ETCD = (
    *("memory", "Redis tier", "redis.asyncio", "redis-py"),
    *("unary stub", "bare handler", "etcd"),
)


def value(size: int) -> bytes:
    """Bytes of a value, always the same."""
    return (bytes(index * 7 % 251 for index in range(KILOBYTE)) * (size // KILOBYTE + 1))[:size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Processes that live through a whole measurement."""

    memory: RunningDaemon
    tiered: RunningDaemon
    valkey: Valkey
    etcd: Etcd | None


@contextmanager
def servers(*, etcd: bool = False) -> Iterator[Servers]:
    """A daemon on embedded tiers, one whose hot tier is a Valkey over loopback, and what they are compared with."""
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey())
        yield Servers(
            memory=stack.enter_context(daemon()),
            tiered=stack.enter_context(daemon(f"tiers.hot={valkey.url}")),
            valkey=valkey,
            etcd=stack.enter_context(Etcd()) if etcd else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """One of each, on the loop of whoever measures."""

    servers: Servers
    memory: AsyncStateClient
    tiered: AsyncStateClient
    valkey: redis.asyncio.Redis
    blocking: redis.Redis
    stub: StateServiceStub
    etcd: EtcdClient | None

    def ours(self) -> Iterable[tuple[str, AsyncStateClient, RunningDaemon]]:
        """Both daemons, by the names of their sides."""
        yield MEMORY, self.memory, self.servers.memory
        yield REDIS, self.tiered, self.servers.tiered

    def side(self, name: str, client: RunningDaemon, call_of: Callable[[int], Call]) -> Side:
        """A side of ours; its server's CPU time is the daemon's, and what it asks Valkey for."""
        pids = [client.pid, self.servers.valkey.process.pid] if name == REDIS else [client.pid]
        return Side(name=name, call_of=call_of, pids=pids)

    def direct(self, call_of: Callable[[int], Call], name: str = DIRECT) -> Side:
        """A side that asks Valkey itself."""
        return Side(name=name, call_of=call_of, pids=[self.servers.valkey.process.pid])

    async def fill(self, namespace: str, content: bytes, keys: Iterable[str] = KEYS) -> None:
        """Have these keys in both daemons' hot tiers and in Valkey itself."""
        names = list(keys)
        for _, client, _ in self.ours():
            await asyncio.gather(*(client.set(namespace, key, content) for key in names))
            await _warmed(client, namespace, names)
        await self.valkey.mset(dict.fromkeys(names, content))


@asynccontextmanager
async def clients(started: Servers) -> AsyncIterator[Clients]:
    """Closed at the end."""
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(started.memory.target))
        etcd = None if started.etcd is None else EtcdClient(started.etcd)
        if etcd is not None:
            stack.push_async_callback(etcd.channel.close)
        direct = redis.asyncio.Redis(host=HOST, port=started.valkey.port, max_connections=CONNECTIONS_MAX)
        stack.push_async_callback(direct.aclose)
        yield Clients(
            servers=started,
            memory=await stack.enter_async_context(AsyncStateClient(started.memory.target)),
            tiered=await stack.enter_async_context(AsyncStateClient(started.tiered.target)),
            valkey=direct,
            blocking=stack.enter_context(redis.Redis(host=HOST, port=started.valkey.port)),
            stub=StateServiceStub(channel),
            etcd=etcd,
        )


async def _warmed(client: AsyncStateClient, namespace: str, keys: list[str]) -> None:
    """Until each read is a hit: what a read finds in the authority is brought to the cache after its answer."""
    for _ in range(WARMING_MAX):
        reads = await asyncio.gather(*(client.get(namespace, key) for key in keys))
        if all(read.entry is not None and read.served_by is Tier.HOT for read in reads):
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"the keys of {namespace} did not get to the hot tier")


def each(keys: list[str], call: Callable[[str], Any]) -> Callable[[int], Call]:
    """What a caller does: `call` with one key after another, each caller beginning elsewhere."""

    def call_of(number: int) -> Call:
        start = number * 31 % len(keys)
        names = cycle([*islice(keys, start, None), *keys[:start]])
        return lambda: call(next(names))

    return call_of


def unary_get(stub: StateServiceStub, namespace: str) -> Callable[[str], Any]:
    """A Get by the generated stub, with a deadline, as callers without the client library send it."""
    rpc: Any = stub.Get
    return lambda key: rpc(pb.GetRequest(namespace=namespace, key=key), timeout=TIMEOUT_S)
