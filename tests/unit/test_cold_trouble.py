"""What is told when the cold tier is away, or does not have what it was given."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sidecar.core.errors import ColdUnavailable, DataLoss, InvalidRequest, StoreUnavailable
from sidecar.core.marks import BLOB
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.operations import Put, Remove
from sidecar.tiers.blob_jobs import GRACE_MS
from tests.support.factories import NAMESPACE
from tests.unit.cold_support import KEY, LARGE, Deployment, idle, large


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "cold")


# ---- outages


async def test_the_cold_tier_away_is_told_as_that(deployment: Deployment) -> None:
    await deployment.put(large())
    deployment.blobs.away = True

    for strong in (False, True):
        with pytest.raises(ColdUnavailable) as caught:
            await deployment.lookup(strong=strong)
        assert caught.value.metadata == {"tier": "cold"}
        assert "cold tier" in caught.value.message
    partial = await deployment.lookup(partial=True)
    assert (partial.entry, partial.tier, partial.mode) == (None, Tier.NONE, ServingMode.PASSTHROUGH)
    [cached] = (await deployment.placement.get_cached(NAMESPACE, [KEY], [0])).lookups
    assert cached.mode is ServingMode.PASSTHROUGH


async def test_the_authority_away_and_the_pointer_cached(deployment: Deployment) -> None:
    await deployment.put(large())
    deployment.store.away()

    [cached] = (await deployment.placement.get_cached(NAMESPACE, [KEY], [0])).lookups
    assert (cached.entry and cached.entry.value, cached.mode) == (large(), ServingMode.DEGRADED)
    for name in await deployment.stored():
        await deployment.blobs.files.delete(name)
    [cached] = (await deployment.placement.get_cached(NAMESPACE, [KEY], [0])).lookups
    assert cached.mode is ServingMode.PASSTHROUGH, "it can't be learned what the key is now"


async def test_a_failed_load_gives_its_lease_back(deployment: Deployment) -> None:
    await idle(deployment, large(size=LARGE))
    deployment.blobs.away = True
    with pytest.raises(ColdUnavailable):
        await deployment.lookup()
    deployment.blobs.away = False

    assert await deployment.value() == large(size=LARGE)
    assert (await deployment.lookup()).tier is Tier.HOT


async def test_a_large_value_that_cannot_go_to_cold_stays_with_the_authority(deployment: Deployment) -> None:
    deployment.blobs.away = True
    await deployment.put(large())
    deployment.blobs.away = False

    assert await deployment.value(strong=True) == large()
    assert await deployment.stored() == []
    await deployment.collect(passes=2)
    assert await deployment.records() == {}


async def test_one_that_is_too_large_for_that_is_refused(deployment: Deployment) -> None:
    deployment.blobs.away = True
    with pytest.raises(ColdUnavailable):
        await deployment.put(bytes((4 << 20) + 1))

    assert await deployment.row() is None


async def test_the_authority_away_is_told_as_that(deployment: Deployment) -> None:
    deployment.store.away()

    with pytest.raises(StoreUnavailable):
        await deployment.put(large())
    assert await deployment.stored() == []


# ---- what can't be given back


async def test_a_blob_that_is_missing_is_a_loss_and_nothing_else(deployment: Deployment) -> None:
    await deployment.put(large())
    await deployment.blobs.files.delete(await deployment.blob())

    for strong in (False, True):
        with pytest.raises(DataLoss) as caught:
            await deployment.lookup(strong=strong)
        assert (caught.value.reason, caught.value.metadata) == ("ENTRY_CORRUPT", {"namespace": NAMESPACE, "key": KEY})


async def test_a_cached_pointer_that_is_older_than_its_blob_s_end_is_no_loss(deployment: Deployment) -> None:
    await deployment.put(large(1))
    await deployment.lookup()
    # As another daemon's writer does that has not told this one's cache.
    other = Deployment(Path(sys.prefix), store=deployment.truth, clock=deployment.clock)
    other.blobs.files = deployment.blobs.files
    await other.put(large(2))
    await deployment.collect(passes=2, after_ms=GRACE_MS + 1)

    assert len(await deployment.stored()) == 1
    assert await deployment.value() == large(2)
    await other.commit(Remove(key=KEY))
    await deployment.collect(passes=2)
    assert await deployment.value() is None


async def test_another_s_blob_under_the_name_is_not_believed(deployment: Deployment) -> None:
    """The files verify what they hold; that it is this key's value, the pointer does."""
    await deployment.put(large(1))
    name = await deployment.blob()
    await deployment.blobs.files.delete(name)
    await deployment.blobs.files.put(name, large(2))

    with pytest.raises(DataLoss) as caught:
        await deployment.lookup()
    assert caught.value.metadata["key"] == KEY


async def test_every_flipped_bit_of_a_blob_is_found(deployment: Deployment, tmp_path: Path) -> None:
    deployment.large_bytes = 100
    await deployment.put(large(size=200))
    [path] = [path for path in (tmp_path / "cold").rglob("*") if path.is_file()]
    good = path.read_bytes()
    for bit in range(len(good) * 8):
        spoilt = bytearray(good)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        with pytest.raises(DataLoss) as caught:
            await deployment.lookup()
        assert caught.value.reason == "ENTRY_CORRUPT"
    path.write_bytes(good[:-1])
    with pytest.raises(DataLoss):
        await deployment.lookup()
    path.write_bytes(good)
    assert await deployment.value() == large(size=200)


async def test_a_pointer_that_does_not_verify_is_a_loss(deployment: Deployment) -> None:
    await deployment.commit(Put(key=KEY, value=b"", marks={BLOB: "nonsense"}))

    with pytest.raises(DataLoss) as caught:
        await deployment.lookup()
    assert caught.value.metadata == {"namespace": NAMESPACE, "key": KEY}


# ---- bounds


async def test_a_batch_that_is_too_large_is_refused_before_anything_is_loaded(deployment: Deployment) -> None:
    for n in range(3):
        await deployment.put(large(n, 10_000), f"{n}")

    with pytest.raises(InvalidRequest) as caught:
        await deployment.placement.get(NAMESPACE, ["0", "1", "2"], [0] * 3, deadline=None, bytes_max=29_999)

    assert caught.value.reason == "RESPONSE_TOO_LARGE"
    assert deployment.blobs.gets == 0
    await deployment.placement.get(NAMESPACE, ["0", "1", "2"], [0] * 3, deadline=None, bytes_max=30_000)
    assert deployment.blobs.gets == 3
