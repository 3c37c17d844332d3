"""A guard names one committed state. Whatever else is there, or nothing, is a conflict that says what was found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar.core.entry import epoch_of, version_of
from sidecar.core.errors import FailedPrecondition, VersionConflict
from sidecar.core.operations import Change, Check, Increment, Operation, Put, Remove
from tests.contract.harnesses import StoreUnderTest

GUARDED: dict[str, Callable[[str, int], Operation]] = {
    "put": lambda key, expected: Put(key=key, value=b"guarded", expected_version=expected),
    "remove": lambda key, expected: Remove(key=key, expected_version=expected),
    "check": lambda key, expected: Check(key=key, expected_version=expected),
}
each_guard = pytest.mark.parametrize("guarded", GUARDED)


async def expect_conflict(store: StoreUnderTest, guarded: str, expected: int, found: int, key: str = "key") -> None:
    with pytest.raises(VersionConflict) as caught:
        await store.commit(GUARDED[guarded](key, expected))

    conflict = caught.value
    assert (conflict.key, conflict.expected_version, conflict.current_version) == (key, expected, found)
    assert conflict.reason == "VERSION_MISMATCH"
    assert conflict.metadata["expected_version"] == str(expected)
    assert conflict.metadata["current_version"] == str(found)


@each_guard
@pytest.mark.parametrize("expected", [1, 1 << 40], ids=["small", "large"])
async def test_a_version_never_matches_a_key_that_never_was(store: StoreUnderTest, guarded: str, expected: int) -> None:
    await expect_conflict(store, guarded, expected, 0)

    assert await store.copy("key") is None


@each_guard
async def test_a_version_never_matches_a_deleted_key(store: StoreUnderTest, guarded: str) -> None:
    version = await store.put("key")
    await store.remove("key")

    await expect_conflict(store, guarded, version, 0)

    assert await store.entry("key") is None


@each_guard
async def test_the_version_of_a_deletion_never_matches(store: StoreUnderTest, guarded: str) -> None:
    await store.put("key")
    deletion = await store.remove("key")

    await expect_conflict(store, guarded, deletion.version, 0)


@each_guard
async def test_a_version_never_matches_an_expired_key(store: StoreUnderTest, guarded: str) -> None:
    version = await store.put("key", ttl_ms=1000)
    await store.advance(1000)

    await expect_conflict(store, guarded, version, 0)

    assert await store.entry("key") is None


@each_guard
@pytest.mark.parametrize("gone", ["deleted", "expired"])
async def test_a_version_from_before_never_matches_after_a_re_creation(
    store: StoreUnderTest, guarded: str, gone: str
) -> None:
    old = await store.put("key", b"old", ttl_ms=1000)
    if gone == "deleted":
        await store.remove("key")
    else:
        await store.advance(1000)
    current = await store.put("key", b"old")

    await expect_conflict(store, guarded, old, current)

    assert await store.value("key") == b"old"


@each_guard
async def test_the_version_before_the_last_write_conflicts(store: StoreUnderTest, guarded: str) -> None:
    before = await store.put("key", b"one")
    current = await store.put("key", b"two")

    await expect_conflict(store, guarded, before, current)

    entry = await store.entry("key")
    assert entry is not None
    assert (entry.value, entry.version) == (b"two", current)


@each_guard
async def test_a_version_of_another_key_conflicts(store: StoreUnderTest, guarded: str) -> None:
    current = await store.put("key")
    other = await store.put("other")

    await expect_conflict(store, guarded, other, current)


@each_guard
async def test_zero_conflicts_with_a_live_entry(store: StoreUnderTest, guarded: str) -> None:
    current = await store.put("key", b"kept")

    await expect_conflict(store, guarded, 0, current)

    assert await store.value("key") == b"kept"


@each_guard
@pytest.mark.parametrize("state", ["never", "tombstone", "expired"])
async def test_zero_matches_an_absent_key(store: StoreUnderTest, guarded: str, state: str) -> None:
    if state != "never":
        await store.put("key", ttl_ms=1000)
    if state == "tombstone":
        await store.remove("key")
    await store.advance(1000)

    outcome = await store.commit(GUARDED[guarded]("key", 0))

    assert not outcome.results[0].found
    assert await store.value("key") == (b"guarded" if guarded == "put" else None)
    assert (outcome.version > 0) == (guarded == "put")


async def test_the_current_version_lets_a_write_land(store: StoreUnderTest) -> None:
    first = await store.put("key", b"one", expected_version=0)
    second = await store.put("key", b"two", expected_version=first)

    entry = await store.entry("key")
    assert entry is not None
    assert (entry.value, entry.version) == (b"two", second)


async def test_the_current_version_lets_a_delete_land(store: StoreUnderTest) -> None:
    version = await store.put("key")

    result = await store.remove("key", expected_version=version)

    assert result.found
    assert result.version > version
    assert await store.entry("key") is None


async def test_a_check_of_the_current_version_changes_nothing(store: StoreUnderTest) -> None:
    version = await store.put("key")
    cursor = await store.cursor()

    outcome = await store.commit(Check(key="key", expected_version=version))

    assert (outcome.version, outcome.copies) == (0, ())
    assert outcome.results[0].found
    assert await store.changes_since(cursor) == []


async def test_a_guard_can_win_only_once(store: StoreUnderTest) -> None:
    version = await store.put("key", b"base")
    winner = await store.put("key", b"winner", expected_version=version)

    await expect_conflict(store, "put", version, winner)
    await expect_conflict(store, "remove", version, winner)


@each_guard
@pytest.mark.parametrize("state", ["never", "live", "tombstone"])
async def test_a_version_of_a_newer_epoch_says_that_the_store_went_back(
    store: StoreUnderTest, guarded: str, state: str
) -> None:
    version = await store.put("key", b"kept")
    if state == "tombstone":
        await store.remove("key")
    newer = version_of(epoch_of(version) + 1, 1)

    with pytest.raises(FailedPrecondition) as caught:
        await store.commit(GUARDED[guarded]("key" if state != "never" else "never", newer))

    assert caught.value.reason == "EPOCH_CHANGED"
    assert await store.value("key") == (None if state == "tombstone" else b"kept")


async def test_a_lost_guard_leaves_nothing_behind(store: StoreUnderTest) -> None:
    version = await store.put("key")
    cursor = await store.cursor()

    await expect_conflict(store, "put", version + 1000, version)
    await expect_conflict(store, "put", 7, 0, key="fresh")

    assert await store.changes_since(cursor) == []
    assert await store.copy("fresh") is None


async def test_deleting_what_is_absent_is_no_error_and_no_change(store: StoreUnderTest) -> None:
    cursor = await store.cursor()

    outcome = await store.commit(Remove(key="key"))

    assert (outcome.version, outcome.copies) == (0, ())
    assert (outcome.results[0].found, outcome.results[0].version) == (False, 0)
    assert await store.changes_since(cursor) == []


async def test_deleting_twice_finds_it_once(store: StoreUnderTest) -> None:
    await store.put("key")

    assert (await store.remove("key")).found
    assert not (await store.remove("key")).found


async def test_an_increment_needs_no_guard_to_be_exact_after_a_lost_one(store: StoreUnderTest) -> None:
    version = await store.put("key", b"1")
    await store.commit(Change(key="key", change=Increment(delta=1)))
    with pytest.raises(VersionConflict):
        await store.put("key", b"9", expected_version=version)
    await store.commit(Change(key="key", change=Increment(delta=1)))

    assert await store.value("key") == b"3"
