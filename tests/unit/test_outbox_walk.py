"""How the relay reads: each key from its first message, few rows for nothing, nothing that a store shows too early."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.errors import DataLoss
from sidecar.core.ledger import MESSAGES
from sidecar.core.outbox import order_of
from sidecar.core.sinks import Refused
from sidecar.core.store import Page, StoreCapabilities
from sidecar.engine.outbox.marker import BYTES_MAX, OPERATIONS_MAX
from sidecar.engine.outbox.queues import BUFFERED_BYTES_MAX
from sidecar.engine.outbox.walk import PAGE
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.unit.outbox_support import Member, ScriptedSink, Writer, changed, first_deliveries, letters, placed, rows


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def placement(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Placement]:
    async with placed("memory", clock, tmp_path) as placement:
        yield placement


@pytest.fixture
def writer(placement: Placement) -> Writer:
    return Writer(placement)


class Watched:
    """A placement's scans of messages: how many rows each page had."""

    def __init__(self, placement: Placement) -> None:
        self.pages: list[int] = []
        self._scan = placement.ledger.scan
        placement.ledger.scan = self.scan  # type: ignore[method-assign]

    async def scan(self, prefix: str, **options: Any) -> Page:
        page = await self._scan(prefix, **options)
        if prefix.startswith(MESSAGES):
            self.pages.append(len(page.entries))
        return page


async def test_the_rows_of_a_key_that_is_held_up_are_not_read_all_the_time(
    placement: Placement, writer: Writer
) -> None:
    sink = ScriptedSink()
    member = Member(placement, sink, config=changed(in_flight_max=64, retry_delay_s=1_000.0))
    sink.refusals["poison"] = Refused("no")
    for _ in range(20):
        await writer.write("poison", 32)
    keys = [f"key {number}" for number in range(8)]
    for _ in range(3):
        await writer.write_each(keys)
        await member.settle()
    watched = Watched(placement)
    rounds = 20

    for _ in range(rounds):
        await writer.write_each(keys)
        await member.settle()

    assert len(sink.taken) == 8 * (3 + rounds)
    wasted = sum(watched.pages) - 8 * rounds
    assert wasted <= 12 * rounds, "of its 640 rows, a handful each time"
    assert len(watched.pages) <= 4 * rounds


async def test_a_key_with_many_messages_of_other_topics_is_read_to_the_first_of_ours(
    placement: Placement, writer: Writer
) -> None:
    sink = ScriptedSink()
    member = Member(placement, None, sinks={writer.namespace: sink}, group="topics", topics=frozenset({"ours"}))
    for _ in range(10):
        await writer.write("key", 32, topic="theirs")
    ours = await writer.write("key", 32, topic="ours")
    ours += await writer.write("another", 1, topic="ours")

    await member.settle()

    assert sorted(sink.taken) == sorted(ours)
    assert len(await rows(placement, MESSAGES)) == 320


class Unsteady:
    """A store none of whose pages shows one moment: what its next scans do not show, though what came after it is there."""

    def __init__(self, placement: Placement) -> None:
        self.hidden: list[list[str]] = []
        self._scan = placement.authority.scan
        placement.authority.scan = self.scan  # type: ignore[method-assign]
        placement.authority.capabilities = StoreCapabilities(durable=True, shared=True, snapshots=False)  # type: ignore[misc]

    async def scan(self, namespace: str, prefix: str, **options: Any) -> Page:
        page = await self._scan(namespace, prefix, **options)
        hidden = tuple(self.hidden.pop(0)) if self.hidden and prefix.startswith(MESSAGES) else ()
        return Page(entries=tuple(row for row in page.entries if not row.key.endswith(hidden)), more=page.more)


async def test_a_message_is_not_published_before_an_elder_that_a_page_does_not_show(
    placement: Placement, writer: Writer
) -> None:
    sink = ScriptedSink()
    unsteady = Unsteady(placement)
    member = Member(placement, sink)
    await writer.write("before")
    await member.settle()
    for hides_both in (False, True):
        [elder] = await writer.write("key")
        [younger] = await writer.write("key")
        unsteady.hidden = [[elder, younger], [elder]] if hides_both else [[elder]]

        await member.settle()
        assert unsteady.hidden == []
        await member.settle()

    assert first_deliveries(sink.log) == writer.committed


async def test_a_page_that_does_not_verify_is_read_key_by_key(
    placement: Placement, writer: Writer, clock: ManualClock
) -> None:
    sink = ScriptedSink()
    member = Member(placement, sink)
    scan = placement.authority.scan
    bad = f"{order_of('bad')}/"

    async def verifying(namespace: str, prefix: str, **options: Any) -> Page:
        page = await scan(namespace, prefix, **options)
        if not options["keys_only"] and any(bad in row.key for row in page.entries):
            raise DataLoss("a row does not verify")
        return page

    placement.authority.scan = verifying  # type: ignore[method-assign]
    keys = [f"key {number}" for number in range(30)]
    await writer.write_each(["bad", *keys], 5)

    await member.settle()

    assert first_deliveries(sink.log) == {key: writer.committed[key] for key in keys}
    assert member.relay.figures().broken == 1
    placement.authority.scan = scan  # type: ignore[method-assign]
    clock.advance(60_000)
    await member.settle()
    assert first_deliveries(sink.log) == writer.committed


async def test_what_is_stored_together_fits_a_commit(placement: Placement, writer: Writer) -> None:
    sink = ScriptedSink()
    member = Member(placement, sink, config=changed(in_flight_max=400))
    sizes: list[tuple[int, int]] = []
    commit = placement.ledger.commit

    async def weighed(operations: Any, **options: Any) -> Any:
        sizes.append((len(operations), sum(len(getattr(one, "value", b"")) for one in operations)))
        return await commit(operations, **options)

    placement.ledger.commit = weighed  # type: ignore[method-assign]
    sink.refusals["large"] = Refused("no", permanent=True)
    await writer.write_each([f"key {number}" for number in range(300)])
    for _ in range(12):
        await writer.write("large", payload=b"x" * 200_000)

    await member.settle()

    assert len(await rows(placement, "z/")) == len((await letters(placement).list(writer.namespace)).letters) == 12
    assert max(count for count, _ in sizes) <= OPERATIONS_MAX
    assert max(size for _, size in sizes) <= BYTES_MAX
    assert max(count for count, _ in sizes) >= OPERATIONS_MAX - 1, "and as few commits as need be"


async def test_what_waits_in_the_hands_of_a_relay_has_a_bound(placement: Placement, writer: Writer) -> None:
    sink = ScriptedSink(batch_max=1)
    member = Member(placement, sink, config=changed(in_flight_max=64))
    for number in range(3):
        for _ in range(60):
            await writer.write(f"key {number}", payload=b"x" * 200_000)
    held = []

    async def watched(batch: Any) -> None:
        held.append(member.relay._queues._bytes)
        await deliver(batch)

    deliver, member.deliver = member.deliver, watched  # type: ignore[method-assign]
    await member.settle()

    assert first_deliveries(sink.log) == writer.committed
    assert max(held) <= BUFFERED_BYTES_MAX + 3 * 201_000
    assert PAGE * 200_000 > 4 * BUFFERED_BYTES_MAX
    assert member.relay._queues._bytes == 0
