"""Ends, on a clock that moves when the test says so: never early, a sliding one hardly late, and few touches for many reads."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.runtime import ports
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.clock import ManualClock
from tests.support.daemon import WARM_TIERS, RunningDaemon, running_daemon
from tests.support.switched import SwitchedStore

SLIDING = "session"
TTL_MS = 30 * 60_000
"""Of the session preset."""
READ = pb.GetRequest(namespace=SLIDING, key="key")


class WallClock(ManualClock):
    """Moves the time of what is stored alone: deadlines go by the machine's."""

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class Timed:
    """A daemon and its time."""

    daemon: RunningDaemon
    clock: WallClock

    async def read(self, request: pb.GetRequest = READ) -> types.Entry | None:
        reply = await self.daemon.state.Get(request)
        await self.daemon.followups_done()
        return reply.entry if reply.HasField("entry") else None


@pytest.fixture(params=list(WARM_TIERS))
async def timed(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Timed]:
    """A daemon on each embedded authority with a clock of its own."""
    clock = WallClock()
    monkeypatch.setattr(ports, "SystemClock", lambda: clock)
    async with running_daemon(tmp_path, tiers=WARM_TIERS[request.param]) as daemon:
        yield Timed(daemon, clock)


def ends_given(store: SwitchedStore) -> int:
    """How often an end was moved: a touch that finds another was faster leaves it as it is."""
    return len({touched.expire_time for touches in store.answers["touch"] for touched in touches})


def with_ttl(namespace: str, seconds: int) -> pb.SetRequest:
    request = pb.SetRequest(namespace=namespace, key="key", value=b"value")
    request.ttl.FromSeconds(seconds)
    return request


@pytest.mark.parametrize("consistency", [types.CONSISTENCY_CACHED, types.CONSISTENCY_STRONG], ids=["cached", "strong"])
async def test_a_fixed_ttl_ends_to_the_millisecond_whatever_is_read(
    timed: Timed, consistency: types.Consistency
) -> None:
    request = pb.GetRequest(namespace="shop", key="key", consistency=consistency)
    await timed.daemon.state.Set(with_ttl("shop", 60))

    for _ in range(59):
        timed.clock.advance(1000)
        assert await timed.read(request) is not None
    timed.clock.advance(999)
    last = await timed.read(request)
    timed.clock.advance(1)
    after = await timed.read(request)

    assert last is not None
    assert after is None


async def test_an_ended_entry_is_absent_for_every_call(timed: Timed) -> None:
    await timed.daemon.state.Set(with_ttl("shop", 60))
    timed.clock.advance(60_000)
    state = timed.daemon.state

    listed = await state.List(pb.ListRequest(namespace="shop"))
    batch = await state.BatchGet(pb.BatchGetRequest(namespace="shop", keys=["key"]))
    touched = await state.Touch(pb.TouchRequest(namespace="shop", key="key"))
    deleted = await state.Delete(pb.DeleteRequest(namespace="shop", key="key"))
    created = await state.CAS(pb.CASRequest(namespace="shop", key="key", value=b"new"))

    assert not listed.entries
    assert not batch.results[0].HasField("entry")
    assert not touched.found
    assert not deleted.found
    assert created.version > 0


async def test_a_sliding_entry_lives_as_long_as_it_is_read(timed: Timed) -> None:
    await timed.daemon.state.Set(pb.SetRequest(namespace=SLIDING, key="key", value=b"value"))

    for _ in range(10):
        timed.clock.advance(TTL_MS - 1)
        assert await timed.read() is not None
    timed.clock.advance(TTL_MS)

    assert await timed.read() is None


async def test_a_sliding_entry_outlives_its_last_read_by_its_ttl_at_least_90_percent(timed: Timed) -> None:
    await timed.daemon.state.Set(pb.SetRequest(namespace=SLIDING, key="key", value=b"value"))
    timed.clock.advance(TTL_MS // 10)
    await timed.read()
    timed.clock.advance(TTL_MS * 9 // 10 - 1)
    kept = await timed.read()

    timed.clock.advance(TTL_MS)

    assert kept is not None
    assert await timed.read() is None


async def test_10_000_reads_in_one_ttl_cost_at_most_11_touches(timed: Timed) -> None:
    await timed.daemon.state.Set(pb.SetRequest(namespace=SLIDING, key="key", value=b"value"))
    store = timed.daemon.switch()
    request = pb.BatchGetRequest(namespace=SLIDING, keys=["key"] * 10)

    for _ in range(1000):
        timed.clock.advance(TTL_MS // 1000)
        reply = await timed.daemon.state.BatchGet(request)
        assert all(result.HasField("entry") for result in reply.results)
    await timed.daemon.followups_done()

    assert 0 < ends_given(store) <= 11


async def test_reads_while_a_touch_is_under_way_cost_no_other(timed: Timed) -> None:
    await timed.daemon.state.Set(pb.SetRequest(namespace=SLIDING, key="key", value=b"value"))
    store = timed.daemon.switch()
    hold = store.hold("touch")
    timed.clock.advance(TTL_MS // 2)
    await timed.daemon.state.Get(READ)
    await hold.reached.wait()

    for _ in range(300):
        timed.clock.advance(1)
        await timed.daemon.state.Get(READ)
    hold.release()
    await timed.daemon.followups_done()

    assert ends_given(store) == 1


async def test_every_read_that_touches_needs_no_new_version(timed: Timed) -> None:
    written = await timed.daemon.state.Set(pb.SetRequest(namespace=SLIDING, key="key", value=b"value"))
    timed.clock.advance(TTL_MS // 2)
    await timed.read()

    entry = await timed.read()

    assert entry is not None
    assert entry.version == written.version
    assert entry.expire_time.ToMilliseconds() == timed.clock.now() + TTL_MS


async def test_a_write_of_a_sliding_entry_begins_its_ttl_anew(timed: Timed) -> None:
    create = pb.UpdateRequest(namespace=SLIDING, key="key", increment=pb.Increment(delta=1), create=True)
    await timed.daemon.state.Update(create)
    timed.clock.advance(TTL_MS - 1)

    reply = await timed.daemon.state.Update(create)

    assert reply.expire_time.ToMilliseconds() == timed.clock.now() + TTL_MS


async def test_an_update_of_a_fixed_entry_keeps_its_end(timed: Timed) -> None:
    create = pb.UpdateRequest(namespace="system", key="key", increment=pb.Increment(delta=1), create=True)
    first = await timed.daemon.state.Update(create)
    timed.clock.advance(60_000)

    second = await timed.daemon.state.Update(create)

    assert second.expire_time == first.expire_time


async def test_a_touch_that_shortens_is_heard_by_the_hot_tier(timed: Timed) -> None:
    await timed.daemon.state.Set(with_ttl("shop", 3600))
    await timed.read(pb.GetRequest(namespace="shop", key="key"))
    request = pb.TouchRequest(namespace="shop", key="key")
    request.ttl.FromSeconds(1)
    await timed.daemon.state.Touch(request)

    timed.clock.advance(1000)

    assert await timed.read(pb.GetRequest(namespace="shop", key="key")) is None


async def test_the_sweeper_leaves_nothing_of_what_ended_to_read(timed: Timed) -> None:
    version = (await timed.daemon.state.Set(with_ttl("shop", 60))).version
    timed.clock.advance(60_000)
    for part in timed.daemon.daemon._cleaner.parts:
        await part.round()

    reply = await timed.daemon.state.Get(pb.GetRequest(namespace="shop", key="key", min_version=version))
    created = await timed.daemon.state.CAS(pb.CASRequest(namespace="shop", key="key"))

    assert not reply.HasField("entry")
    assert created.version > version
