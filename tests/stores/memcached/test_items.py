"""What an item holds is what was put there for that key, or nothing."""

from __future__ import annotations

import pytest

from sidecar.core.entry import Copy, Entry
from sidecar.stores.memcached import items
from sidecar.stores.memcached.items import Held, Placeholder
from tests.support.factories import entry, tombstone

COPIES = [
    entry(),
    entry(value=b"", version=(1 << 63) - 1),
    entry(value=bytes(range(256)) * 100, content_type="a/b; é", schema_version=7, labels={"a": "b", "é": ""}),
    entry(expire_time=1_800_000_000_001, ttl_ms=1),
    tombstone(version=1 << 48),
    None,
]


@pytest.mark.parametrize("copy", COPIES, ids=lambda copy: type(copy).__name__)
def test_what_is_written_is_read(copy: Copy | None) -> None:
    end = copy.expire_time if isinstance(copy, Entry) else 99
    item = items.held("contract", "key", copy, generation=1 << 40, end=end)

    assert items.read(item, "contract", "key") == Held(copy, 1 << 40, end)


def test_a_placeholder_is_read() -> None:
    item = items.placeholder("contract", "key", generation=3, deadline=5)

    assert items.read(item, "contract", "key") == Placeholder(3, 5)


@pytest.mark.parametrize("name", [("contract", "kez"), ("contrac", "tkey"), ("contractk", "ey"), ("", "contractkey")])
@pytest.mark.parametrize("copy", [entry(), None], ids=["entry", "miss"])
def test_an_item_of_another_key_is_nothing(name: tuple[str, str], copy: Copy | None) -> None:
    assert items.read(items.held("contract", "key", copy, generation=1, end=None), *name) is None


@pytest.mark.parametrize("copy", [entry(labels={"a": "b"}), tombstone(), None], ids=["entry", "tombstone", "miss"])
def test_an_item_with_any_bit_changed_is_nothing(copy: Copy | None) -> None:
    item = items.held("contract", "key", copy, generation=1, end=None)

    for place in range(len(item) * 8):
        spoilt = bytearray(item)
        spoilt[place // 8] ^= 1 << place % 8
        assert items.read(bytes(spoilt), "contract", "key") is None


def test_a_part_of_an_item_is_nothing() -> None:
    item = items.held("contract", "key", entry(), generation=1, end=None)

    assert all(items.read(item[:length], "contract", "key") is None for length in range(len(item)))
    assert items.read(item + b"\0", "contract", "key") is None
