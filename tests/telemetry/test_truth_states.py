"""What a daemon tells of its states is true: of outages, of what waits, and of what was cleaned."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.breaker import BreakerState
from sidecar.core.errors import StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.runtime import ports
from sidecar.telemetry.instruments import CLEANING_BEHIND
from sidecar.tiers.guard import Guard
from statesidecar.v1 import admin_service_pb2 as admin
from statesidecar.v1 import outbox_service_pb2 as outbox
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.types_pb2 import SERVING_MODE_NORMAL, OutboxMessage
from tests.support.clock import ManualClock
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.ports import ManualPorts
from tests.support.statuses import refusal
from tests.telemetry.scrapes import Scrape, scraped

HOUR_MS = 3_600_000
LARGE = 4096
SLACK_S = 0.5
"""Modes and breakers are looked at ten times a second, by a loop that a busy machine makes late."""


@asynccontextmanager
async def a_daemon(directory: Path, **given: Any) -> AsyncIterator[RunningDaemon]:
    """One with its metrics."""
    async with running_daemon(directory, http_listen="127.0.0.1:0", **given) as running:
        yield running


async def scrape(daemon: RunningDaemon) -> Scrape:
    return await scraped(daemon.daemon.http_address)


async def until(daemon: RunningDaemon, name: str, value: float, **labels: str) -> Scrape:
    """The first scrape that says so."""
    async with asyncio.timeout(30):
        while (text := await scrape(daemon)).value(name, **labels) != value:
            pass
    return text


# ---- outages


async def test_the_seconds_of_modes_and_breakers_are_those_of_the_outage(tmp_path: Path) -> None:
    async with a_daemon(tmp_path) as daemon:
        serving_s = time.monotonic()
        switched = daemon.switch()
        switched.away()
        went_s = time.monotonic()
        while (await daemon.admin.GetStatus(admin.GetStatusRequest())).mode == SERVING_MODE_NORMAL:
            await refusal(daemon.state.Get(pb.GetRequest(namespace="a", key="a", consistency="CONSISTENCY_STRONG")))
        noticed_s = time.monotonic()
        away = await until(daemon, "statesidecar_breaker_state", 1, tier="warm", state="open")
        assert away.value("statesidecar_mode", mode="degraded") == 1
        assert away.value("statesidecar_tier_up", tier="warm") == 0
        opened_s = time.monotonic()
        await passing(2.0)
        came_s = time.monotonic()
        switched.back()
        await until(daemon, "statesidecar_breaker_state", 1, tier="warm", state="closed")
        closed_s = time.monotonic()
        await daemon.healed()
        healed_s = time.monotonic()
        await passing(0.5)
        text, end_s = await scrape(daemon), time.monotonic()
        status = await daemon.admin.GetStatus(admin.GetStatusRequest())

    modes = text.by("statesidecar_mode_seconds_total", "mode")
    states = text.by("statesidecar_breaker_seconds_total", "state", tier="warm")
    # At least while we know that it was so, at most while we don't know that it wasn't.
    assert came_s - noticed_s - SLACK_S <= modes["degraded"] <= healed_s - went_s + SLACK_S
    assert modes["passthrough"] == 0
    assert sum(modes.values()) == pytest.approx(end_s - serving_s, abs=SLACK_S)
    assert came_s - opened_s - SLACK_S <= states["open"] + states["half_open"] <= closed_s - went_s + SLACK_S
    assert sum(states.values()) == pytest.approx(end_s - serving_s, abs=SLACK_S)
    assert status.mode_seconds["degraded"] == pytest.approx(modes["degraded"], abs=0.01)
    assert status.mode_changes == text.value("statesidecar_mode_changes_total") == 2
    assert text.value("statesidecar_mode", mode="normal") == 1
    assert text.value("statesidecar_tier_up", tier="warm") == 1


async def passing(seconds: float) -> None:
    """So much of an outage: what is measured is time itself."""
    passed = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, passed.set_result, None)
    await passed


async def test_a_breaker_that_waits_for_its_probe_is_half_open_for_so_long() -> None:
    clock = ManualClock()
    subject: Guard

    async def hanging() -> None:
        clock.advance(2_000)
        raise StoreUnavailable("no answer")

    subject = Guard(Tier.WARM, ports=ManualPorts(clock), probe=hanging, slow_s=1.0)
    clock.advance(3_000)
    await subject.probe()
    subject.trip(StoreUnavailable("gone"))
    clock.advance(1_000)
    await subject.probe()
    clock.advance(100)
    await subject.probe()

    spent = subject.report().breaker_seconds
    assert spent[BreakerState.CLOSED] == pytest.approx(3.0)
    assert spent[BreakerState.HALF_OPEN] == pytest.approx(2.0)
    assert spent[BreakerState.OPEN] == pytest.approx(1.1)


async def test_calls_that_an_open_breaker_refused_are_counted(tmp_path: Path) -> None:
    async with a_daemon(tmp_path) as daemon:
        daemon.switch().away()
        refused = refusals_of(daemon.warm.guard)
        daemon.warm.guard.trip(StoreUnavailable("gone"))
        for _ in range(5):
            await refusal(daemon.state.Get(pb.GetRequest(namespace="a", key="a", consistency="CONSISTENCY_STRONG")))

        # Those of what the daemon does by itself are counted, too; one may come while we ask.
        sooner = refused.total()
        told = (await scrape(daemon)).value("statesidecar_tier_rejected_total", tier="warm")
        assert refused["get"] == 5
        assert 5 <= sooner <= told <= refused.total()


def refusals_of(guard: Guard) -> Counter[str]:
    """How many calls of each operation fail at it from now on, whoever asks."""
    refused: Counter[str] = Counter()
    call = guard.call

    async def watched(name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return await call(name, *args, **kwargs)
        except StoreUnavailable:
            refused[name] += 1
            raise

    guard.call = watched  # type: ignore[method-assign]
    return refused


# ---- the journal


async def test_the_journal_s_depth_age_and_settlements_are_exact(tmp_path: Path) -> None:
    async with a_daemon(tmp_path, namespaces={"chat": {"on_outage": "buffer"}}) as daemon:
        switched = daemon.switch()
        switched.away()
        begin_s = time.monotonic()
        for number in range(9):
            await daemon.state.Set(pb.SetRequest(namespace="chat", key=f"{number}", value=b"1"))

        text = await scrape(daemon)
        assert text.value("statesidecar_journal_depth") == 9
        assert text.value("statesidecar_journal_bytes") > 9
        assert 0 < text.value("statesidecar_journal_age_seconds") <= time.monotonic() - begin_s + 0.001
        assert set(text.by("statesidecar_journal_settled_total", "outcome").values()) == {0}
        switched.back()
        text = await until(daemon, "statesidecar_journal_depth", 0)
        assert text.by("statesidecar_journal_settled_total", "outcome") == {"applied": 9, "merged": 0, "dead": 0}
        assert text.value("statesidecar_journal_age_seconds") == 0
        assert text.value("statesidecar_dead_writes") == 0


# ---- the outbox


async def test_what_waits_and_what_became_of_messages_is_exact(tmp_path: Path) -> None:
    async with a_daemon(tmp_path, outbox={"retry_delay_s": 0.01}) as daemon:
        begin_s = time.monotonic()
        for number in range(7):
            message = OutboxMessage(topic="placed", payload=b"%d" % number)
            await daemon.state.Set(pb.SetRequest(namespace="orders", key=f"{number}", value=b"1", outbox=[message]))

        text = await until(daemon, "statesidecar_outbox_pending", 7)
        assert 0 < text.value("statesidecar_outbox_lag_seconds") <= time.monotonic() - begin_s + 0.001
        stream = daemon.outbox.Consume()
        await stream.write(outbox.ConsumeRequest(namespace="orders"))
        came = {message.message.payload: message for message in await taken(stream, 7)}
        text = await scrape(daemon)
        assert text.value("statesidecar_outbox_in_flight") == 7
        assert text.by("statesidecar_streams", "rpc") == {"Consume": 1}
        acknowledged = [came[b"%d" % number].id for number in range(4)]
        again, *never = (came[b"%d" % number].id for number in range(4, 7))
        refused = [outbox.Refusal(id=again, reason="not now")]
        refused += [outbox.Refusal(id=one, reason="no", permanent=True) for one in never]
        await stream.write(outbox.ConsumeRequest(acknowledged_ids=acknowledged, refused=refused))
        [second] = await taken(stream, 1)
        assert (second.id, second.attempt) == (again, 2)
        await stream.write(outbox.ConsumeRequest(acknowledged_ids=[again]))

        await until(daemon, "statesidecar_outbox_messages_total", 5, outcome="delivered")
        await until(daemon, "statesidecar_outbox_dead_letters", 2)
        text = await until(daemon, "statesidecar_outbox_pending", 0)
        stream.cancel()
        assert text.by("statesidecar_outbox_messages_total", "outcome") == {"delivered": 5, "refused": 3, "dead": 2}
        assert text.value("statesidecar_outbox_lag_seconds") == 0
        assert text.value("statesidecar_outbox_in_flight") == 0


async def taken(stream: Any, count: int) -> list[outbox.DeliveredMessage]:
    """The next messages, however they come."""
    got: list[outbox.DeliveredMessage] = []
    while len(got) < count:
        got += (await stream.read()).messages
    return got


# ---- cleaning


class WallClock(ManualClock):
    """Moves the time of what is stored alone: deadlines go by the machine's."""

    def monotonic(self) -> float:
        return time.monotonic()


async def test_what_was_cleaned_is_counted_by_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WallClock()
    monkeypatch.setattr(ports, "SystemClock", lambda: clock)
    tiers = {"hot": "memory://", "cold": f"file://{tmp_path}/cold"}
    namespaces = {
        "plan": {"checkpoint": {"every": 1, "keep": 2}},
        "files": {"large_value_bytes": LARGE, "ttl": "none"},
        "idle": {"archive_after": "1h", "ttl": "none"},
    }
    async with a_daemon(tmp_path, tiers=tiers, namespaces=namespaces) as daemon:
        for number in range(3):
            ends = pb.SetRequest(namespace="shop", key=f"{number}", value=b"1")
            ends.ttl.FromSeconds(60)
            await daemon.state.Set(ends)
            await daemon.state.Set(pb.SetRequest(namespace="plan", key="key", value=b"step %d" % number))
        for number in range(2):  # one of them is pointed to by nobody
            large = pb.SetRequest(namespace="files", key="key", value=bytes([number]) * (LARGE + 1))
            await daemon.state.Set(large)
        await daemon.state.Set(pb.SetRequest(namespace="idle", key="key", value=bytes(2000)))
        plant_orphans(tmp_path / "cold", count=4)
        clock.advance(25 * HOUR_MS)
        told = [reply async for reply in daemon.admin.CollectGarbage(admin.CollectGarbageRequest())]

        cleaned = (await scrape(daemon)).by("statesidecar_cleaned_total", "kind")
        assert {kind: count for kind, count in cleaned.items() if count} == dict(told[-1].summary.counts)
        known = {"expired": 3, "checkpoints": 1, "archived": 1, "orphans": 4}
        assert {kind: cleaned[kind] for kind in known} == known
        behind = (await scrape(daemon)).by("statesidecar_cleaning_behind", CLEANING_BEHIND.labels[-1])
        assert set(behind) == {"sweep", "settle", "retention", "contents", "archive", "orphans", "blobs"}
        assert set(behind.values()) == {0}


def plant_orphans(cold: Path, *, count: int) -> None:
    """Objects that nothing names."""
    blob = next(path for path in cold.rglob("*") if path.is_file() and path.stat().st_size > LARGE)
    for number in range(count):
        blob.with_name(f"{blob.name[:-4]}bee{number}").write_bytes(blob.read_bytes())
