"""What a checkpoint costs and where it is; and that a request id makes one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.core import ledger as names
from sidecar.core.errors import ColdUnavailable, InvalidRequest
from sidecar.core.operations import Put, Remove
from sidecar.engine.checkpoints.contents import INLINE_BYTES_MAX
from sidecar.tiers.blob_jobs import GRACE_MS, BlobCollection
from tests.unit.checkpoints_support import PLAIN, STORES, Bench, one_pass, request, running, text

A, B = b"first", b"second"


@pytest.fixture(params=STORES)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running("memory", tmp_path) as made:
        yield made


# ---- what is stored


async def test_the_same_content_is_stored_once(bench: Bench) -> None:
    await bench.put(PLAIN, "k", text(1, 1_000))

    first = await bench.take(PLAIN, key="k")
    second = await bench.take(PLAIN, key="k")

    assert (first.content, second.stored_bytes) == (second.content, 0)
    assert len(await bench.rows(names.CONTENTS)) == 1
    assert [row.value for row in await bench.rows(names.REFERENCES)] == [b"2"]
    await bench.check_references()


async def test_equal_documents_of_two_namespaces_have_nothing_in_common(memory: Bench) -> None:
    store = memory.checkpoints.home(memory.placement).contents

    first = await store.prepare("one", b"document", parent="")
    second = await store.prepare("two", b"document", parent="")

    assert first.content_id != second.content_id


async def test_a_growing_state_costs_what_it_grows_by(bench: Bench) -> None:
    stored = 0
    for turn in range(60):
        await bench.append(PLAIN, "k", text(turn, 2_000).decode())
        stored += (await bench.take(PLAIN, key="k")).stored_bytes
    state = len(await bench.value(PLAIN, "k") or b"")

    assert stored < 1.5 * state
    for turn, each in enumerate(reversed(await bench.ids(PLAIN, key="k"))):
        snapshot = await bench.another().checkpoints.get(PLAIN, each)
        assert json.loads(snapshot.entries[0].value) == [text(at, 2_000).decode() for at in range(turn + 1)]
    await bench.check_references()


async def test_what_is_large_goes_to_cold_and_the_rest_is_in_rows(bench: Bench) -> None:
    await bench.put(PLAIN, "small", text(1, 1_000))
    await bench.put(PLAIN, "large", text(2, 10 * INLINE_BYTES_MAX))

    small = await bench.take(PLAIN, key="small")
    large = await bench.take(PLAIN, key="large")

    assert not (await bench.content(small.content)).blob
    content = await bench.content(large.content)
    assert content.blob
    assert content.data == b""
    assert large.stored_bytes > 3 * INLINE_BYTES_MAX
    assert await bench.another().values(PLAIN, large.checkpoint_id) == {"large": text(2, 10 * INLINE_BYTES_MAX)}


async def test_without_a_cold_tier_all_is_in_rows(tmp_path: Path) -> None:
    async with running("sqlite", tmp_path, cold=False) as bench:
        value = text(1, 1_000_000)
        await bench.put(PLAIN, "k", value)

        made = await bench.take(PLAIN, key="k")

        assert await bench.another().values(PLAIN, made.checkpoint_id) == {"k": value}


async def test_while_cold_is_away_small_ones_are_made_and_large_ones_are_unavailable(bench: Bench) -> None:
    await bench.put(PLAIN, "k", text(1, 100_000))
    await bench.put(PLAIN, "small", A)
    made = await bench.take(PLAIN, key="k")
    assert bench.cold is not None
    bench.cold.rename(bench.cold.with_name("away"))
    bench.cold.touch()

    await bench.take(PLAIN, key="small")
    await bench.put(PLAIN, "k", text(2, 100_000))
    with pytest.raises(ColdUnavailable):
        await bench.another().take(PLAIN, key="k")
    with pytest.raises(ColdUnavailable):
        await bench.another().checkpoints.get(PLAIN, made.checkpoint_id)

    bench.cold.unlink()
    bench.cold.with_name("away").rename(bench.cold)
    assert await bench.another().values(PLAIN, made.checkpoint_id) == {"k": text(1, 100_000)}


async def test_a_blob_that_was_given_up_before_the_commit_is_stored_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is slower than the grace of the collection must not commit a pointer to what is gone."""
    await bench.put(PLAIN, "k", text(1, 100_000))
    home, blobs = bench.checkpoints.home(bench.placement), bench.placement.blobs
    assert blobs is not None
    commit = home.commit
    collected: dict[str, int] = {}

    async def late(*given: Any, **named: Any) -> Any:
        if not collected:
            bench.clock.advance(GRACE_MS + 1)
            collected.update(await one_pass(BlobCollection(blobs, bench.placement.rows)))
        return await commit(*given, **named)

    monkeypatch.setattr(home, "commit", late)
    made = await bench.take(PLAIN, key="k")

    assert collected == {"blobs": 1}
    assert await bench.another().values(PLAIN, made.checkpoint_id) == {"k": text(1, 100_000)}
    bench.clock.advance(GRACE_MS + 1)
    assert await one_pass(BlobCollection(blobs, bench.placement.rows)) == {}


async def test_large_values_are_in_a_checkpoint_as_values(bench: Bench) -> None:
    """Also when the key has another one by the time of the restore, and the first one's blob is nobody's."""
    value = text(1, 3_000_000)
    await bench.write(PLAIN, Put(key="p/large", value=value), Put(key="p/small", value=A))

    of_key = await bench.take(PLAIN, key="p/large")
    of_prefix = await bench.take(PLAIN, key_prefix="p/")
    await bench.write(PLAIN, Remove(key="p/large"))

    other = bench.another()
    assert await other.values(PLAIN, of_key.checkpoint_id) == {"p/large": value}
    assert await other.values(PLAIN, of_prefix.checkpoint_id) == {"p/large": value, "p/small": A}
    assert of_key.value_bytes == len(value)


# ---- request ids


async def test_a_request_id_makes_one_checkpoint(bench: Bench) -> None:
    await bench.put(PLAIN, "k", A)
    first = await bench.take(PLAIN, key="k", request=request("r"))
    await bench.put(PLAIN, "k", B)
    await bench.take(PLAIN, key="k")

    again = await bench.another().take(PLAIN, key="k", request=request("r"))

    assert again == first
    assert len(await bench.ids(PLAIN, key="k")) == 2
    with pytest.raises(InvalidRequest) as reused:
        await bench.take(PLAIN, key="k", request=request("r", b"other"))
    assert reused.value.reason == "REQUEST_ID_REUSED"
    assert (await bench.take(PLAIN, key="k", request=request("r2"))).checkpoint_id != first.checkpoint_id
    await bench.put("other", "k", A)
    assert (await bench.take("other", key="k", request=request("r"))).namespace == "other"


async def test_a_request_id_answers_the_same_after_the_checkpoint_was_deleted_and_is_forgotten_after_a_day(
    bench: Bench,
) -> None:
    await bench.put(PLAIN, "k", A)
    first = await bench.take(PLAIN, key="k", request=request("r"))
    await bench.checkpoints.delete(PLAIN, first.checkpoint_id)

    assert await bench.take(PLAIN, key="k", request=request("r")) == first

    bench.clock.advance(24 * 3_600_000)
    [forgotten] = await bench.placement.ledger.get([names.request_key(PLAIN, "r")])
    assert forgotten is None


async def test_two_at_once_under_one_request_id_are_one(bench: Bench) -> None:
    await bench.put(PLAIN, "k", A)

    made = await asyncio.gather(*[bench.another().take(PLAIN, key="k", request=request("r")) for _ in range(10)])

    assert len({record.checkpoint_id for record in made}) == 1
    assert len(await bench.ids(PLAIN)) == 1
    await bench.check_references()


async def test_many_at_once_are_all_made(bench: Bench) -> None:
    await bench.put(PLAIN, "k", text(1, 5_000))
    others = [bench.another() for _ in range(8)]

    made = await asyncio.gather(*[other.take(PLAIN, key="k") for other in others])

    assert len({record.checkpoint_id for record in made}) == 8
    assert len({record.content for record in made}) == 1
    await bench.check_references()
