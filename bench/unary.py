"""Unary calls of the daemon against the floor: the same client code, in one run, in alternating short blocks.

A block is some hundred calls one after another on one side; then the other side has its turn, and who is first changes
each round. Whatever drifts on the machine meets both, and a round's ratio compares neighbours in time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import uvloop

from bench.figures import Row, percentile
from bench.processes import daemon, floor
from statesidecar._calls import new_request_id
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub

KILOBYTE = 1024
DEADLINE_S = 5.0

Prepare = Callable[[], Any]
"""Makes the next request; its time is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row: an RPC on one key of a namespace, which decides the authority."""

    title: str
    method: str
    namespace: str
    value_bytes: int = KILOBYTE
    ratio_max: float | None = None

    @property
    def key(self) -> str:
        return f"{self.method}-{self.namespace}-{self.value_bytes}"

    @property
    def value(self) -> bytes:
        return bytes(index * 7 % 251 for index in range(self.value_bytes))


CASES = (
    Case(title="Get, hot cache hit", method="Get", namespace="session", ratio_max=1.2),
    Case(title="Get, hot cache hit, 16 KB", method="Get", namespace="session", value_bytes=16 * KILOBYTE),
    Case(title="Get, memory authority", method="Get", namespace="system", ratio_max=1.2),
    Case(title="Set, memory authority", method="Set", namespace="system", ratio_max=1.5),
    Case(title="Set, memory authority, 16 KB", method="Set", namespace="system", value_bytes=16 * KILOBYTE),
    Case(title="Set, SQLite, one at a time", method="Set", namespace="session"),
    Case(title="CAS, SQLite, one at a time", method="CAS", namespace="session"),
)


class Side:
    """One server, and how a case's requests are made for it."""

    def __init__(self, target: str, *, token: str = "") -> None:
        self.channel = grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        self._stub = StateServiceStub(self.channel)
        self._versions: dict[str, int] = {}
        self._metadata = (("authorization", f"Bearer {token}"),) if token else None

    async def call(self, case: Case) -> Any:
        """One call, as the client library sends it: with a deadline, and a write with a request id of its own."""
        return await self.sender(case)(self.request(case))

    def sender(self, case: Case) -> Callable[[Any], Awaitable[Any]]:
        rpc = getattr(self._stub, case.method)

        async def send(request: Any) -> Any:
            return await rpc(request, timeout=DEADLINE_S, metadata=self._metadata)

        return send

    def request(self, case: Case) -> Any:
        match case.method:
            case "Get":
                return pb.GetRequest(namespace=case.namespace, key=case.key)
            case "Set":
                return pb.SetRequest(
                    namespace=case.namespace, key=case.key, value=case.value, request_id=new_request_id()
                )
            case _:
                return pb.CASRequest(
                    namespace=case.namespace,
                    key=case.key,
                    value=case.value,
                    request_id=new_request_id(),
                    expected_version=self._versions.get(case.key, 0),
                )

    async def block(self, case: Case, calls: int) -> list[float]:
        """Seconds of each call."""
        send, clock, durations = self.sender(case), time.perf_counter, []
        for _ in range(calls):
            request = self.request(case)
            start = clock()
            response = await send(request)
            durations.append(clock() - start)
            if case.method == "CAS":
                self._versions[case.key] = response.version
        return durations

    async def prepare(self, case: Case) -> bytes:
        """Puts the value there if it is to be read; the bytes of an answer like those that will be measured."""
        if case.method == "Get":
            await self._stub.Set(
                pb.SetRequest(namespace=case.namespace, key=case.key, value=case.value),
                timeout=DEADLINE_S,
                metadata=self._metadata,
            )
            await self.call(case)
        response = await self.call(case)
        if case.method == "CAS":
            self._versions[case.key] = response.version
        answer: bytes = response.SerializeToString()
        return answer


async def compare(case: Case, bare: Side, measured: Side, *, rounds: int, calls: int) -> Row:
    """A row: `measured` beside `bare`, in blocks of so many calls."""
    sides = (bare, measured)
    for side in sides:
        await side.block(case, calls)
    p50: dict[Side, list[float]] = {side: [] for side in sides}
    p99: dict[Side, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 else sides[::-1]:
            durations = sorted(await side.block(case, calls))
            p50[side].append(percentile(durations, 0.5))
            p99[side].append(percentile(durations, 0.99))
    ratios = [mine / theirs for mine, theirs in zip(p50[measured], p50[bare], strict=True)]
    return Row(
        title=case.title,
        p50_us=statistics.median(p50[measured]) * 1e6,
        p99_us=statistics.median(p99[measured]) * 1e6,
        floor_p50_us=statistics.median(p50[bare]) * 1e6,
        floor_p99_us=statistics.median(p99[bare]) * 1e6,
        ratio=statistics.median(ratios),
        ratio_max=case.ratio_max,
    )


async def _measure(target: str, progress: Callable[[str], None], *, rounds: int, calls: int) -> list[Row]:
    measured = Side(target)
    answers: dict[str, dict[str, str]] = {}
    for case in CASES:
        answers.setdefault(case.method, {})[case.key] = (await measured.prepare(case)).hex()
    rows = []
    with floor(answers) as floor_target:
        bare = Side(floor_target)
        for case in CASES:
            progress(case.title)
            rows.append(await compare(case, bare, measured, rounds=rounds, calls=calls))
        await bare.channel.close()
    await measured.channel.close()
    return rows


def measure(progress: Callable[[str], None], *, rounds: int, calls: int) -> list[Row]:
    """All cases, against one daemon and one floor that live through the whole run."""
    with daemon() as running:
        return uvloop.run(_measure(running.target, progress, rounds=rounds, calls=calls))
