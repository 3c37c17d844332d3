"""Buffered writes that can't be settled: who buries them, and what an operator does with them."""

from __future__ import annotations

import pytest

from sidecar.core.modes import Durability
from sidecar.core.operations import Put, Remove
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.unit.buffering_support import MERGE, REJECT, Sidecar, appending

BUFFERED = Durability.BUFFERED


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def shared(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
async def one(shared: MemoryStore, clock: ManualClock) -> Sidecar:
    return await Sidecar(shared, clock).start()


@pytest.fixture
async def other(shared: MemoryStore, clock: ManualClock) -> Sidecar:
    return await Sidecar(shared, clock).start()


@pytest.fixture
async def third(shared: MemoryStore, clock: ManualClock) -> Sidecar:
    return await Sidecar(shared, clock).start()


async def test_dead_writes_are_redriven_overwriting_or_discarded(one: Sidecar, other: Sidecar) -> None:
    for key in ("a", "b", "c"):
        await one.put(REJECT, b"base", key=key)
    one.cut()
    for key in ("a", "b", "c"):
        await one.put(REJECT, b"mine", key=key)
        await other.put(REJECT, b"theirs", key=key)
    await one.settle()
    a, b, c = (dead.buffered.sequence for dead in one.replay.dead())

    assert await one.replay.redrive([a], overwrite=False) == 0
    assert await one.replay.redrive([a, 99], overwrite=True) == 1
    assert await one.replay.discard([b]) == 1
    assert [dead.buffered.sequence for dead in one.replay.dead()] == [c]
    assert [await one.value(REJECT, strong=True, key=key) for key in ("a", "b", "c")] == [b"mine", b"theirs", b"theirs"]
    version = (await one.read(REJECT, strong=True, key="c")).entry
    assert version is not None
    await other.engine.writes.write(REJECT, (Remove(key="c"),), needs_authority=True)
    await other.put(REJECT, b"base", key="c")  # as it was when the dead write was made
    assert await one.replay.redrive([c], overwrite=False) == 1
    assert await one.value(REJECT, strong=True, key="c") == b"mine"


@pytest.mark.parametrize("crashes", [False, True])
async def test_a_write_in_two_journals_is_buried_by_one_of_them(
    one: Sidecar, other: Sidecar, third: Sidecar, crashes: bool
) -> None:
    """Its caller repeated it through another daemon, and both were cut off."""
    await one.put(REJECT, b"base")
    for sidecar in (one, other):
        sidecar.cut()
        assert await sidecar.put(REJECT, b"mine", request_id="r") is BUFFERED
    await third.put(REJECT, b"theirs", request_id="theirs")
    await one.settle()
    if crashes:
        one = await one.crashed(kept=0)
        await one.settle()
    await other.settle()

    assert one.dead_reasons() == ["VERSION_MISMATCH"]
    assert other.dead_reasons() == []


async def test_what_another_daemon_had_refused_is_no_race_to_be_lost_for_ever(one: Sidecar, other: Sidecar) -> None:
    await other.put(REJECT, b"base")
    other.cut()
    await other.put(REJECT, b"mine", request_id="r")  # on a base that is current
    one.cut()
    await one.put(REJECT, b"mine", request_id="r")  # on none
    await one.settle()
    await other.settle()

    assert one.dead_reasons() == ["VERSION_MISMATCH"]
    assert other.dead_reasons() == []


async def test_an_update_in_two_journals_is_buried_by_one_of_them(one: Sidecar, other: Sidecar, third: Sidecar) -> None:
    for sidecar in (one, other):
        sidecar.cut()
        await sidecar.write(MERGE, appending("turn"), request_id="r")
    await third.write(MERGE, Put(key="key", value=b"no list"), request_id="text")
    await one.settle()
    await other.settle()

    assert one.dead_reasons() + other.dead_reasons() == ["NOT_A_JSON_ARRAY"]
