"""What is particular to blobs in S3: what is stored, sizes, many objects, others' objects, outages."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from servers.seaweedfs import Seaweedfs
from sidecar.core.errors import DataLoss, LimitExceeded, OutcomeUnknown, StoreUnavailable
from sidecar.runtime.ports import SystemClock
from sidecar.stores.s3.blobs import S3Blobs
from sidecar.stores.s3.client import connect
from sidecar.stores.s3.pool import QUEUE_MAX
from sidecar.stores.s3.target import S3Target
from tests.contract.adapters_s3 import TIMEOUT_S

MIB = 1 << 20


@pytest.fixture
def bucket(target: S3Target) -> Iterator[Any]:
    """Another's client of the same server."""
    client: Any = connect(target, timeout_s=TIMEOUT_S, connections=1)
    yield client
    client.close()


async def listed(blobs: S3Blobs, prefix: str = "") -> list[str]:
    return [name async for name in blobs.names(prefix)]


async def test_an_object_is_plain_content_that_says_what_it_is(blobs: S3Blobs, target: S3Target, bucket: Any) -> None:
    await blobs.put("run-7/step.3", b"content")

    found = bucket.get_object(Bucket=target.bucket, Key=f"{target.prefix}/run!7./step-3")
    assert found["Body"].read() == b"content"
    assert found["ContentType"] == "application/octet-stream"
    assert found["Metadata"].keys() == {"sidecar-name", "sidecar-sha256", "sidecar-put"}
    assert found["Metadata"]["sidecar-name"] == "run-7/step.3"
    assert found["Metadata"]["sidecar-sha256"] == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize(
    "metadata", [{}, {"sidecar-name": "name"}, {"sidecar-sha256": hashlib.sha256(b"x").hexdigest()}]
)
async def test_an_object_of_somebody_else_is_data_loss_and_takes_its_name(
    blobs: S3Blobs, target: S3Target, bucket: Any, metadata: dict[str, str]
) -> None:
    bucket.put_object(Bucket=target.bucket, Key=f"{target.prefix}/name", Body=b"x", Metadata=metadata)

    with pytest.raises(DataLoss):
        await blobs.get("name")
    assert not await blobs.put("name", b"x")


async def test_the_object_of_another_name_is_data_loss(blobs: S3Blobs, target: S3Target, bucket: Any) -> None:
    await blobs.put("one", b"content")
    source = {"Bucket": target.bucket, "Key": f"{target.prefix}/one"}
    bucket.copy_object(Bucket=target.bucket, Key=f"{target.prefix}/two", CopySource=source)

    with pytest.raises(DataLoss):
        await blobs.get("two")


async def test_objects_that_are_no_blobs_are_not_listed(blobs: S3Blobs, target: S3Target, bucket: Any) -> None:
    for key in ("~probe-of-a-dead-process", "a/b", "some.file", "ünï"):
        bucket.put_object(Bucket=target.bucket, Key=f"{target.prefix}/{key}", Body=b"")
    await blobs.put("some/file", b"")

    assert await listed(blobs) == ["some/file"]


async def test_folders_of_a_bucket_do_not_see_each_other(blobs: S3Blobs, target: S3Target) -> None:
    other = S3Blobs(replace(target, prefix=f"{target.prefix}-2"), clock=SystemClock(), timeout_s=TIMEOUT_S)
    await other.open()
    await blobs.put("name", b"1")

    assert await other.get("name") is None
    assert await listed(other) == []
    assert await other.put("name", b"2")
    assert await blobs.get("name") == b"1"
    await other.close()


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 64 * MIB])
async def test_large_objects(blobs: S3Blobs, size: int) -> None:
    content = hashlib.shake_128(b"%d" % size).digest(1 << 16) * (size // (1 << 16) + 1)
    content = content[:size]

    assert await blobs.put("name", content)

    assert await blobs.get("name") == content


async def test_a_get_needs_little_more_memory_than_the_content(blobs: S3Blobs) -> None:
    await blobs.put("name", bytes(32 * MIB))
    tracemalloc.start()
    try:
        content = await blobs.get("name")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert content is not None
    assert peak < 1.3 * len(content)


async def test_more_names_than_a_page_are_listed(blobs: S3Blobs) -> None:
    names = [f"{n % 7}/{n:04}" for n in range(1_050)]
    for start in range(0, len(names), 200):
        await asyncio.gather(*[blobs.put(name, b"") for name in names[start : start + 200]])

    assert await listed(blobs) == sorted(names)
    assert await listed(blobs, "3/1") == [name for name in sorted(names) if name.startswith("3/1")]


async def test_more_calls_than_may_wait_are_refused(blobs: S3Blobs) -> None:
    answers = await asyncio.gather(*[blobs.get("name") for _ in range(QUEUE_MAX + 10)], return_exceptions=True)

    refused = [answer for answer in answers if answer is not None]
    assert len(refused) == 10
    assert all(isinstance(answer, LimitExceeded) and answer.reason == "QUEUE_FULL" for answer in refused)


async def test_closing_finishes_what_was_begun(target: S3Target) -> None:
    blobs = S3Blobs(target, clock=SystemClock(), timeout_s=TIMEOUT_S)
    await blobs.open()
    putting = [asyncio.ensure_future(blobs.put(f"{n}", b"content")) for n in range(20)]
    await asyncio.sleep(0)
    await blobs.close()

    assert await asyncio.gather(*putting) == [True] * 20
    with pytest.raises(StoreUnavailable, match="not open"):
        await blobs.get("1")


@pytest.fixture(scope="module")
def own_server() -> Iterator[Seaweedfs]:
    """One that may be harmed."""
    with Seaweedfs() as server:
        yield server


async def opened(server: Seaweedfs, prefix: str, *, timeout_s: float) -> S3Blobs:
    target = S3Target(bucket="state-sidecar", prefix=prefix, endpoint_url=server.endpoint_url, path_style=True)
    blobs = S3Blobs(target, clock=SystemClock(), timeout_s=timeout_s)
    await blobs.open()
    return blobs


async def test_a_server_that_hangs_is_noticed_in_time_and_used_when_it_is_back(
    own_server: Seaweedfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await opened(own_server, "hang", timeout_s=TIMEOUT_S)
    await blobs.put("name", b"content")
    monkeypatch.setattr(blobs, "_timeout_s", 1.0)
    own_server.pause()
    calls = [*[blobs.get("name") for _ in range(20)], blobs.put("new", b""), blobs.delete("other"), listed(blobs)]
    try:
        async with asyncio.timeout(3):
            answers = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        own_server.resume()

    assert {type(answer) for answer in answers} <= {StoreUnavailable, OutcomeUnknown}
    assert {type(answer) for answer in answers[:20]} == {StoreUnavailable}
    for _ in range(20):
        assert await got_again(blobs, "name") == b"content"
    await blobs.close()


async def test_a_server_that_was_killed_is_used_when_it_is_back(own_server: Seaweedfs) -> None:
    blobs = await opened(own_server, "kill", timeout_s=TIMEOUT_S)
    await blobs.put("name", b"content")
    own_server.kill()

    for call in (blobs.get("name"), blobs.put("new", b""), blobs.delete("name"), listed(blobs)):
        with pytest.raises(StoreUnavailable, match="can't be reached"):
            await call

    own_server.restart()
    assert await blobs.get("name") == b"content"
    assert await blobs.put("new", b"")
    await blobs.close()


async def test_acknowledged_objects_survive_a_killed_server(own_server: Seaweedfs) -> None:
    blobs = await opened(own_server, "durable", timeout_s=TIMEOUT_S)
    assert all(await asyncio.gather(*[blobs.put(f"{n}", b"%d" % n * 1000) for n in range(100)]))
    own_server.kill()
    own_server.restart()

    assert [await blobs.get(f"{n}") for n in range(100)] == [b"%d" % n * 1000 for n in range(100)]
    await blobs.close()


async def test_what_could_not_be_opened_is_opened_by_a_later_call(own_server: Seaweedfs) -> None:
    target = S3Target(bucket="state-sidecar", prefix="late", endpoint_url=own_server.endpoint_url, path_style=True)
    blobs = S3Blobs(target, clock=SystemClock(), timeout_s=TIMEOUT_S)
    own_server.kill()
    with pytest.raises(StoreUnavailable):
        await blobs.open()
    own_server.restart()

    assert await got_again(blobs, "name") is None
    await blobs.close()


async def got_again(blobs: S3Blobs, name: str) -> bytes | None:
    """What is answered when the server is back; a failure of a moment ago may still be told."""
    while True:
        try:
            return await blobs.get(name)
        except StoreUnavailable:
            await asyncio.sleep(0)
