"""A run over real daemons: writers, watchers whose streams are cut about each second, and a daemon that is killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from statesidecar import AsyncStateClient, DeleteOp, SetOp, WriteOutcomeUnknown
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub
from tests.support.daemon import CHANNEL_OPTIONS
from tests.support.process import DaemonProcess
from tests.watch.history import Chain, Change, Committed, Heard
from tests.watch.validators import problems, resumed

NS = "watched"
KINDS = {pb.EVENT_TYPE_PUT: "put", pb.EVENT_TYPE_DELETE: "delete", pb.EVENT_TYPE_EXPIRE: "expire"}
WRITERS = 6
KEYS = 40
"""Of each writer; some more that all of them write."""
OPERATIONS_MAX = 40
STREAM_EVENTS = 8_000
"""A stream is cut after about a second, and after so many events."""
END = "/end"
REPLAYS = 5
SILENCE_S = 30.0


@dataclass
class Outcome:
    """What a run has shown."""

    committed: Committed = field(default_factory=Committed)
    chains: list[Chain] = field(default_factory=list)
    found: dict[str, list[str]] = field(default_factory=dict)
    streams: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def events(self) -> int:
        """Changes that were committed."""
        return len(self.committed.values)

    @property
    def told(self) -> int:
        """Events that watchers were told."""
        return sum(len(chain.told) for chain in self.chains)


class Cluster:
    """Daemons over common backends, or one over its own."""

    def __init__(self, daemons: Sequence[DaemonProcess], seed: int) -> None:
        self.daemons = daemons
        self.chance = random.Random(seed)
        self.outcome = Outcome()
        self._stubs: dict[str, Any] = {}
        self._written = 0
        self._open = AsyncExitStack()

    async def run(self, *, events: int, seconds: float, kills: int) -> Outcome:
        """Until so many changes were committed, and so much time has passed. The last daemon is killed `kills` times."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        async with self._open:
            clients = [
                await self._open.enter_async_context(AsyncStateClient(daemon.target, timeout_s=60.0))
                for daemon in self.daemons
            ]
            chains = [
                Chain("all", values=True),
                *[Chain(f"prefix {number}", prefix=f"{number}/") for number in range(2)],
                Chain("shared", prefix="shared/", values=True),
            ]
            late = [
                Chain("snapshot", snapshot=True),
                Chain("snapshot of values", prefix="3/", snapshot=True, values=True),
            ]
            self.outcome.chains = [*chains, *late]
            begun = [asyncio.Event() for _ in chains]
            watching = [asyncio.create_task(self._watch(chain, one)) for chain, one in zip(chains, begun, strict=True)]
            for one in begun:
                await one.wait()
            done = asyncio.Event()
            writing = [
                asyncio.create_task(self._write(clients[number % len(clients)], number, events, began_s + seconds))
                for number in range(WRITERS)
            ]
            killing = asyncio.create_task(self._kill(kills, events))
            while self._written < events / 4:
                await self._pause(0.05)
            watching += [asyncio.create_task(self._watch(chain, asyncio.Event())) for chain in late]
            await asyncio.gather(*writing)
            done.set()
            await killing
            for prefix in ("0", "1", "3", "shared", ""):
                await self._set(clients[0], f"{prefix}{END}")
            await asyncio.gather(*watching)
            self.outcome.seconds = clock() - began_s
            for chain in self.outcome.chains:
                self._note(problems(chain, self.outcome.committed))
                await self._replay(chain)
        return self.outcome

    def _note(self, found: dict[str, list[str]]) -> None:
        for name, wrong in found.items():
            self.outcome.found.setdefault(name, []).extend(wrong)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.Event().wait()

    # ---- what is done to the daemons

    async def _kill(self, kills: int, events: int) -> None:
        for number in range(kills):
            while self._written < events * (number + 1) / (kills + 1):
                await self._pause(0.05)
            daemon = self.daemons[-1]
            await asyncio.to_thread(daemon.kill)
            await asyncio.to_thread(daemon.restart)

    # ---- writers

    async def _write(self, client: AsyncStateClient, writer: int, events: int, end_s: float) -> None:
        clock = asyncio.get_running_loop().time
        number = 0
        while self._written < events or clock() < end_s:
            number += 1
            keys = [f"{writer}/{key}" for key in range(KEYS)] + [f"shared/{key}" for key in range(5)]
            chosen = self.chance.sample(keys, k=1 if self.chance.random() < 0.3 else OPERATIONS_MAX)
            operations: list[SetOp | DeleteOp] = [
                DeleteOp(key=key) if self.chance.random() < 0.1 else SetOp(key=key, value=f"{writer} {number} {key}")
                for key in chosen
            ]
            await self._commit(client, operations)

    async def _commit(self, client: AsyncStateClient, operations: Sequence[SetOp | DeleteOp]) -> None:
        written = [
            ("put", one.key, bytes(str(one.value), "utf-8")) if isinstance(one, SetOp) else ("delete", one.key, b"")
            for one in operations
        ]
        try:
            done = await client.transact(NS, operations)
        except WriteOutcomeUnknown:
            self.outcome.committed.doubtful.update(written)
            return
        changes = [
            (Change(kind, key, result.version), value)
            for (kind, key, value), result in zip(written, done.results, strict=True)
            if result is not None and result.version
        ]
        self.outcome.committed.add(*changes)
        self._written += len(changes)

    async def _set(self, client: AsyncStateClient, key: str) -> None:
        written = await client.set(NS, key, b"end")
        self.outcome.committed.add((Change("put", key, written.version), b"end"))

    # ---- watchers

    def _stub(self, target: str) -> Any:
        if target not in self._stubs:
            channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
            self._open.push_async_callback(channel.close)
            self._stubs[target] = StateServiceStub(channel)
        return self._stubs[target]

    def _asked(self, chain: Chain, token: str) -> pb.WatchRequest:
        return pb.WatchRequest(
            namespace=NS,
            key_prefix=chain.prefix,
            all=not chain.prefix,
            resume_token=token,
            include_value=chain.values,
            snapshot=chain.snapshot and not token,
        )

    async def _watch(self, chain: Chain, began: asyncio.Event) -> None:
        """Streams on any of the daemons, one after another, until the end of what it watches was told."""
        token = ""
        while True:
            if not token and chain.snapshot:
                chain.heard.clear()
                chain.before = frozenset(self.outcome.committed.values)
            call = self._stub(self.chance.choice(self.daemons).target).Watch(self._asked(chain, token))
            self.outcome.streams += 1
            left = self.chance.randint(1, STREAM_EVENTS) if token else STREAM_EVENTS
            try:
                async with asyncio.timeout(None if not token else self.chance.uniform(0.2, 2.0)):
                    while left:
                        response = await call.read()
                        if response is grpc.aio.EOF:
                            break
                        one = _heard(response)
                        chain.heard.append(one)
                        token = one.token
                        if token:
                            began.set()
                        if one.complete:
                            chain.meanwhile = frozenset(self.outcome.committed.values)
                        if one.change is not None:
                            left -= 1
                            if one.change.key == chain.prefix.rstrip("/") + END and token:
                                return
            except TimeoutError:
                self._count("cut")
            except grpc.aio.AioRpcError as error:
                self._count(error.code().name)
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await self._pause(0.05)
            finally:
                call.cancel()

    def _count(self, what: str) -> None:
        self.outcome.errors[what] = self.outcome.errors.get(what, 0) + 1

    async def _replay(self, chain: Chain) -> None:
        """Go on from some tokens of its last part, on any daemon, to the same end."""
        places = [at for at, one in enumerate(chain.heard) if one.token]
        places = places[-max(len(places) // 20, 100) :]
        for at in self.chance.sample(places, k=min(REPLAYS, len(places))):
            token, told = chain.heard[at].token, list[Change]()
            rest = sum(one.change is not None for one in chain.heard[at + 1 :])
            call = self._stub(self.chance.choice(self.daemons).target).Watch(self._asked(chain, token))
            with suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_S):
                    while len(told) < rest:
                        if (change := _heard(await call.read()).change) is not None:
                            told.append(change)
            call.cancel()
            if wrong := resumed(chain, at, told):
                self._note({"resumable": wrong})


def _heard(response: pb.WatchResponse) -> Heard:
    if not response.HasField("event"):
        return Heard(response.resume_token, complete=response.snapshot_complete)
    event, entry = response.event, response.event.entry
    change = Change(KINDS[event.type], entry.key, entry.version)
    return Heard(response.resume_token, change, entry.value or None, event.superseded)
