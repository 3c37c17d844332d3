"""Every part of a stored item is verified: what was changed behind the store's back is data loss, never another value."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.entry import Copy
from sidecar.core.errors import DataLoss, StoreCorrupt
from sidecar.core.operations import Change, Increment, Put, Remove
from sidecar.stores.dynamodb import DynamoStore
from sidecar.stores.dynamodb.items import Names, Payload, decode, encode, size_of
from tests.stores.dynamodb.conftest import Table, add_one, put, value
from tests.support.factories import NAMESPACE, entry, tombstone, write

NAMES = Names("")
LARGE = Payload("1.0", 2, 5)
COPIES: dict[str, Copy] = {
    "plain": entry(value=b"\0\xff"),
    "all": entry(ttl_ms=5, expire_time=6, content_type="é", schema_version=3, labels={"a\0": "\U0010ffff"}),
    "largest": entry(version=(1 << 63) - 1, create_time=-1),
    "tombstone": tombstone(),
    "odd names": entry(namespace="a#b/c\0", key="\0\U0010ffff"),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("prefix", ["", "some.prefix"])
def test_a_state_comes_back_from_its_item(copy: Copy, prefix: str) -> None:
    names = Names(prefix)

    assert decode(names, encode(names, copy), {}) == copy


def test_a_large_value_comes_back_from_what_was_loaded() -> None:
    copy = entry(value=b"large")
    item = encode(NAMES, copy, LARGE)

    assert "b" not in item
    assert decode(NAMES, item, {"1.0": b"large"}) == copy
    for values in ({}, {"1.0": b"other"}, {"2.0": b"large"}):
        with pytest.raises(DataLoss):
            decode(NAMES, item, values)


def spoilt(item: dict[str, Any], name: str) -> dict[str, Any]:
    ((kind, content),) = item[name].items()
    match content:
        case bytes():
            changed: Any = content[:-1] + bytes([content[-1] ^ 1])
        case _:
            changed = content[:-2] + ("1" if content[-2] != "1" else "2") + content[-1:]
    return item | {name: {kind: changed}}


@pytest.mark.parametrize("name", ["p", "k", "h", "d", "b"])
def test_a_changed_part_of_an_item_is_found(name: str) -> None:
    with pytest.raises(DataLoss):
        decode(NAMES, spoilt(encode(NAMES, entry(labels={"a": "b"})), name), {})


@pytest.mark.parametrize("name", ["h", "d", "b"])
def test_a_missing_part_of_an_item_is_found(name: str) -> None:
    item = encode(NAMES, entry())
    del item[name]

    with pytest.raises(DataLoss):
        decode(NAMES, item, {})


def test_the_name_of_a_large_value_is_verified() -> None:
    item = encode(NAMES, entry(value=b"large"), LARGE)

    with pytest.raises(DataLoss):
        decode(NAMES, item | {"y": {"S": "9.9 2 5"}}, {"9.9": b"large"})


def test_an_item_that_was_moved_to_another_key_is_found() -> None:
    item = encode(NAMES, entry(key="one"))

    with pytest.raises(DataLoss):
        decode(NAMES, item | NAMES.entry(NAMESPACE, "other"), {})


def test_sizes_are_not_below_dynamodbs() -> None:
    item = encode(NAMES, entry(value=bytes(1000), key="k" * 100))

    # Names and values, by the rules of DynamoDB's documentation; a number has at most a byte for two digits, and one.
    assert size_of(item) >= len("pkbhd") + len(f"entry#{NAMESPACE}") + 100 + 1000 + len(item["h"]["S"]) + 16


async def test_a_spoilt_header_is_data_loss_for_every_operation_and_not_written_over(
    store: DynamoStore, table: Table
) -> None:
    await put(store, "key", b"1")
    table.put(spoilt(table.item(f"entry#{NAMESPACE}", b"key"), "h"))

    for operation in (Put(key="key", value=b""), Remove(key="key"), Change(key="key", change=Increment(delta=1))):
        with pytest.raises(DataLoss):
            await store.commit(write(operation))
    with pytest.raises(DataLoss):
        await value(store, "key")
    assert await put(store, "other") > 0


@pytest.mark.parametrize("name", ["f", "o", "t", "d"])
async def test_a_spoilt_request_id_is_told_and_not_taken_for_a_new_one(
    store: DynamoStore, table: Table, name: str
) -> None:
    await add_one(store, "r")
    item = table.item(f"request#{NAMESPACE}", b"r")
    table.put(spoilt(item, name) if name != "t" else item | {"t": {"N": "7"}})

    with pytest.raises(StoreCorrupt):
        await add_one(store, "r")
    assert await value(store, "n") == b"1"


async def test_a_spoilt_change_is_told_and_not_passed_over(store: DynamoStore, table: Table) -> None:
    cursor = (await store.changes(after=None, limit=1)).cursor
    await put(store, "key")
    (place,) = table.places("change")
    table.put(table.item(place) | {"c": {"S": '[["a"'}})

    with pytest.raises(StoreCorrupt):
        await store.changes(after=cursor, limit=1)
