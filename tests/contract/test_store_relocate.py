"""What the daemon keeps for itself in a store: values that move without a new version, rows of its ledger, quiet rows."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sidecar.core import ledger
from sidecar.core.entry import Entry
from sidecar.core.errors import Unsupported, ValueAway, VersionConflict
from sidecar.core.ledger import LEDGER
from sidecar.core.marks import BLOB, MARK, UPDATES, WOKEN
from sidecar.core.operations import Append, Change, Check, Operation, Put, Relocate, Remove, WriteId
from sidecar.core.store import ChangeKind
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import NAMESPACE

POINTER = {BLOB: "archived 5 00 store/name"}
REQUEST = WriteId(request_id="r", fingerprint=b"f")
APPEND = Change(key="key", change=Append(items=(2,)))


def relocate(version: int, value: bytes = b"", **fields: str) -> Relocate:
    return Relocate(key="key", expected_version=version, value=value, marks=fields or POINTER)


async def given(store: StoreUnderTest, value: bytes = b"[1]") -> Entry:
    """An entry with everything that an entry can have."""
    put = Put(
        key="key",
        value=value,
        content_type="application/json",
        schema_version=3,
        labels={"color": "red"},
        marks={UPDATES: "7"},
        ttl_ms=60_000,
    )
    await store.commit(put)
    entry = await store.entry("key")
    assert entry is not None
    return entry


async def ledger_row(store: StoreUnderTest, key: str = "i/blob", value: bytes = b"kept", **fields: int) -> int:
    return await store.put(key, value, namespace=LEDGER, **fields)


async def test_only_the_value_moves(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    await store.advance(1_000)

    outcome = await store.commit(relocate(before.version))

    away = await store.entry("key")
    assert away == before._replace(value=b"", labels={**before.labels, **POINTER})
    assert (outcome.version, outcome.copies, outcome.results[0].found) == (0, (), True)
    assert (await store.scan()).entries == (away,)


async def test_nobody_is_told(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before, cursor = await given(store), await store.cursor()

    await store.commit(relocate(before.version))
    await store.put("other")

    assert [(row.key, row.kind) for row in await store.changes_since(cursor)] == [("other", ChangeKind.PUT)]


async def test_a_value_comes_back_as_it_was(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store, bytes(range(256)) * 3_000)
    await store.commit(relocate(before.version))

    await store.commit(Relocate(key="key", expected_version=before.version, value=before.value, expected_schema=3))

    assert await store.entry("key") == before
    woken = Relocate(key="key", expected_version=before.version, value=before.value, marks={WOKEN: "5"})
    await store.commit(replace(woken, expected_schema=3))
    assert await store.entry("key") == before._replace(labels={**before.labels, WOKEN: "5"})
    await store.commit(relocate(before.version))
    assert WOKEN not in (await store.entry("key") or before).labels


async def test_only_the_state_that_was_meant_is_moved(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    newer = await store.put("key", b"newer")

    for version in (before.version, newer + 1):
        with pytest.raises(VersionConflict) as caught:
            await store.commit(relocate(version))
        assert (caught.value.key, caught.value.current_version) == ("key", newer)
    await store.remove("key")
    for version in (newer, 0):
        with pytest.raises(VersionConflict):
            await store.commit(relocate(version))

    assert await store.entry("key") is None


async def test_an_entry_that_has_ended_is_not_moved(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    await store.advance(60_000)

    with pytest.raises(VersionConflict) as caught:
        await store.commit(relocate(before.version))

    assert caught.value.current_version == 0


async def test_a_moved_entry_can_be_guarded_touched_and_replaced(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    await store.commit(relocate(before.version))
    await store.advance(1_000)

    touched = await store.touch("key", ttl_ms=90_000)
    away = await store.entry("key")
    assert away is not None
    assert (away.value, away.labels[BLOB], away.expire_time) == (b"", POINTER[BLOB], touched.expire_time)
    version = await store.put("key", b"new", expected_version=before.version)

    entry = await store.entry("key")
    assert entry is not None
    assert (entry.version, entry.value, entry.labels) == (version, b"new", {UPDATES: "7"})
    assert entry.create_time == before.create_time


async def test_a_moved_entry_can_be_deleted(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    await store.commit(relocate(before.version))

    assert (await store.remove("key", expected_version=before.version)).found
    assert await store.entry("key") is None


async def test_a_value_that_is_away_is_not_changed_and_its_request_id_stays_free(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    await store.commit(relocate(before.version))

    with pytest.raises(ValueAway) as caught:
        await store.commit(APPEND, Put(key="other", value=b""), request=REQUEST)

    assert caught.value.key == "key"
    assert await store.entry("other") is None
    await store.commit(Relocate(key="key", expected_version=before.version, value=b"[1]", expected_schema=3))
    outcome = await store.commit(APPEND, Put(key="other", value=b""), request=REQUEST)
    entry = await store.entry("key")
    assert entry is not None
    assert (entry.value, entry.version, entry.labels) == (b"[1,2]", outcome.version, before.labels)
    assert (await store.commit(APPEND, Put(key="other", value=b""), request=REQUEST)).replayed


async def test_what_is_moved_survives_reopening(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    await store.commit(relocate(before.version))
    away = await store.entry("key")
    if store.harness.durable:
        await store.reopen()

    assert await store.entry("key") == away


async def test_a_page_of_keys_tells_the_marks(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    await store.commit(relocate(before.version))

    (entry,) = (await store.scan(keys_only=True)).entries

    assert entry.labels == {**before.labels, **POINTER}
    assert (entry.version, entry.update_time) == (before.version, before.update_time)


@pytest.mark.parametrize("position", [0, 1])
async def test_a_write_holds_only_while_a_row_of_the_ledger_does(quiet_store: StoreUnderTest, position: int) -> None:
    store = quiet_store
    version = await ledger_row(store)
    before = await store.put("i/blob", b"a caller's key of that name")

    def operations(expected: int) -> list[Operation]:
        some: list[Operation] = [Put(key="key", value=b"value")]
        some.insert(position, Check(key="i/blob", expected_version=expected, ledger=True))
        return some

    for wrong in (0, before, version + 100):
        with pytest.raises(VersionConflict) as caught:
            await store.commit(*operations(wrong))
        assert (caught.value.key, caught.value.current_version) == ("i/blob", version)
        assert caught.value.metadata["operation"] == str(position)
    assert await store.entry("key") is None
    await store.commit(*operations(version))

    assert await store.value("key") == b"value"
    row = await store.entry("i/blob", namespace=LEDGER)
    assert row is not None
    assert row.version == version


async def test_a_relocation_is_guarded_by_the_ledger_too(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    version = await ledger_row(store)
    later = await ledger_row(store, value=b"condemned")

    with pytest.raises(VersionConflict):
        await store.commit(relocate(before.version), Check(key="i/blob", expected_version=version, ledger=True))
    assert await store.entry("key") == before
    await store.commit(relocate(before.version), Check(key="i/blob", expected_version=later, ledger=True))
    assert await store.value("key") == b""


async def test_who_checks_a_row_and_who_changes_it_do_not_both_succeed_in_the_wrong_order(
    quiet_store: StoreUnderTest,
) -> None:
    store = quiet_store
    for attempt in range(20):
        version = await ledger_row(store)
        before = await given(store)
        pointing: list[Operation] = [
            relocate(before.version),
            Check(key="i/blob", expected_version=version, ledger=True),
        ]
        pointed, condemned = await asyncio.gather(
            store.commit(*pointing),
            store.commit(Put(key="i/blob", value=b"condemned", expected_version=version), namespace=LEDGER),
            return_exceptions=True,
        )
        assert not isinstance(condemned, BaseException), attempt
        away = await store.value("key") == b""
        assert away != isinstance(pointed, VersionConflict), attempt
        with pytest.raises(VersionConflict):  # from now on nobody points to it
            await store.commit(*pointing)


async def test_the_ledger_is_a_namespace_like_others(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    keys = ["i/a", "i/a+1", "i/b", "r/0", "secret"]
    for key in keys:
        await ledger_row(store, key)
    await store.put("i/c")

    assert await store.keys(namespace=LEDGER) == keys
    assert await store.keys("i/", namespace=LEDGER, after="i/a", limit=1) == ["i/a+1"]
    await store.commit(Remove(key="i/a+1"), Put(key="i/b", value=b"new", expected_version=None), namespace=LEDGER)
    assert await store.keys("i/", namespace=LEDGER) == ["i/a", "i/b"]
    assert await store.keys(namespace=NAMESPACE) == ["i/c"]


@pytest.mark.parametrize("pointer", [False, True])
async def test_a_checkpoint_made_by_a_commit_is_quiet(quiet_store: StoreUnderTest, *, pointer: bool) -> None:
    store, cursor = quiet_store, await quiet_store.cursor()
    put = Put(key="key", value=b"" if pointer else b"value", marks=POINTER if pointer else {})

    first = await store.commit(put, checkpoint_every=2)
    assert await store.keys(namespace=LEDGER) == []
    second = await store.commit(put, Put(key="other", value=b""), checkpoint_every=2, request=REQUEST)

    assert [copy.key for copy in second.copies] == ["key", "other"]
    kinds = ["c", "i", "k", "p"] if pointer else ["c", "k", "p"]
    rows = (await store.scan(namespace=LEDGER)).entries
    assert [row.key[0] for row in rows] == kinds
    assert {row.version for row in rows} == {second.version}
    told = [(row.namespace, row.key, row.version) for row in await store.changes_since(cursor)]
    assert told == [
        (NAMESPACE, key, version.version) for key, version in [("key", first), ("key", second), ("other", second)]
    ]
    assert (await store.commit(put, Put(key="other", value=b""), checkpoint_every=2, request=REQUEST)).replayed
    assert len(await store.keys(namespace=LEDGER)) == len(rows)


async def test_a_refused_write_leaves_no_checkpoint(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    with pytest.raises(VersionConflict):
        await store.commit(Put(key="key", value=b""), Check(key="other", expected_version=9), checkpoint_every=1)

    assert await store.keys(namespace=LEDGER) == []


async def test_writes_at_the_same_time_make_every_nth_a_checkpoint(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    await asyncio.gather(*[store.commit(Put(key="key", value=b"%d" % n), checkpoint_every=5) for n in range(25)])

    entry = await store.entry("key")
    assert entry is not None
    assert entry.labels[UPDATES] == "25"
    assert len(await store.keys(ledger.checkpoints_of(NAMESPACE), namespace=LEDGER)) == 5


async def test_a_store_that_can_not_says_so(store: StoreUnderTest) -> None:
    before = await given(store)
    if not store.store.capabilities.quiet:
        with pytest.raises(Unsupported):
            await store.commit(relocate(before.version))
        assert await store.entry("key") == before
    else:
        await store.commit(relocate(before.version))
        assert await store.value("key") == b""


async def test_marks_are_labels_to_a_store(store: StoreUnderTest) -> None:
    await store.commit(Put(key="key", value=b"", labels={"a": "b"}, marks={MARK + "x": "1"}))

    entry = await store.entry("key")
    assert entry is not None
    assert entry.labels == {"a": "b", MARK + "x": "1"}
