"""A missing key has one lease, and only what is read under a lease that still holds may be filled."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.cache import Fill, Hit, Miss
from sidecar.core.entry import Copy
from tests.contract.harnesses import CacheUnderTest
from tests.support.factories import entry, tombstone


async def test_the_first_asker_of_a_missing_key_gets_a_lease_and_the_next_none(cache: CacheUnderTest) -> None:
    first, second, third = await cache.get(), await cache.get(), await cache.get()

    assert isinstance(first, Miss)
    assert first.lease
    assert (second, third) == (Miss(None), Miss(None))


async def test_a_fill_under_the_lease_is_a_hit(cache: CacheUnderTest) -> None:
    copy = entry(value=b"\0\xff", labels={"a": "b"}, content_type="t", schema_version=2)
    assert await cache.fill(copy, await cache.lease())

    assert await cache.get() == Hit(copy)


async def test_a_fill_without_anyone_asking_is_rejected(cache: CacheUnderTest) -> None:
    assert not await cache.fill(entry(), "invented")

    assert isinstance(await cache.get(), Miss)


async def test_a_fill_under_another_keys_lease_is_rejected(cache: CacheUnderTest) -> None:
    await cache.lease("key")
    foreign = await cache.lease("other")

    assert not await cache.fill(entry(key="key"), foreign)
    assert await cache.fill(entry(key="other"), foreign)
    assert await cache.get("key") == Miss(None)


async def test_a_lease_is_of_its_namespace(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    answer = await cache.get(namespace="other")

    assert isinstance(answer, Miss)
    assert answer.lease not in (None, lease)
    assert await cache.fill(entry(), lease)
    assert await cache.get(namespace="other") == Miss(None)


async def test_a_lease_can_be_used_once(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    assert await cache.fill(entry(version=5, value=b"five"), lease)

    assert not await cache.fill(entry(version=4, value=b"four"), lease)
    assert not await cache.fill(None, lease)

    assert await cache.held() == entry(version=5, value=b"five")


async def test_leases_are_never_given_twice(cache: CacheUnderTest) -> None:
    leases = []
    for _ in range(20):
        lease = await cache.lease()
        await cache.cache.release("contract", [("key", lease)])
        leases.append(lease)

    assert len(set(leases)) == 20


async def test_a_fill_after_an_invalidation_does_nothing(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    await cache.cache.invalidate("contract", ["key"])

    assert not await cache.fill(entry(), lease)


async def test_a_fill_under_the_lease_before_an_invalidation_does_not_use_the_next_ones_place(
    cache: CacheUnderTest,
) -> None:
    old = await cache.lease()
    await cache.cache.invalidate("contract", ["key"])
    new = await cache.lease()

    assert not await cache.fill(entry(value=b"old"), old)
    assert await cache.fill(entry(value=b"new", version=2), new)
    assert await cache.held() == entry(value=b"new", version=2)


async def test_a_fill_after_a_write_was_told_does_nothing(cache: CacheUnderTest) -> None:
    """The race that leases are for: a reader loads version 1, a writer commits 2 and tells it, the reader fills."""
    lease = await cache.lease()
    await cache.apply(entry(version=2))

    assert not await cache.fill(entry(version=1), lease)
    assert isinstance(await cache.get(), Miss)


async def test_a_fill_after_a_deletion_was_told_does_nothing(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    await cache.apply(tombstone(version=2))

    assert not await cache.fill(entry(version=1), lease)


async def test_even_a_newer_fill_needs_its_lease(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    await cache.apply(entry(version=2))

    assert not await cache.fill(entry(version=3), lease)


async def test_even_a_newer_fill_does_not_replace_a_held_copy_without_a_lease(cache: CacheUnderTest) -> None:
    await cache.hold(entry(version=1))

    assert not await cache.fill(entry(version=2), "invented")
    assert await cache.held() == entry(version=1)


async def test_a_lease_that_was_given_back_goes_to_the_next_asker(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    await cache.cache.release("contract", [("key", lease)])

    again = await cache.lease()

    assert again != lease
    assert not await cache.fill(entry(), lease)
    assert await cache.fill(entry(), again)


async def test_giving_back_another_lease_changes_nothing(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    await cache.cache.release("contract", [("key", "invented"), ("missing", "invented")])

    assert await cache.get() == Miss(None)
    assert await cache.fill(entry(), lease)


async def test_giving_back_a_used_lease_keeps_what_was_filled(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    await cache.fill(entry(), lease)
    await cache.cache.release("contract", [("key", lease)])

    assert await cache.held() == entry()


async def test_a_lease_has_a_deadline(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    cache.now += cache.harness.lease_ms - 1
    assert await cache.get() == Miss(None)

    cache.now += 1

    again = await cache.lease()
    assert again != lease
    assert not await cache.fill(entry(value=b"late"), lease)
    assert await cache.fill(entry(), again)
    assert await cache.held() == entry()


async def test_a_fill_after_the_deadline_is_rejected_though_nobody_asked_since(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    cache.now += cache.harness.lease_ms

    assert not await cache.fill(entry(), lease)


async def test_a_fill_in_the_last_millisecond_is_stored(cache: CacheUnderTest) -> None:
    lease = await cache.lease()
    cache.now += cache.harness.lease_ms - 1

    assert await cache.fill(entry(), lease)


async def test_an_absent_key_is_cached_as_a_miss_for_a_while(cache: CacheUnderTest) -> None:
    await cache.hold(None)

    assert await cache.get() == Hit(None)
    cache.now += cache.harness.negative_ms - 1
    assert await cache.get() == Hit(None)
    cache.now += 1
    assert await cache.lease()


@pytest.mark.parametrize("copy", [tombstone(version=7), None], ids=["tombstone", "never"])
async def test_an_absence_is_filled_under_the_same_rules(cache: CacheUnderTest, copy: Copy | None) -> None:
    assert not await cache.fill(copy, "invented")
    lease = await cache.lease()
    await cache.apply(entry(version=9))

    assert not await cache.fill(copy, lease)
    assert isinstance(await cache.get(), Miss)


async def test_a_filled_tombstone_is_a_hit_that_hides(cache: CacheUnderTest) -> None:
    await cache.hold(tombstone(version=7))

    assert await cache.held() in (tombstone(version=7), None)


async def test_many_keys_are_asked_and_filled_at_once(cache: CacheUnderTest) -> None:
    await cache.hold(entry(key="b", version=3))
    answers = await cache.cache.get("contract", ["a", "b", "c", "a"], generation=1, now=cache.now)

    assert answers[1] == Hit(entry(key="b", version=3))
    leases = [answer.lease for answer in answers if isinstance(answer, Miss)]
    assert leases[2] is None
    fills = [Fill("a", entry(key="a"), leases[0] or ""), Fill("c", None, "foreign"), Fill("x", None, leases[0] or "")]

    assert await cache.cache.fill("contract", fills, generation=1, now=cache.now) == 1
    assert await cache.get("a") == Hit(entry(key="a"))
    assert await cache.get("c") == Miss(None)


async def test_of_concurrent_askers_exactly_one_gets_the_lease(cache: CacheUnderTest) -> None:
    answers = await asyncio.gather(*[cache.get() for _ in range(64)])

    assert sum(isinstance(answer, Miss) and answer.lease is not None for answer in answers) == 1


@pytest.mark.parametrize("pair", [("é", "e\u0301"), ("a", "a\0"), ("k", "K"), ("a:b", "a"), ("", " ")], ids=repr)
async def test_keys_and_namespaces_are_exact(cache: CacheUnderTest, pair: tuple[str, str]) -> None:
    one, other = pair
    await cache.hold(entry(key="x" + one))

    assert isinstance(await cache.get("x" + other), Miss)
    assert isinstance(await cache.get("x" + one, namespace="contract" + other), Miss) or other == ""
    assert await cache.held("x" + one) == entry(key="x" + one)
