"""A daemon as these tests need it: a store, with a writer, a relay, or both. Each is a process that may die at any moment."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sidecar.core.modes import Tier
from sidecar.core.store import Store
from sidecar.engine.outbox.config import OutboxConfig
from sidecar.runtime.outbox import Outbox
from sidecar.runtime.ports import SystemPorts
from sidecar.runtime.tasks import Rounds
from sidecar.stores.postgres import PostgresStore
from sidecar.stores.postgres.target import parse_target
from sidecar.stores.sqlite import SqliteStore
from sidecar.tiers.placement import Placement
from tests.outbox.journal import Journal
from tests.outbox.sink import RecorderSink
from tests.outbox.writing import Load, Plan, Writer

ENOUGH, HOLD = "enough", "hold"
"""Files: no more is to be written; no more now."""
DRAIN_S = 10.0
PROBE_S = 0.1
SILENCE_S = 1.0
"""A server gives a transaction up, and its locks, when its process was stopped for twice as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`number` is used once. `load`: what it writes; None: nothing. `relay`: how it delivers; None: it doesn't."""

    number: int = 0
    url: str
    directory: Path
    recorder: Path
    seed: int
    load: Load | None = None
    relay: OutboxConfig | None = None

    @property
    def name(self) -> str:
        """As the recorder knows it."""
        return f"node-{self.number}"

    @property
    def ready(self) -> Path:
        """A file: its store is open."""
        return self.directory / f"ready-{self.name}"

    @property
    def wrote(self) -> Path:
        """A file: it has written its last."""
        return self.directory / f"wrote-{self.name}"


def store_of(url: str, ports: SystemPorts) -> Store:
    """The adapter of a URL."""
    if url.startswith("sqlite://"):
        return SqliteStore(Path(url.removeprefix("sqlite://")), clock=ports.clock)
    return PostgresStore(parse_target(url), clock=ports.clock, timeout_s=SILENCE_S)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Placement]:
    """The store of a URL, as an engine has it."""
    ports = SystemPorts()
    store = store_of(url, ports)
    await store.open()
    try:
        placement = Placement(store, tier=Tier.WARM, ports=ports)
        probing = Rounds("probe", placement.guard.probe, interval_s=PROBE_S)
        probing.start()
        yield placement
        await probing.stop()
    finally:
        await store.close()


def serve(node: Node) -> None:
    """The whole life of one, in its process: until SIGTERM."""
    # Backends and sinks that go away are what these tests are about; a bug is an error.
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    asyncio.run(_serve(node))


async def _serve(node: Node) -> None:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    async with opened(node.url) as placement, _delivering(node, placement):
        node.ready.touch()
        if node.load is not None:
            await _write(node, placement, node.load, ending)
        node.wrote.touch()
        await ending.wait()


@asynccontextmanager
async def _delivering(node: Node, placement: Placement) -> AsyncIterator[None]:
    if node.relay is None:
        yield
        return
    sink = RecorderSink(node.recorder, node.name)
    outbox = Outbox(placement, node.relay, sinks={}, default=sink, ports=placement.ports)
    outbox.start()
    yield
    await outbox.drain(DRAIN_S)
    await outbox.stop()


async def _write(node: Node, placement: Placement, load: Load, ending: asyncio.Event) -> None:
    enough, hold = node.directory / ENOUGH, node.directory / HOLD
    with Journal(node.directory, node.number) as journal:
        writer = Writer(placement, Plan(node.number, node.seed, load), journal, load)
        await writer.run(enough=lambda: ending.is_set() or enough.exists(), hold=hold.exists)
