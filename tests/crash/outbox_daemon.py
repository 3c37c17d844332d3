"""A process with a store, a writer and an outbox, which may die at any place of it; started again it goes on.

`python -m tests.crash.outbox_daemon DIRECTORY`. What it knows to be committed, and what its sink was given, is in files that
outlive it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sidecar.core.ledger import MESSAGES
from sidecar.core.modes import Tier
from sidecar.core.operations import Put, Write
from sidecar.core.outbox import Message, message_id
from sidecar.core.sinks import UNTRIED, Delivery, Receipt, Refused
from sidecar.engine.outbox.config import OutboxConfig
from sidecar.runtime import failpoints
from sidecar.runtime.outbox import Outbox
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.sqlite import SqliteStore
from sidecar.tiers.placement import Placement

COMMITTED, GIVEN, FORGIVEN = "committed", "given", "forgiven"
"""Files: ids that were committed; what the sink was given and what it said; it takes what it refused for ever."""
NAMESPACE = "orders"
CONFIG = OutboxConfig(in_flight_max=16, attempts_max=5, retry_delay_s=0.05, lease_s=0.6, poll_interval_s=0.05)
ROUNDS = 40
KEYS = [*(f"key {number}" for number in range(8)), "slow", "poison"]
"""A message of `slow` is refused once, one of `poison` for ever."""
PATIENCE_S = 20.0


class FileSink:
    """Says what it was given in a file."""

    batch_max = 5

    def __init__(self, directory: Path) -> None:
        self.asked = asyncio.Event()
        self._forgiven = directory / FORGIVEN
        self._file = os.open(directory / GIVEN, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def open(self) -> None:
        """It is."""

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        self.asked.set()
        receipts: list[Receipt] = []
        stopped: set[str] = set()
        for delivery in deliveries:
            message = delivery.message
            receipt = UNTRIED if message.order in stopped else self._receipt(delivery)
            receipts.append(receipt)
            if receipt is not None:
                stopped.add(message.order)
            said = "taken" if receipt is None else "refused"
            if receipt is not UNTRIED:
                os.write(self._file, f"{said} {message.id} {message.key}\n".encode())
        return receipts

    async def close(self) -> None:
        """The end of the process does it."""

    def _receipt(self, delivery: Delivery) -> Receipt:
        if delivery.message.key == "poison" and not self._forgiven.exists():
            return Refused("for ever", permanent=True)
        return Refused("not yet") if delivery.message.key == "slow" and delivery.attempt < 2 else None


async def main(directory: Path) -> None:
    """The whole life: write, deliver, put back what was refused, drain."""
    failpoints.arm(os.environ)
    ports = SystemPorts()
    store = SqliteStore(directory / "state.db", clock=ports.clock)
    await store.open()
    placement = Placement(store, tier=Tier.WARM, ports=ports)
    sink = FileSink(directory)
    outbox = Outbox(placement, CONFIG, sinks={}, default=sink, ports=ports)
    outbox.start()
    async with asyncio.timeout(PATIENCE_S):
        await _write(placement, directory / COMMITTED)
        await _empty(placement, sink)
        (directory / FORGIVEN).touch()
        await outbox.dead_letters(NAMESPACE).redrive(NAMESPACE, None)
        await _empty(placement, sink)
        await outbox.drain(5.0)
    await outbox.stop()
    await store.close()


async def _write(placement: Placement, committed: Path) -> None:
    with committed.open("a+") as file:
        file.seek(0)
        for number in range(len(file.readlines()), ROUNDS * len(KEYS)):
            messages = (Message(topic="t", payload=b"%d" % number), Message(topic="t"))
            put = Put(key=KEYS[number % len(KEYS)], value=b"v")
            write = Write(namespace=NAMESPACE, operations=(put,), value_bytes_max=100, outbox=messages)
            version = (await placement.commit(write)).version
            file.write(f"{message_id(version, 0)} {message_id(version, 1)}\n")
            file.flush()


async def _empty(placement: Placement, sink: FileSink) -> None:
    while (await placement.ledger.scan(MESSAGES, limit=1, keys_only=True)).entries:
        sink.asked.clear()
        # What was published is forgotten soon after, and nobody tells.
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await sink.asked.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
