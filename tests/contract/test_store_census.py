"""A store that counts what it holds counts what readers can see, by namespace, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.ledger import LEDGER
from sidecar.core.marks import BLOB, Pointer
from sidecar.core.observed import Census, Counting, Held
from sidecar.core.operations import Put, Relocate, Remove
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import NAMESPACE, request

DIGEST = "0" * 64


async def census(store: StoreUnderTest) -> Census:
    assert isinstance(store.store, Counting)
    counted = await store.store.census()
    assert not counted.estimated, "so few are all counted"
    return counted


async def held(store: StoreUnderTest, namespace: str = NAMESPACE) -> Held | None:
    return (await census(store)).held.get(namespace)


def pointer(size: int, *, archived: bool = False) -> dict[str, str]:
    return {BLOB: Pointer("name/of/blob", size, DIGEST, archived).text}


async def test_the_stores_that_count_are_those_that_say_so(store: StoreUnderTest) -> None:
    assert isinstance(store.store, Counting) == store.harness.counts


async def test_an_empty_store_holds_nothing(counting_store: StoreUnderTest) -> None:
    assert await census(counting_store) == Census(held={}, away={})


async def test_entries_and_the_bytes_of_keys_and_values_are_counted_by_namespace(
    counting_store: StoreUnderTest,
) -> None:
    await counting_store.put("key", b"value")
    await counting_store.put("other", b"")
    await counting_store.put("ключ\0", b"\0" * 1000, namespace="päth/of a namespace")

    assert (await census(counting_store)).held == {
        NAMESPACE: Held(2, 3 + 5 + 5),
        "päth/of a namespace": Held(1, 9 + 1000),
    }


async def test_an_entry_that_is_overwritten_counts_once_with_what_it_has_now(counting_store: StoreUnderTest) -> None:
    for size in (10, 1000, 3):
        await counting_store.put("key", b"x" * size, labels={"name": "value"})

    assert await held(counting_store) == Held(1, 3 + 3)


@pytest.mark.parametrize("size", [1 << 20, 3 << 20])
async def test_a_value_of_many_pages_has_its_own_length(counting_store: StoreUnderTest, size: int) -> None:
    await counting_store.put("key", b"x" * size)

    assert await held(counting_store) == Held(1, 3 + size)


async def test_what_was_deleted_is_not_counted_nor_are_tombstones(counting_store: StoreUnderTest) -> None:
    await counting_store.commit(*[Put(key=f"{n}", value=b"v") for n in range(5)])
    await counting_store.remove("0")
    await counting_store.delete_prefix("1")
    assert await held(counting_store) == Held(3, 6)

    await counting_store.commit(*[Remove(key=f"{n}") for n in range(2, 5)])
    assert await held(counting_store) is None

    await counting_store.store.sweep(counting_store.sweep_order(tombstone_retention_ms=0))
    assert await held(counting_store) is None


async def test_what_has_ended_is_not_counted_swept_or_not(counting_store: StoreUnderTest) -> None:
    await counting_store.put("ends", ttl_ms=1000)
    await counting_store.put("ends later", ttl_ms=1001)
    await counting_store.put("stays")
    await counting_store.advance(1000)
    later = Held(2, len("ends later") + len("stays") + 10)
    assert await held(counting_store) == later

    await counting_store.store.sweep(counting_store.sweep_order())
    assert await held(counting_store) == later

    await counting_store.put("ends", b"again")
    assert await held(counting_store) == Held(3, later.bytes + len("ends") + 5)


async def test_what_has_ended_and_is_written_again_before_a_sweep_counts(counting_store: StoreUnderTest) -> None:
    await counting_store.put("key", ttl_ms=10)
    await counting_store.advance(10)
    await counting_store.put("key", b"longer than before")

    assert await held(counting_store) == Held(1, 3 + 18)


async def test_a_moved_end_counts(counting_store: StoreUnderTest) -> None:
    await counting_store.put("key", ttl_ms=1000)
    await counting_store.touch("key", ttl_ms=5000)
    await counting_store.advance(1000)
    assert await held(counting_store) == Held(1, 8)

    await counting_store.advance(4000)
    assert await held(counting_store) is None


async def test_our_own_rows_are_not_counted(counting_store: StoreUnderTest) -> None:
    await counting_store.put("i/blob", b"x" * 100, namespace=LEDGER)
    await counting_store.put("key")
    await counting_store.commit(Put(key="by id", value=b""), request=request("a request"))

    assert (await census(counting_store)).held == {NAMESPACE: Held(2, 8 + 5)}


async def test_values_that_are_in_cold_are_counted_by_what_they_have_there(
    counting_quiet_store: StoreUnderTest,
) -> None:
    await counting_quiet_store.put("here", b"value")
    await counting_quiet_store.put("large", b"", marks=pointer(123_456_789_012))
    await counting_quiet_store.put("idle", b"", marks=pointer(7, archived=True), labels={"a": "b", "z": '"\\ü'})
    await counting_quiet_store.put("away", b"", marks=pointer(40), namespace="elsewhere")

    counted = await census(counting_quiet_store)

    assert counted.held == {NAMESPACE: Held(3, 9 + 5 + 4), "elsewhere": Held(1, 4)}
    assert counted.away == {NAMESPACE: Held(2, 123_456_789_019), "elsewhere": Held(1, 40)}


@pytest.mark.parametrize("text", [f"{BLOB}", f'"{BLOB}":"large 5 ', f'\\u001fblob":"large 5 {DIGEST} b'])
async def test_a_callers_label_is_not_taken_for_a_pointer(counting_quiet_store: StoreUnderTest, text: str) -> None:
    await counting_quiet_store.put("key", b"value", labels={"label": text, "x" + text: "large 5 0 b"})

    assert (await census(counting_quiet_store)).away == {}


async def test_a_value_that_ended_is_away_no_more(counting_quiet_store: StoreUnderTest) -> None:
    await counting_quiet_store.put("key", b"", marks=pointer(40), ttl_ms=10)
    await counting_quiet_store.advance(10)

    assert await census(counting_quiet_store) == Census(held={}, away={})


async def test_a_value_that_came_back_is_counted_here(counting_quiet_store: StoreUnderTest) -> None:
    version = await counting_quiet_store.put("key", b"", marks=pointer(40))
    await counting_quiet_store.commit(Relocate(key="key", expected_version=version, value=b"x" * 40, marks={}))

    assert await census(counting_quiet_store) == Census(held={NAMESPACE: Held(1, 43)}, away={})


async def test_it_counts_more_than_fit_into_a_step(counting_store: StoreUnderTest) -> None:
    """A sample of entries of one size is as good as all of them."""
    for batch in range(50):
        operations = [Put(key=f"{batch:02}/{n:03}", value=b"1234") for n in range(200)]
        await counting_store.commit(*operations, namespace=f"{batch % 3}")

    assert isinstance(counting_store.store, Counting)
    counted = (await counting_store.store.census()).held

    assert counted == {f"{n}": Held(entries, entries * 10) for n, entries in enumerate((3400, 3400, 3200))}


async def test_it_counts_among_writers(counting_store: StoreUnderTest) -> None:
    """Each entry that is there all the time is counted once."""
    await counting_store.commit(*[Put(key=f"{n:02}", value=b"old") for n in range(64)])

    counting = asyncio.ensure_future(census(counting_store))
    await asyncio.gather(*[counting_store.put(f"{n % 64:02}", b"new") for n in range(256)])
    counted = await counting

    assert counted.held == {NAMESPACE: Held(64, 64 * 5)}
