"""Values that move to another schema under their version, and changes in place that are meant for one schema only."""

from __future__ import annotations

import pytest

from sidecar.core.entry import Entry
from sidecar.core.errors import SchemaDiffers, VersionConflict
from sidecar.core.marks import BLOB, SCHEMA, UPDATES
from sidecar.core.operations import Append, Change, Increment, MergePatch, Put, Relocate
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import request

REST = {SCHEMA: "what schema 3 has beyond it"}
CHANGES = [Append(items=(2,)), MergePatch(patch={"a": 1}), Increment(delta=1)]
VALUES = {Append: b"[1]", MergePatch: b"{}", Increment: b"1"}


async def given(store: StoreUnderTest, value: bytes = b"[1]", *, marks: dict[str, str] | None = None) -> Entry:
    put = Put(
        key="key",
        value=value,
        content_type="application/json",
        schema_version=3,
        labels={"color": "red"},
        marks=marks or {},
        ttl_ms=60_000,
    )
    await store.commit(put)
    entry = await store.entry("key")
    assert entry is not None
    return entry


def migrate(
    version: int, expected_schema: int | None, schema_version: int = 2, marks: dict[str, str] | None = None
) -> Relocate:
    return Relocate(
        key="key",
        expected_version=version,
        value=b"[2]",
        schema_version=schema_version,
        expected_schema=expected_schema,
        marks=marks or {},
    )


async def test_only_the_schema_and_its_value_move(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store, marks={UPDATES: "7"})
    cursor = await store.cursor()
    await store.advance(1_000)

    outcome = await store.commit(migrate(before.version, 3, marks=REST))

    moved = before._replace(value=b"[2]", schema_version=2, labels={**before.labels, **REST})
    assert await store.entry("key") == moved
    assert (outcome.version, outcome.copies) == (0, ())
    assert await store.changes_since(cursor) == []
    # What it has beyond its schema is as it was given last.
    await store.commit(migrate(before.version, 2, 3))
    assert await store.entry("key") == before._replace(value=b"[2]")


async def test_a_value_in_another_schema_than_was_meant_stays(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)

    for wrong in (0, 2, 4):
        with pytest.raises(VersionConflict) as caught:
            await store.commit(migrate(before.version, wrong))
        assert (caught.value.key, caught.value.current_version) == ("key", before.version)

    assert await store.entry("key") == before


async def test_of_two_who_migrate_one_succeeds(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store)
    await store.commit(migrate(before.version, 3))

    with pytest.raises(VersionConflict):
        await store.commit(migrate(before.version, 3))


async def test_a_value_that_moves_elsewhere_keeps_its_schema(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store, marks=REST)

    await store.commit(Relocate(key="key", expected_version=before.version, value=b"", marks={BLOB: "where"}))

    assert await store.entry("key") == before._replace(value=b"", labels={**before.labels, BLOB: "where"})


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: type(change).__name__)
async def test_a_change_for_another_schema_is_not_made_and_its_request_id_stays_free(
    store: StoreUnderTest, change: Append | MergePatch | Increment
) -> None:
    before = await given(store, VALUES[type(change)])
    changing = Change(key="key", change=change, create=True)

    for wrong in (0, 2, 4):
        with pytest.raises(SchemaDiffers) as caught:
            await store.commit(changing, Put(key="other", value=b""), schema=wrong, request=request("r"))
        assert caught.value.key == "key"
    assert await store.entry("key") == before
    assert await store.entry("other") is None
    outcome = await store.commit(changing, Put(key="other", value=b""), schema=3, request=request("r"))

    entry = await store.entry("key")
    assert entry is not None
    assert (entry.version, entry.schema_version, entry.labels) == (outcome.version, 3, before.labels)
    # What a request id did is told to who repeats it, whatever he knows.
    assert (await store.commit(changing, Put(key="other", value=b""), schema=3, request=request("r"))).replayed


async def test_a_change_of_a_value_that_is_more_than_its_schema_is_not_made(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    before = await given(store, marks=REST)

    with pytest.raises(SchemaDiffers):
        await store.commit(Change(key="key", change=Append(items=(2,))), schema=3)

    assert await store.entry("key") == before


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: type(change).__name__)
async def test_a_change_that_creates_is_in_its_schema(
    store: StoreUnderTest, change: Append | MergePatch | Increment
) -> None:
    await store.commit(Change(key="key", change=change, create=True), schema=3)
    await store.commit(Change(key="plain", change=change, create=True))

    entry, plain = await store.entry("key"), await store.entry("plain")
    assert entry is not None
    assert plain is not None
    assert (entry.schema_version, plain.schema_version) == (3, 0)
