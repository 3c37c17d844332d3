"""The outbox with its tasks, on real time: what is committed comes at once, and a drain leaves nothing that can go out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.core.errors import Draining, Passthrough, StoreUnavailable
from sidecar.core.limits import Limits
from sidecar.core.modes import Tier
from sidecar.core.policy import PolicyTable
from sidecar.core.sinks import Refused, SinkUnavailable
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.outbox.config import OutboxConfig
from sidecar.engine.outbox.relay import RelayFigures
from sidecar.runtime.outbox import Outbox, consumers_group
from sidecar.runtime.outboxes import Outboxes
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.memory import MemoryStore
from sidecar.stores.sqlite import SqliteStore
from sidecar.tiers.placement import Placement
from tests.unit.outbox_support import NS, PATIENCE_S, Published, ScriptedSink, Writer, first_deliveries, rows

CONFIG = OutboxConfig(retry_delay_s=0.01, lease_s=1.0, poll_interval_s=0.05)
KEYS = [f"key {number}" for number in range(20)]


@pytest.fixture
async def placement(tmp_path: Path) -> AsyncIterator[Placement]:
    ports = SystemPorts()
    store = SqliteStore(tmp_path / "state.db", clock=ports.clock)
    await store.open()
    yield Placement(store, tier=Tier.WARM, ports=ports)
    await store.close()


@pytest.fixture
def writer(placement: Placement) -> Writer:
    return Writer(placement)


def outbox(placement: Placement, sink: ScriptedSink | None, config: OutboxConfig = CONFIG) -> Outbox:
    return Outbox(placement, config, sinks={}, default=sink, ports=placement.ports)


async def test_what_is_committed_comes_and_a_stop_leaves_nothing_behind(placement: Placement, writer: Writer) -> None:
    sink = ScriptedSink()
    sink.refusals["key 3"] = Refused("not yet")
    delivering = outbox(placement, sink)
    delivering.start()
    await writer.write_each(KEYS, 5)
    await sink.until(lambda: len(sink.taken) == 95)
    sink.refusals.clear()
    await sink.until(lambda: len(sink.taken) == 100)

    await delivering.drain(PATIENCE_S)
    await delivering.stop()

    assert first_deliveries(sink.log) == writer.committed
    assert len(sink.taken) == 100
    assert await rows(placement, "x/") == await rows(placement, "y/") == await rows(placement, "g/") == []
    assert sink.closed == 1


async def test_a_drain_delivers_what_was_committed_just_before(placement: Placement, writer: Writer) -> None:
    sink = ScriptedSink(batch_max=3)
    delivering = outbox(placement, sink)
    delivering.start()
    await writer.write_each(KEYS, 10)

    await delivering.drain(PATIENCE_S)

    assert len(sink.taken) == 200
    assert await rows(placement, "x/") == []
    await delivering.stop()
    await delivering.stop()


async def test_a_drain_ends_in_time_when_the_sink_does_not_answer(placement: Placement, writer: Writer) -> None:
    sink = ScriptedSink()
    sink.go_on = asyncio.Event()
    delivering = outbox(placement, sink)
    delivering.start()
    await writer.write_each(KEYS)
    await sink.until(lambda: bool(sink.log))

    await delivering.drain(0.1)
    await delivering.stop()

    assert len(await rows(placement, "x/")) == 20
    assert await rows(placement, "g/") == []
    after = outbox(placement, sink)
    sink.go_on = None
    after.start()
    await sink.until(lambda: set(sink.taken) == writer.ids)
    await after.drain(PATIENCE_S)
    await after.stop()
    assert first_deliveries(sink.log) == writer.committed


async def test_a_sink_that_raises_what_it_may_not_is_tried_again(placement: Placement, writer: Writer) -> None:
    sink = ScriptedSink()
    failures = [ValueError("a bug"), SinkUnavailable("away"), KeyError("another")]
    publish = sink.publish

    async def buggy(deliveries: object) -> object:
        if failures:
            raise failures.pop()
        return await publish(deliveries)  # type: ignore[arg-type]

    sink.publish = buggy  # type: ignore[method-assign,assignment]
    delivering = outbox(placement, sink)
    delivering.start()
    await writer.write_each(KEYS)
    await sink.until(lambda: set(sink.taken) == writer.ids)
    await delivering.stop()


async def test_consumers_share_the_messages_and_the_drain_ends_them(placement: Placement, writer: Writer) -> None:
    log: list[Published] = []
    sinks = [ScriptedSink(batch_max=1, log=log) for _ in range(2)]
    sinks[1].came = sinks[0].came
    offering = outbox(placement, None)
    offering.start()
    assert not offering.has_sink(NS)
    consumers = [offering.consume(NS, frozenset(), sink, 10) for sink in sinks]
    runs = [asyncio.create_task(consumer.run()) for consumer in consumers]
    for _ in range(3):
        await writer.write_each(KEYS, 3)
        await sinks[0].until(lambda: set(sinks[0].taken) == writer.ids)

    await offering.drain(PATIENCE_S)
    await asyncio.gather(*runs)

    assert len(log) == len(writer.ids)
    assert first_deliveries(log) == writer.committed
    with pytest.raises(Draining):
        offering.consume(NS, frozenset(), sinks[0], 10)
    await offering.stop()
    assert await rows(placement, "x/") == await rows(placement, "g/") == []


async def test_a_consumer_may_have_many_before_it_answers_the_first(placement: Placement, writer: Writer) -> None:
    sink = ScriptedSink(batch_max=1)
    sink.go_on = asyncio.Event()
    offering = outbox(placement, None)
    consumer = offering.consume(NS, frozenset(), sink, 10)
    run = asyncio.create_task(consumer.run())
    await writer.write_each(KEYS)

    await sink.until(lambda: len(sink.log) == 10)

    sink.go_on.set()
    sink.go_on = None
    await sink.until(lambda: len(sink.log) == 20)
    consumer.stop()
    await run
    await offering.stop()
    assert await rows(placement, "x/") == []


async def test_a_consumer_ends_with_the_error_of_the_authority(placement: Placement, writer: Writer) -> None:
    offering = outbox(placement, None)
    consumer = offering.consume(NS, frozenset({"t"}), ScriptedSink(batch_max=1), 10)
    await writer.write("key")

    async def away(*_arguments: object, **_options: object) -> object:
        raise StoreUnavailable("away")

    placement.ledger.scan = away  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(PATIENCE_S):
            await consumer.run()
    assert offering.figures() == [RelayFigures()]


async def test_each_namespace_has_the_outbox_of_its_authority(tmp_path: Path) -> None:
    ports = SystemPorts()
    hot = Placement(MemoryStore(clock=ports.clock), tier=Tier.HOT, ports=ports)
    warm_store = SqliteStore(tmp_path / "state.db", clock=ports.clock)
    await warm_store.open()
    warm = Placement(warm_store, tier=Tier.WARM, ports=ports)
    namespaces = Namespaces(PolicyTable(), Limits(), hot=hot, warm=warm)
    sinks = {NS: ScriptedSink(), "system": ScriptedSink()}
    outboxes = Outboxes(namespaces, CONFIG, sinks=sinks | {"apart": None}, default=None, ports=ports)
    outboxes.start()
    writers = [Writer(hot, "system"), Writer(warm, NS), Writer(warm, "apart")]
    for writer in writers:
        await writer.write_each(KEYS)

    await outboxes.drain(PATIENCE_S)

    assert set(sinks["system"].taken) == writers[0].ids
    assert set(sinks[NS].taken) == writers[1].ids
    assert outboxes.has_sink(NS)
    assert not outboxes.has_sink("apart")
    assert outboxes.dead_letters("system") is not outboxes.dead_letters(NS)
    await outboxes.stop()
    assert len(await rows(warm, "x/")) == 20
    await warm_store.close()
    nowhere = Namespaces(PolicyTable(), Limits(), hot=None, warm=None)
    with pytest.raises(Passthrough):
        Outboxes(nowhere, CONFIG, sinks={}, default=None, ports=ports).dead_letters(NS)


def test_groups_are_of_sets_of_topics() -> None:
    names = [consumers_group(NS, frozenset(topics)) for topics in ((), ("a",), ("a", "b"), ("b", "a"), ("ab",))]

    assert len(set(names)) == 4
    assert names[2] == names[3]
