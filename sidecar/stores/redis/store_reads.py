"""What the store reads: scripts' replies, verified and put together."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from sidecar.core.entry import Copy, Entry
from sidecar.core.store import ChangeKind, ChangePage, ChangeRow, Page
from sidecar.stores.redis.script import load_script
from sidecar.stores.redis.store_calls import Calls
from sidecar.stores.redis.store_rows import NONE, Shard, field_of, key_range, names_of, verified

KEYS_MAX = 1000
"""Keys of one script: Lua's stack takes some thousands."""
VISITS_MAX = 1000
"""Entries that one script looks at: all other callers wait meanwhile, about a microsecond for each."""
_GET, _SCAN, _CHANGES = (load_script("store_common", f"store_{name}") for name in ("get", "scan", "changes"))
_CHANGE = struct.Struct(">BQQ")
_KINDS = {1: ChangeKind.PUT, 2: ChangeKind.DELETE, 3: ChangeKind.EXPIRE, 4: ChangeKind.TOUCH}


async def get(calls: Calls, shard: Shard, namespace: str, keys: Sequence[str]) -> list[Copy | None]:
    """The state of each key. Raises DataLoss."""
    copies: list[Copy | None] = []
    for begin in range(0, len(keys), KEYS_MAX):
        chunk = keys[begin : begin + KEYS_MAX]
        fields = [field_of(namespace, key) for key in chunk]
        now, heads, values = await calls.read(_GET, shard.keys, *fields)
        for key, raw, value in zip(chunk, heads, values, strict=True):
            copy = None if raw is None else verified(namespace, key, raw, value or b"", shard)
            if copy is not None:
                calls.saw(shard, copy.version)
            copies.append(None if isinstance(copy, Entry) and copy.expired(now) else copy)
    return copies


async def scan(
    calls: Calls,
    shard: Shard,
    namespace: str,
    prefix: str,
    *,
    after: str | None,
    limit: int,
    bytes_max: int,
    keys_only: bool,
) -> Page:
    """A page in key order. Raises DataLoss."""
    lower, upper = key_range(namespace, prefix, after)
    entries: list[Entry] = []
    size = 0
    while True:
        _, follows, last, found = await calls.read(
            _SCAN,
            shard.keys,
            lower,
            upper,
            limit,
            bytes_max,
            len(entries),
            size,
            b"1" if keys_only else NONE,
            VISITS_MAX,
        )
        for field, raw, value in zip(found[::3], found[1::3], found[2::3], strict=True):
            _, key = names_of(field)
            copy = verified(namespace, key, raw, None if keys_only else value, shard)
            assert isinstance(copy, Entry), "the script leaves tombstones out"
            entries.append(copy)
            size += len(copy.value)
        if follows != b"on":
            return Page(entries=tuple(entries), more=follows == b"more")
        lower = b"(" + last


async def changes(calls: Calls, shard: Shard, *, after: int | None, limit: int) -> ChangePage:
    """Change rows after a cursor."""
    _, cursor, gap, found, cursors = await calls.read(_CHANGES, shard.keys, NONE if after is None else after, limit)
    told = tuple(_change(row, shard) for row in found)
    return ChangePage(changes=told, cursor=cursor, gap=bool(gap), cursors=tuple(cursors))


def _change(row: bytes, shard: Shard) -> ChangeRow:
    kind, sequence, _ = _CHANGE.unpack_from(row)
    namespace, key = names_of(row[_CHANGE.size :])
    return ChangeRow(namespace=namespace, key=key, version=shard.version(sequence), kind=_KINDS[kind])
