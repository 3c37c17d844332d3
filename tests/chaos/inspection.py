"""What the runner itself reads and writes: copies compared with the authority, daemons asked whether they are well again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import grpc

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub
from tests.chaos import calls
from tests.chaos.clients import OPTIONS
from tests.chaos.history import Kind, Operation, Outcome

At = tuple[str, str]
"""A namespace and a key."""
State = tuple[int, bytes | None]
"""A version and a value; version 0: absent."""

BATCH = 100
TIMEOUT_S = 5.0
CONVERGED_S = 10.0
"""After a commit every shared copy equals the authority or is gone by then."""
HEALED_S = 40.0
"""After so much time without faults every daemon must be NORMAL again: good news are believed after 30 s at the latest."""
CONCURRENCY = 16
FIRST_PROCESS = 9_000_000
"""Of the runner's own calls in the history."""
CLOSING = {"r": Kind.SET, "l": Kind.UPDATE_APPEND, "c": Kind.UPDATE_INCREMENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A copy that differs from the authority when none may any more."""

    at: At
    daemon: int
    copy: State
    authority: State

    def __str__(self) -> str:
        return f"{'/'.join(self.at)} through daemon {self.daemon}: {self.copy} is served, {self.authority} is committed"


class Inspection:
    """Talks to all daemons. `run` methods are for a thread without an event loop."""

    def __init__(self, targets: Sequence[str], *, seed: int) -> None:
        self._targets = targets
        self._random = Random(f"{seed}/inspection")
        self._process = FIRST_PROCESS

    def stale(self, keys: Iterable[At], *, patience_s: float = CONVERGED_S) -> tuple[list[Stale], dict[At, State]]:
        """Copies that differ from the authority for as long as `patience_s`, and what the authority has."""
        return asyncio.run(self._stale(sorted(set(keys)), patience_s))

    def close(self, keys: Iterable[At]) -> list[Operation]:
        """Read each key, write it, read it again, each through any daemon."""
        return asyncio.run(self._close(sorted(set(keys))))

    async def _stale(self, keys: list[At], patience_s: float) -> tuple[list[Stale], dict[At, State]]:
        channels = [grpc.aio.insecure_channel(target, options=OPTIONS) for target in self._targets]
        stubs: list[Any] = [StateServiceStub(channel) for channel in channels]
        committed: dict[At, State] = {}
        end, left = time.monotonic() + patience_s, keys
        try:
            while True:
                truth = await _read_all(stubs[0], left, types_pb2.CONSISTENCY_STRONG)
                committed |= truth
                found = [stale for number, stub in enumerate(stubs) for stale in await _differing(stub, number, truth)]
                if not found or time.monotonic() > end:
                    return found, committed
                left = sorted({stale.at for stale in found})
                await _pause(0.3)
        finally:
            for channel in channels:
                await channel.close()

    async def _close(self, keys: list[At]) -> list[Operation]:
        channels = [grpc.aio.insecure_channel(target, options=OPTIONS) for target in self._targets]
        stubs: list[Any] = [StateServiceStub(channel) for channel in channels]
        left, done = iter(keys), []

        async def work(process: int) -> None:
            for count, (namespace, key) in enumerate(left):
                name = f"{process}-{count}"
                kind = CLOSING[key[0]]
                value = {
                    Kind.SET: json.dumps({name: 1}),
                    Kind.UPDATE_APPEND: json.dumps([name]),
                    Kind.UPDATE_INCREMENT: "1",
                }[kind]
                write = Operation(process, kind, namespace, key, value=value.encode(), request_id=name)
                read = Operation(process, Kind.GET_STRONG, namespace, key)
                done.extend([await self._ask(stubs, asked) for asked in (read, write, read)])

        self._process += CONCURRENCY
        await asyncio.gather(*(work(self._process + number) for number in range(CONCURRENCY)))
        for channel in channels:
            await channel.close()
        return done

    async def _ask(self, stubs: list[Any], asked: Operation) -> Operation:
        number = self._random.randrange(len(stubs))
        invoke = time.monotonic()
        answer = await calls.ask(stubs[number], asked, timeout_s=TIMEOUT_S)
        unknown = answer.outcome is Outcome.UNKNOWN
        return replace(
            asked,
            invoke=invoke,
            complete=None if unknown else time.monotonic(),
            outcome=answer.outcome,
            version=0 if unknown else answer.version,
            read=answer.read,
            durability="" if unknown else answer.durability,
            mode=answer.mode,
            error=answer.reason,
            daemon=str(number),
        )


async def _differing(stub: Any, number: int, truth: dict[At, State]) -> list[Stale]:
    copies = await _read_all(stub, list(truth), types_pb2.CONSISTENCY_CACHED)
    return [
        Stale(at=at, daemon=number, copy=copies[at], authority=state)
        for at, state in truth.items()
        if copies[at] != state
    ]


async def _read_all(stub: Any, keys: Sequence[At], consistency: int) -> dict[At, State]:
    found: dict[At, State] = {}
    for namespace in sorted({namespace for namespace, _ in keys}):
        names = [key for of, key in keys if of == namespace]
        for begin in range(0, len(names), BATCH):
            batch = names[begin : begin + BATCH]
            request = pb.BatchGetRequest(namespace=namespace, keys=batch, consistency=consistency)  # type: ignore[arg-type]  # it is an enum's number
            reply = await _patiently(stub, request)
            for result in reply.results:
                there = result.HasField("entry")
                state = (result.entry.version, result.entry.value) if there else (0, None)
                found[namespace, result.key] = state
    return found


async def _patiently(stub: Any, request: pb.BatchGetRequest) -> Any:
    """The reply, at last. Raises grpc.aio.AioRpcError if the daemon fails for as long as it may take to be well again."""
    end = time.monotonic() + HEALED_S
    while True:
        try:
            return await stub.BatchGet(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError:
            if time.monotonic() > end:
                raise
            await _pause(0.3)


async def _pause(seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
    except TimeoutError:
        return
