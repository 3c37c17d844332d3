"""What a daemon tells of its requests is true: against workloads of which the right figures are known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from math import exp, log
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from sidecar import __version__
from sidecar.core.breaker import Breaker, BreakerPolicy
from sidecar.core.histograms import Distribution, upper_bound
from sidecar.core.windows import TICK_S
from sidecar.runtime import census, telemetry
from sidecar.runtime.census import NAMESPACES_MAX
from sidecar.telemetry.instruments import ENTRIES, REQUEST_DURATION
from sidecar.tiers import near as near_tier
from statesidecar.v1 import admin_service_pb2 as admin
from statesidecar.v1 import state_service_pb2 as pb
from tests.support.backends import shared_tiers
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.statuses import refusal
from tests.telemetry.scrapes import Scrape, scraped

QUANTILES = (0.5, 0.95, 0.99)
STRONG = "CONSISTENCY_STRONG"
SEED = 7
CLIENTS = 42


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningDaemon]:
    """A daemon on memory with its metrics, whose minute passes when the test says so."""
    monkeypatch.setattr(telemetry, "TICK_S", 3600.0)
    async with running_daemon(tmp_path, http_listen="127.0.0.1:0") as running:
        yield running


async def scrape(daemon: RunningDaemon) -> Scrape:
    return await scraped(daemon.daemon.http_address)


async def told_by(daemon: RunningDaemon) -> admin.GetStatusResponse:
    """GetStatus, which is counted as a request."""
    status: admin.GetStatusResponse = await daemon.admin.GetStatus(admin.GetStatusRequest())
    return status


# ---- durations


class Delayed:
    """An authority that answers each get so much later, and all else as it is."""

    def __init__(self, store: Any, delays: Iterator[float]) -> None:
        self._store = store
        self._delays = delays

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def get(self, *args: Any, **kwargs: Any) -> Any:
        loop = asyncio.get_running_loop()
        passed = loop.create_future()
        loop.call_later(next(self._delays), passed.set_result, None)
        await passed
        return await self._store.get(*args, **kwargs)


def spread(count: int, first_s: float, last_s: float) -> list[float]:
    """As many delays below a bound as below any other that is as far away in proportion, in no order."""
    step = log(last_s / first_s) / count
    delays = [first_s * exp(step * (number + 0.5)) for number in range(count)]
    Random(SEED).shuffle(delays)
    return delays


async def test_quantiles_of_durations_are_those_that_clients_saw(daemon: RunningDaemon) -> None:
    # Long, and few at once, against what gRPC and a busy machine add between a client's clock and ours. The longest are
    # near what a breaker takes for a failure, and what a machine adds isn't what is tested: so it takes none for one.
    daemon.warm.guard.breaker = Breaker(BreakerPolicy(slow_s=float("inf")), jitter=lambda: 0.0)
    delays = spread(2_100, 0.1, 0.9)
    waiting = iter(delays)
    daemon.warm.authority = Delayed(daemon.warm.authority, waiting)
    seen: list[float] = []

    async def client(number: int) -> None:
        for ask in range(len(delays) // CLIENTS):
            began_s = time.perf_counter()
            await daemon.state.Get(pb.GetRequest(namespace="shop", key=f"{number}/{ask}", consistency=STRONG))
            seen.append(time.perf_counter() - began_s)

    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(client(number))

    truth = [sorted(seen)[int(q * len(seen))] for q in QUANTILES]
    text = await scrape(daemon)
    told = [text.quantile(q, REQUEST_DURATION.exposed, rpc="Get", kind="default", outcome="ok") for q in QUANTILES]
    assert told == pytest.approx(truth, rel=0.05)
    [requests] = [taken for at, taken in measured(daemon).items() if at[0] == "Get"]
    assert requests.count == len(seen) == len(delays)
    assert list(requests.quantiles() or ()) == pytest.approx(truth, rel=0.05)
    assert requests.sum == pytest.approx(sum(seen), rel=0.05)
    [status] = [one for one in (await told_by(daemon)).requests if one.rpc == "Get"]
    latency = (status.latency.p50, status.latency.p95, status.latency.p99)
    assert [one.ToMicroseconds() / 1e6 for one in latency] == pytest.approx(truth, rel=0.05)
    assert (status.count, status.error_count, status.conflict_count) == (len(seen), 0, 0)
    asked = daemon.warm.guard.report().durations["get", True]
    assert list(asked.quantiles() or ()) == pytest.approx(truth, rel=0.05)
    tier = {"tier": "warm", "operation": "get", "result": "answered"}
    assert text.value("statesidecar_tier_operation_duration_seconds_count", **tier) >= len(seen)


def measured(daemon: RunningDaemon) -> dict[tuple[str, ...], Distribution]:
    requests = daemon.daemon._telemetry.requests
    return {tuple(series): histogram.distribution() for series, histogram in requests.durations.items()}


async def test_each_request_is_counted_once_by_rpc_kind_mode_and_outcome(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace="session", key="a", value=b"1"))
    await daemon.state.BatchGet(pb.BatchGetRequest(namespace="session", keys=["a", "b"]))
    await refusal(daemon.state.Set(pb.SetRequest(namespace="", key="a")))
    await refusal(daemon.state.Delete(pb.DeleteRequest(namespace="plan", key="a", expected_version=5)))
    daemon.switch().away()
    await refusal(daemon.state.Get(pb.GetRequest(namespace="process", key="a", consistency=STRONG)))
    await daemon.state.Set(pb.SetRequest(namespace="model", key="a", value=b"1"))

    name = f"{REQUEST_DURATION.exposed}_count"
    counted = {
        tuple(sample.labels[label] for label in REQUEST_DURATION.labels): sample.value
        for sample in (await scrape(daemon)).of(name)
    }
    assert counted == {
        ("Set", "session", "normal", "ok"): 1,
        ("BatchGet", "session", "normal", "ok"): 1,
        ("Set", "default", "normal", "invalid_argument"): 1,
        ("Delete", "default", "normal", "aborted"): 1,
        ("Get", "process", "degraded", "unavailable"): 1,
        ("Set", "model", "passthrough", "ok"): 1,
    }


async def test_a_caller_that_goes_away_is_counted_as_such(daemon: RunningDaemon) -> None:
    hold = daemon.switch().hold("get")
    call = daemon.state.Get(pb.GetRequest(namespace="shop", key="a", consistency=STRONG))
    asked = asyncio.ensure_future(refusal(call))
    await hold.reached.wait()
    assert (await scrape(daemon)).value("statesidecar_requests_in_flight") == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    while not measured(daemon):  # noqa: ASYNC110  # the daemon is told by its transport
        await asyncio.sleep(0)
    hold.release()

    assert [(*at, taken.count) for at, taken in measured(daemon).items()] == [
        ("Get", "default", "normal", "cancelled", 1)
    ]
    assert (await scrape(daemon)).value("statesidecar_requests_in_flight") == 0


# ---- conflicts


async def test_conflicts_are_counted_and_those_of_the_last_minute_are_forgotten_after_it(
    daemon: RunningDaemon,
) -> None:
    for key in ("a", "b", "c"):
        await daemon.state.Set(pb.SetRequest(namespace="session", key=key, value=b"1"))
    for key in ("a", "b", "c", "a", "b", "c", "a"):
        lost = await refusal(daemon.state.CAS(pb.CASRequest(namespace="session", key=key, expected_version=1)))
        assert lost.told[0] is grpc.StatusCode.ABORTED
    for _ in range(2):
        await refusal(daemon.state.Delete(pb.DeleteRequest(namespace="plan", key="none", expected_version=1)))
    new = await daemon.state.CAS(pb.CASRequest(namespace="plan", key="new", value=b"1"))
    await daemon.state.CAS(pb.CASRequest(namespace="plan", key="new", value=b"2", expected_version=new.version))

    total, lately = "statesidecar_conflicts_total", "statesidecar_conflicts_last_minute"
    at_once = await scrape(daemon)
    assert at_once.by(total, "kind") == {"session": 7, "default": 2}
    assert at_once.value(total, rpc="CAS", kind="default") == 0
    assert at_once.by(lately, "kind") == {"session": 7, "default": 2}
    status = await told_by(daemon)
    assert status.conflicts_last_minute == 9
    assert {one.rpc: one.conflict_count for one in status.requests} == {"Set": 0, "CAS": 7, "Delete": 2}
    for _ in range(round(60 / TICK_S) - 1):
        daemon.daemon._telemetry.requests.last_minute.tick()
    assert (await told_by(daemon)).conflicts_last_minute == 9
    assert (await scrape(daemon)).by(lately, "kind") == {"session": 7, "default": 2, "none": 0}
    daemon.daemon._telemetry.requests.last_minute.tick()
    a_minute_later = await scrape(daemon)
    assert a_minute_later.by(lately, "kind") == {"session": 0, "default": 0, "none": 0}
    assert (await told_by(daemon)).conflicts_last_minute == 0
    assert a_minute_later.by(total, "kind") == {"session": 7, "default": 2, "none": 0}


# ---- hit ratios


async def test_lookups_and_hits_of_each_tier_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine's late heartbeat would have the near tier forget what is looked for there.
    monkeypatch.setattr(near_tier, "SUSPECT_S", 3600.0)
    namespaces = {"features": {"kind": "model", "large_value_bytes": 1000, "ttl": "none"}}
    with shared_tiers() as shared:
        tiers = {"hot": shared["tiers.hot"], "warm": shared["tiers.warm"], "cold": f"file://{tmp_path}/cold"}
        async with running_daemon(
            tmp_path, http_listen="127.0.0.1:0", app=shared["app"], tiers=tiers, namespaces=namespaces
        ) as daemon:
            await daemon.healed()
            near = daemon.warm.near
            assert near is not None
            while not near.trusted or daemon.warm.cache.generation is None:  # noqa: ASYNC110  # the channel's heartbeat
                await asyncio.sleep(0)
            await check_lookups(daemon)


async def check_lookups(daemon: RunningDaemon) -> None:
    """Gets that find their key in each tier in turn."""
    counted = await lookups(daemon)
    await daemon.write_behind_the_cache("features", "small", b"1")
    await daemon.write_behind_the_cache("features", "other", b"2")

    async def get(*keys: str) -> dict[str, tuple[float, float]]:
        """Hits and misses that a read adds, by tier, where there are any."""
        nonlocal counted
        await daemon.state.BatchGet(pb.BatchGetRequest(namespace="features", keys=list(keys)))
        await daemon.followups_done()
        before, counted = counted, await lookups(daemon)
        added = {tier: (counted[tier][0] - hits, counted[tier][1] - misses) for tier, (hits, misses) in before.items()}
        return {tier: change for tier, change in added.items() if any(change)}

    assert await get("small") == {"near": (0, 1), "hot": (0, 1), "warm": (1, 0)}
    assert await get("small", "other", "none") == {"near": (1, 2), "hot": (0, 2), "warm": (1, 1)}
    near = daemon.warm.near
    assert near is not None
    near.forget("features", ["small"])
    assert await get("small", "other") == {"near": (1, 1), "hot": (1, 0)}
    await daemon.state.Set(pb.SetRequest(namespace="features", key="large", value=bytes(2000)))
    await daemon.followups_done()
    near.forget("features", ["large"])
    await daemon.warm.cache.invalidate("features", ["large"])
    assert await get("large") == {"near": (0, 1), "hot": (0, 1), "warm": (1, 0), "cold": (1, 0)}
    daemon.switch().away()
    assert await get("small", "never") == {"near": (1, 1), "hot": (0, 1)}


async def lookups(daemon: RunningDaemon) -> dict[str, tuple[float, float]]:
    text, name = await scrape(daemon), "statesidecar_tier_lookups_total"
    hits, misses = (text.by(name, "tier", result=result) for result in ("hit", "miss"))
    return {tier: (hits[tier], misses[tier]) for tier in ("near", "hot", "warm", "cold")}


async def test_lookups_of_the_cache_are_counted_in_an_outage_too(tmp_path: Path) -> None:
    tiers = {"hot": "memory://", "warm": "memory://", "cold": "none://"}
    async with running_daemon(tmp_path, http_listen="127.0.0.1:0", tiers=tiers) as daemon:
        await daemon.state.Set(pb.SetRequest(namespace="shop", key="hot", value=b"1"))
        await daemon.followups_done()
        daemon.switch().away()
        await refusal(daemon.state.Get(pb.GetRequest(namespace="shop", key="hot", consistency=STRONG)))
        before = (await scrape(daemon)).by("statesidecar_tier_lookups_total", "result", tier="hot")
        for key in ("hot", "hot", "none"):
            await daemon.state.Get(pb.GetRequest(namespace="shop", key=key))

        after = (await scrape(daemon)).by("statesidecar_tier_lookups_total", "result", tier="hot")
        assert (after["hit"] - before["hit"], after["miss"] - before["miss"]) == (2, 1)


async def test_a_fill_that_lost_against_a_write_is_counted(tmp_path: Path) -> None:
    tiers = {"hot": "memory://", "warm": "memory://", "cold": "none://"}
    async with running_daemon(tmp_path, http_listen="127.0.0.1:0", tiers=tiers) as daemon:
        await daemon.write_behind_the_cache("shop", "key", b"old")
        hold = daemon.switch().hold("get", after=True)
        reading = asyncio.ensure_future(daemon.state.Get(pb.GetRequest(namespace="shop", key="key")))
        await hold.reached.wait()
        assert (await scrape(daemon)).value("statesidecar_fills_refused_total", tier="hot") == 0
        await daemon.state.Set(pb.SetRequest(namespace="shop", key="key", value=b"new"))
        hold.release()
        assert (await reading).entry.value == b"old"
        await daemon.followups_done()

        assert (await scrape(daemon)).value("statesidecar_fills_refused_total", tier="hot") == 1
        assert (await daemon.state.Get(pb.GetRequest(namespace="shop", key="key"))).entry.value == b"new"


# ---- what bounds the whole


async def test_ten_thousand_keys_and_namespaces_have_hardly_more_series_than_ten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Counted when the test says: after a count that a busy machine made slow, a daemon waits a hundred times as long.
    monkeypatch.setattr(census, "DELAY_S", 3600.0)
    monkeypatch.setattr(census, "DUTY", 1.0)
    async with running_daemon(tmp_path, http_listen="127.0.0.1:0") as daemon:

        async def calls(numbers: range) -> None:
            for number in numbers:
                await daemon.state.Set(pb.SetRequest(namespace=f"n{number}", key=f"key-{number}", value=b"1"))

        await calls(range(10))
        # A tombstone is applied to the cache, as is an entry whose lease a busy machine let end.
        made = await daemon.state.CAS(pb.CASRequest(namespace="n0", key="gone", value=b"1"))
        await daemon.state.Delete(pb.DeleteRequest(namespace="n0", key="gone", expected_version=made.version))
        few = series(await counted(daemon, 10))
        async with asyncio.TaskGroup() as clients:
            for first in range(10, 60):
                clients.create_task(calls(range(first, 10_000, 50)))

        many = await counted(daemon, 10_000)
        assert series(many) == few
        assert many.value(f"{REQUEST_DURATION.exposed}_count", rpc="Set") == 10_000
        assert not [sample for sample in many.samples if "key-" in str(sample.labels)]
        entries = many.by(ENTRIES.exposed, ENTRIES.labels[1], tier="warm")
        assert len(entries) <= NAMESPACES_MAX
        assert entries["other"] == 10_000 - (NAMESPACES_MAX - 1)


async def counted(daemon: RunningDaemon, entries: int) -> Scrape:
    """A scrape after a count, which finds so many."""
    for counter in daemon.daemon._sizes.counters:
        await counter.round()
    text = await scrape(daemon)
    assert sum(text.by(ENTRIES.exposed, "tier", tier="warm").values()) == entries
    return text


def series(text: Scrape) -> set[tuple[str, ...]]:
    """Every name with its labels, whatever namespaces are counted."""
    return {
        (
            sample.name,
            *(f"{name}={value}" for name, value in sorted(sample.labels.items()) if name != ENTRIES.labels[1]),
        )
        for sample in text.samples
        if "growth" not in sample.name  # known after two counts
    }


async def test_the_version_and_the_start_are_told(daemon: RunningDaemon) -> None:
    text = await scrape(daemon)

    assert text.value("statesidecar_build_info", version=__version__) == 1
    assert time.time() - 60 < text.value("statesidecar_start_timestamp_seconds") <= time.time()


async def test_the_buckets_that_prometheus_is_told_hold_what_the_distribution_holds(daemon: RunningDaemon) -> None:
    for number in range(200):
        await daemon.state.Set(pb.SetRequest(namespace="shop", key=f"{number}", value=b"1"))

    text = await scrape(daemon)
    [distribution] = measured(daemon).values()
    buckets = text.by(f"{REQUEST_DURATION.exposed}_bucket", "le")
    assert buckets["+Inf"] == distribution.count == 200
    for bound, count in buckets.items():
        if bound != "+Inf":
            below = [n for place, n in enumerate(distribution.counts) if upper_bound(place) <= float(bound) * 1.00001]
            assert sum(below) == count, bound
