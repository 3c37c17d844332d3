"""What a daemon tells of how much it keeps, and of the connections and commits it keeps it with, is true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.histograms import Distribution
from sidecar.core.modes import Tier
from sidecar.core.observed import Grouping, Held, Pool, Pooled
from sidecar.runtime import census
from statesidecar.v1 import state_service_pb2 as pb
from tests.contract.adapters import BLOBS, STORES
from tests.contract.adapters_redis_store import REDIS_STORE
from tests.contract.harnesses import BlobsHarness, StoreHarness
from tests.support.backends import shared_tiers
from tests.support.daemon import RunningDaemon, running_daemon
from tests.telemetry.scrapes import scraped

LARGE = 200_000
GROUPING = [harness for harness in STORES if harness.name in {"sqlite", "postgres", "dynamodb"}]
POOLED = [harness for harness in STORES if harness.name in {"sqlite", "postgres", "dynamodb"}]
S3_BLOBS = [harness for harness in BLOBS if harness.name != "files"]

Sizes = dict[tuple[Tier, str], Held]


@pytest.fixture(autouse=True)
def count_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And again as soon as settings allow, however long the last count took on a busy machine."""
    monkeypatch.setattr(census, "DELAY_S", 0.0)
    monkeypatch.setattr(census, "DUTY", 1.0)


def sizes(daemon: RunningDaemon) -> Sizes:
    told = daemon.daemon._report.sizes()
    return {(size.tier, size.namespace): Held(size.entries, size.bytes) for size in told}


async def until(daemon: RunningDaemon, holds: Callable[[Sizes], bool]) -> Sizes:
    """Until the daemon tells it."""
    async with asyncio.timeout(15):
        while not holds(sizes(daemon)):  # noqa: ASYNC110  # figures have no signal
            await asyncio.sleep(0)
    return sizes(daemon)


async def fill(daemon: RunningDaemon) -> None:
    for n in range(10):
        await daemon.state.Set(pb.SetRequest(namespace="session", key=f"s{n}", value=b"x" * 98))
    for n in range(3):
        await daemon.state.Set(pb.SetRequest(namespace="process", key=f"p{n}", value=b"x" * LARGE))
    await daemon.state.Set(pb.SetRequest(namespace="system", key="counter", value=b"1"))
    await daemon.state.Delete(pb.DeleteRequest(namespace="session", key="s9"))


def options(tiers: dict[str, str]) -> dict[str, Any]:
    return {"tiers": tiers, "http_listen": "127.0.0.1:0", "telemetry": {"census_interval_s": 1.0}}


HELD: Sizes = {
    (Tier.WARM, "session"): Held(9, 900),
    (Tier.WARM, "process"): Held(3, 6),
    (Tier.COLD, "process"): Held(3, 3 * LARGE),
    (Tier.HOT, "system"): Held(1, 8),
}
"""After `fill`, where all tiers can be counted."""


async def test_a_daemon_on_embedded_tiers_tells_what_each_of_them_holds(tmp_path: Path) -> None:
    namespaces = {"process": {"large_value_bytes": 100_000}}
    async with running_daemon(tmp_path, namespaces=namespaces, **options({})) as daemon:
        await fill(daemon)
        for n in range(5):
            await daemon.state.Get(pb.GetRequest(namespace="session", key=f"s{n}"))
        await daemon.followups_done()

        found = await until(daemon, lambda told: HELD.items() <= told.items() and told[Tier.HOT, ""].entries >= 5)

        assert found.keys() == HELD.keys() | {(Tier.HOT, "")}
        assert found[Tier.HOT, ""].bytes > 5 * 100
        scrape = await scraped(daemon.daemon.http_address)
        for (tier, namespace), held in HELD.items():
            labels = {"tier": tier.name.lower(), "state_namespace": namespace}
            assert scrape.value("statesidecar_entries", **labels) == held.entries
            assert scrape.value("statesidecar_entries_size_bytes", **labels) == held.bytes
        assert scrape.value("statesidecar_entries_counted_timestamp_seconds", tier="warm") > 0


async def test_growth_is_told_from_the_second_count_on(tmp_path: Path) -> None:
    async with running_daemon(tmp_path, **options({"cold": "none://"})) as daemon:
        await daemon.state.Set(pb.SetRequest(namespace="session", key="s", value=b"x" * 99))
        await until(daemon, lambda told: told.get((Tier.WARM, "session")) == Held(1, 100))
        for n in range(10):
            await daemon.state.Set(pb.SetRequest(namespace="session", key=f"{n}", value=b"x" * 99))
        await until(daemon, lambda told: told[Tier.WARM, "session"] == Held(11, 1100))

        scrape = await scraped(daemon.daemon.http_address)

        labels = {"tier": "warm", "state_namespace": "session"}
        entries = scrape.value("statesidecar_entries_growth_per_second", **labels)
        assert 0 < entries <= 11
        assert scrape.value("statesidecar_entries_size_growth_bytes_per_second", **labels) == pytest.approx(
            entries * 100
        )


async def test_a_daemon_on_shared_servers_tells_what_they_hold(tmp_path: Path) -> None:
    """The near tier tells how much it holds, Redis and PostgreSQL how much of which namespace."""
    with shared_tiers() as shared:
        tiers = {"hot": shared["tiers.hot"], "warm": shared["tiers.warm"], "cold": "none://"}
        async with running_daemon(tmp_path, app=shared["app"], **options(tiers)) as daemon:
            await daemon.healed()
            await daemon.state.Set(pb.SetRequest(namespace="model", key="m", value=b"x" * 99))
            async with asyncio.timeout(15):
                while not sizes(daemon).get((Tier.NEAR, ""), Held(0, 0)).entries:
                    await daemon.state.Get(pb.GetRequest(namespace="model", key="m"))
                    await daemon.followups_done()

            found = await until(daemon, lambda told: told.get((Tier.WARM, "model")) == Held(1, 100))

            assert found[Tier.NEAR, ""].bytes > 99


# ---- commits


@pytest.mark.parametrize("harness", GROUPING, ids=lambda harness: harness.name)
async def test_the_writes_of_a_commit_are_counted(harness: StoreHarness, tmp_path: Path) -> None:
    async with harness.opened(tmp_path) as subject:
        store = subject.store
        assert isinstance(store, Grouping)

        async def added(count: int) -> Distribution:
            before = store.batches.distribution()
            await asyncio.gather(*[subject.put(f"{n}") for n in range(count)])
            return store.batches.distribution().since(before)

        alone, together = await added(1), await added(64)

        assert (alone.count, alone.sum) == (1, 1)
        assert together.sum == 64
        assert together.count < 32
        assert together.quantile(1.0) > 1


# ---- pools


async def seen(pooled: Pooled, work: Callable[[], Any], count: int) -> list[Pool]:
    """The pool as it was at any moment while some calls were under way."""
    calls = asyncio.gather(*[work() for _ in range(count)])
    pools: list[Pool] = []
    while not calls.done():
        await asyncio.sleep(0)
        pools.append(pooled.pool)
    await calls
    return pools


def check(pooled: Pooled, pools: list[Pool]) -> None:
    """None of them was more than there can be; some were in use, and none is now."""
    for pool in pools:
        assert min(pool.in_use, pool.idle, pool.waiting) >= 0
        assert pool.in_use + pool.idle <= pool.size_max
    assert max(pool.in_use for pool in pools) > 0
    after = pooled.pool
    assert (after.in_use, after.waiting) == (0, 0)
    assert 0 < after.idle <= after.size_max


@pytest.mark.parametrize("harness", POOLED, ids=lambda harness: harness.name)
async def test_the_pool_of_a_store_is_told(harness: StoreHarness, tmp_path: Path) -> None:
    async with harness.opened(tmp_path) as subject:
        store = subject.store
        assert isinstance(store, Pooled)

        async def read() -> None:
            await subject.scan()

        pools = await seen(store, read, 200)

        check(store, pools)
        assert max(pool.waiting for pool in pools) > 0, "more asked than there are connections"
        await store.close()
        assert store.pool == Pool(in_use=0, idle=0, size_max=store.pool.size_max)


async def test_the_pool_of_redis_is_told(tmp_path: Path) -> None:
    async with REDIS_STORE.opened(tmp_path) as subject:
        client = subject.store.client  # type: ignore[attr-defined]  # the harness's store has one
        assert isinstance(client, Pooled)

        async def read() -> None:
            await subject.copy("key")

        check(client, await seen(client, read, 200))


@pytest.mark.parametrize("harness", S3_BLOBS, ids=lambda harness: harness.name)
async def test_the_pool_of_an_object_store_is_told(harness: BlobsHarness, tmp_path: Path) -> None:
    async with harness.opened(tmp_path) as subject:
        blobs = subject.blobs
        assert isinstance(blobs, Pooled)

        async def read() -> None:
            await blobs.get("a/name")

        pools = await seen(blobs, read, 50)

        check(blobs, pools)
        assert max(pool.waiting for pool in pools) > 0, "more asked than there are threads"


async def test_pools_and_commits_are_told_by_the_daemon(tmp_path: Path) -> None:
    async with running_daemon(tmp_path, **options({"cold": "none://"})) as daemon:
        await daemon.state.Set(pb.SetRequest(namespace="session", key="s", value=b"x"))
        scrape = await scraped(daemon.daemon.http_address)

        assert scrape.value("statesidecar_pool_limit", tier="warm") == 2
        assert scrape.value("statesidecar_pool_connections", tier="warm", state="idle") > 0
        assert scrape.value("statesidecar_commit_writes_count", tier="warm") >= 1
