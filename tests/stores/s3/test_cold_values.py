"""Values in cold over a real server: stored, loaded, collected, and never told when a bit of them is another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.errors import ColdUnavailable, DataLoss
from sidecar.stores.s3.blobs import S3Blobs
from sidecar.stores.s3.client import connect
from sidecar.stores.s3.objects import Objects
from sidecar.stores.s3.requests import Requests
from sidecar.stores.s3.target import S3Target
from tests.contract.adapters_s3 import TIMEOUT_S
from tests.support.factories import NAMESPACE
from tests.unit.cold_support import KEY, Deployment, done, large


@pytest.fixture
def deployment(tmp_path: Path, blobs: S3Blobs) -> Deployment:
    return Deployment(tmp_path, files=blobs)


@pytest.fixture
def client(target: S3Target) -> Iterator[Any]:
    with closing(connect(target, timeout_s=TIMEOUT_S, connections=1)) as made:
        yield made


async def test_large_and_archived_values_come_back_and_what_nobody_needs_goes(deployment: Deployment) -> None:
    for n in range(3):
        await deployment.put(large(n, 3 << 20))
    await deployment.put(large(size=1_000), "idle")
    deployment.clock.advance(60_001)
    assert await done(deployment.archive) == {"archived": 1}
    deployment.cache.clear()

    assert await deployment.collect(passes=2) == {"blobs": 2}
    assert await deployment.value() == large(2, 3 << 20)
    assert await deployment.value("idle") == large(size=1_000)  # which brings it back
    assert await deployment.collect(passes=2) == {"blobs": 1}
    assert await deployment.stored() == list(await deployment.records()) == [await deployment.blob()]


async def test_orphans_are_found_by_listing(deployment: Deployment) -> None:
    await deployment.put(large())
    name = await deployment.blob()
    await deployment.blobs.files.put(f"{name[:17]}{0:028x}", b"an orphan")

    assert await done(deployment.orphans) == {"orphans": 1}
    assert await deployment.collect(after_ms=0) == {"blobs": 1}
    assert await deployment.stored() == [name]


async def test_no_flipped_bit_is_ever_told(deployment: Deployment, target: S3Target, client: Any) -> None:
    deployment.large_bytes = 10
    value = large(size=16)
    await deployment.put(value)
    at = {"Bucket": target.bucket, "Key": Objects(Requests(client, target)).key(await deployment.blob())}
    found = client.get_object(**at)
    good, described = found["Body"].read(), found["Metadata"]
    assert good == value
    for bit in range(len(good) * 8):
        spoilt = bytearray(good)
        spoilt[bit // 8] ^= 1 << bit % 8
        client.put_object(**at, Body=bytes(spoilt), Metadata=described)
        with pytest.raises(DataLoss) as caught:
            await deployment.lookup()
        assert (caught.value.reason, caught.value.metadata) == ("ENTRY_CORRUPT", {"namespace": NAMESPACE, "key": KEY})
    client.put_object(**at, Body=good, Metadata=described)

    assert await deployment.value() == value


async def test_a_server_that_is_away_is_told_as_the_cold_tier(deployment: Deployment, target: S3Target) -> None:
    await deployment.put(large())
    nowhere = S3Target(bucket=target.bucket, endpoint_url="http://127.0.0.1:1", path_style=True)
    deployment.blobs.files = S3Blobs(nowhere, clock=deployment.clock, timeout_s=1)

    with pytest.raises(ColdUnavailable):
        await deployment.lookup()
    await deployment.blobs.files.close()
