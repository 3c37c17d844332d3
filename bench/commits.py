"""CAS on PostgreSQL through the daemon, beside the least that a compare-and-set can be: one UPDATE by psycopg.

The bare one stores a value where the version is the expected one, over a pool of 16 connections, or over one where one
caller asks. Ours stores the entry, the request id with its outcome, and a change row. Both sync each commit.
`python -m bench.commits` measures this alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio

from bench.peers import CAS_INSERT, CAS_TABLE, POOL_SIZE, Pool, pool
from bench.processes import RunningDaemon, daemon, floor
from bench.racing import Block, Call, Race, Side, Size, Target, race, rate_to
from bench.stage import KILOBYTE, TIMEOUT_S, value
from servers.postgres import Postgres
from statesidecar import AsyncStateClient
from statesidecar._calls import new_request_id
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub

WRITERS = 32
NAMESPACE = "default"
OURS, PSYCOPG, BARE = "PostgreSQL tier", "psycopg", "bare handler"
DIRECT_SHARE = 1.6
"""One CAS may take as long as the bare gRPC call, and so many times the bare statement."""


def _key(number: int) -> str:
    return f"writer-{number}"


def _ours(client: AsyncStateClient, versions: dict[str, int]) -> Callable[[int], Call]:
    content = value(KILOBYTE)

    def call_of(number: int) -> Call:
        key = _key(number)

        async def cas() -> None:
            done = await client.cas(NAMESPACE, key, content, expected_version=versions.get(key, 0))
            versions[key] = done.version

        return cas

    return call_of


def _psycopg(connections: Pool, versions: dict[str, int]) -> Callable[[int], Call]:
    content = value(KILOBYTE)

    def call_of(number: int) -> Call:
        key = _key(number)

        async def cas() -> None:
            versions[key] = await connections.cas(key.encode(), content, versions[key])

        return cas

    return call_of


def _bare(stub: StateServiceStub) -> Callable[[int], Call]:
    rpc: Any = stub.CAS
    content = value(KILOBYTE)

    def cas() -> Any:
        request = pb.CASRequest(
            namespace=NAMESPACE, key=_key(0), value=content, expected_version=1 << 48, request_id=new_request_id()
        )
        return rpc(request, timeout=TIMEOUT_S)

    return lambda _: cas


def _allowed(blocks: Mapping[str, Block]) -> float:
    return blocks[OURS].p50_us / (blocks[BARE].p50_us + DIRECT_SHARE * blocks[PSYCOPG].p50_us)


async def _measure(running: RunningDaemon, server: Postgres, progress: Callable[[str], None], size: Size) -> list[Race]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncStateClient(running.target))
        connections = await stack.enter_async_context(pool(server))
        lone = await stack.enter_async_context(pool(server, 1))
        await connections.rows(CAS_TABLE)
        for number in range(WRITERS):
            await connections.rows(CAS_INSERT, _key(number).encode(), value(KILOBYTE))
        versions: dict[str, int] = {}
        theirs = {_key(number): 1 for number in range(WRITERS)}
        answer = await client.set(NAMESPACE, _key(0), value(KILOBYTE))
        versions[_key(0)] = answer.version
        ready = pb.CASResponse(version=answer.version, durability="DURABILITY_COMMITTED", mode="SERVING_MODE_NORMAL")
        bare_target = stack.enter_context(floor({"CAS": {_key(0): ready.SerializeToString().hex()}}))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(bare_target))

        def sides(connections: Pool) -> list[Side]:
            pids = [running.pid, server.process.pid]
            return [
                Side(name=OURS, call_of=_ours(client, versions), pids=pids),
                Side(name=PSYCOPG, call_of=_psycopg(connections, theirs), pids=pids[1:]),
            ]

        progress(f"CAS on PostgreSQL, {WRITERS} writers")
        many = await race(
            f"CAS, 1 KB, PostgreSQL, a pool of {POOL_SIZE}",
            sides(connections),
            [rate_to(OURS, PSYCOPG, at_least=0.8)],
            callers=WRITERS,
            size=size,
        )
        progress("CAS on PostgreSQL, one writer")
        one = await race(
            "CAS, 1 KB, PostgreSQL",
            [*sides(lone), Side(name=BARE, call_of=_bare(StateServiceStub(channel)))],
            [Target(title=f"p50 / (bare handler + {DIRECT_SHARE} x psycopg)", value=_allowed, at_most=1.0)],
            callers=1,
            size=size,
        )
        return [many, one]


def measure(progress: Callable[[str], None], size: Size) -> list[Race]:
    """Both, on one server that syncs each commit."""
    with Postgres(fsync=True) as server, daemon(f"tiers.warm={server.url(schema='state_sidecar')}") as running:
        return size.run(_measure(running, server, progress, size))


if __name__ == "__main__":
    from bench.alone import run

    run(measure)
