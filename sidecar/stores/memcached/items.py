"""Placeholders and copies as the values of items. An item is trusted only if it verifies; what does not is no copy.

Little-endian: format, kind, checksum (CRC-32 of all that follows, begun with the kind), generation, end, version, bytes
of namespace and key; both; what its kind has more; the value. The namespace and key are in it because the server's key
is only a digest of them: whatever an item is found under, it is nobody else's copy.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from struct import error as StructError  # noqa: N812  # an exception
from zlib import crc32

from sidecar.core.entry import Copy, Entry, Tombstone

FORMAT = 1
PLACEHOLDER, MISS, TOMBSTONE, ENTRY = range(4)
KEY_BYTES = 24
"""The digest has 144 bits: two of a billion billion keys share one with a probability below 10^-7."""

_HEAD = Struct("<BBI")
_COMMON = Struct("<qqqHH")
_ENTRY = Struct("<qqqqHI")
_NONE = -1


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A lease is out: filled until `deadline`, or void."""

    generation: int
    deadline: int


@dataclass(frozen=True, slots=True)
class Held:
    """A copy, or a cached miss (`copy` None), that is believed until `end` (None: without end)."""

    copy: Copy | None
    generation: int
    end: int | None


class Keys:
    """Names of items: digests, since a key of ours may be longer than memcached allows, and hold any character."""

    def __init__(self, prefix: str) -> None:
        self._begin = blake2b(_sized(prefix), digest_size=KEY_BYTES * 3 // 4, person=b"state-sidecar")
        self.marker = self._name(b"")

    def of(self, namespace: str, key: str) -> bytes:
        """The item of a key."""
        return self._name(_sized(namespace) + key.encode())

    def turn(self, generation: int) -> bytes:
        """The item of the right to repair a generation."""
        return self._name(b"turn %d" % generation)

    def _name(self, text: bytes) -> bytes:
        digest = self._begin.copy()
        digest.update(text)
        return b2a_base64(digest.digest(), newline=False)


def placeholder(namespace: str, key: str, *, generation: int, deadline: int) -> bytes:
    """The item of a lease."""
    return _packed(PLACEHOLDER, (namespace, key), (generation, deadline, 0))


def held(namespace: str, key: str, copy: Copy | None, *, generation: int, end: int | None) -> bytes:
    """The item of a copy."""
    if copy is None:
        return _packed(MISS, (namespace, key), (generation, end, 0))
    if isinstance(copy, Tombstone):
        more = copy.delete_time.to_bytes(8, "little", signed=True)
        return _packed(TOMBSTONE, (namespace, key), (generation, end, copy.version), more)
    content_type = copy.content_type.encode()
    labels = json.dumps(dict(copy.labels), ensure_ascii=False).encode() if copy.labels else b""
    more = _ENTRY.pack(
        copy.create_time,
        copy.update_time,
        _NONE if copy.ttl_ms is None else copy.ttl_ms,
        copy.schema_version,
        len(content_type),
        len(labels),
    )
    front = (generation, copy.expire_time, copy.version)
    return _packed(ENTRY, (namespace, key), front, more + content_type + labels, copy.value)


def read(item: bytes, namespace: str, key: str) -> Placeholder | Held | None:
    """What an item holds for a key; None: nothing that can be believed."""
    if len(item) < _HEAD.size + _COMMON.size:
        return None
    form, kind, checksum = _HEAD.unpack_from(item)
    if form != FORMAT or crc32(memoryview(item)[_HEAD.size :], kind) != checksum:
        return None
    generation, end, version, namespace_bytes, key_bytes = _COMMON.unpack_from(item, _HEAD.size)
    name_at = _HEAD.size + _COMMON.size
    more_at = name_at + namespace_bytes + key_bytes
    name = (namespace.encode(), key.encode())
    if len(name[0]) != namespace_bytes or item[name_at:more_at] != b"".join(name):
        return None
    if kind == PLACEHOLDER:
        return Placeholder(generation, end)
    if kind == MISS:
        return Held(None, generation, end)
    if kind == TOMBSTONE:
        delete_time = int.from_bytes(item[more_at:], "little", signed=True)
        grave = Tombstone(namespace=namespace, key=key, version=version, delete_time=delete_time)
        return Held(grave, generation, end)
    if kind == ENTRY:
        try:
            entry = _entry(item, more_at, (namespace, key), version, None if end == _NONE else end)
        except (ValueError, StructError, RecursionError):
            return None  # the checksum is against accidents: anyone can make one
        return Held(entry, generation, entry.expire_time)
    return None


def _entry(item: bytes, at: int, name: tuple[str, str], version: int, expire_time: int | None) -> Entry:
    create_time, update_time, ttl_ms, schema_version, type_bytes, labels_bytes = _ENTRY.unpack_from(item, at)
    labels_at = at + _ENTRY.size + type_bytes
    value_at = labels_at + labels_bytes
    return Entry(
        namespace=name[0],
        key=name[1],
        value=item[value_at:],
        version=version,
        create_time=create_time,
        update_time=update_time,
        expire_time=expire_time,
        ttl_ms=None if ttl_ms == _NONE else ttl_ms,
        content_type=item[at + _ENTRY.size : labels_at].decode(),
        schema_version=schema_version,
        labels=json.loads(item[labels_at:value_at]) if labels_bytes else {},
    )


def _packed(
    kind: int, name: tuple[str, str], front: tuple[int, int | None, int], more: bytes = b"", value: bytes = b""
) -> bytes:
    scope, key = name[0].encode(), name[1].encode()
    generation, end, version = front
    common = _COMMON.pack(generation, _NONE if end is None else end, version, len(scope), len(key))
    begin = b"".join((common, scope, key, more))
    checksum = crc32(value, crc32(begin, kind))
    return b"".join((_HEAD.pack(FORMAT, kind, checksum), begin, value))


def _sized(text: str) -> bytes:
    encoded = text.encode()
    return b"%d:%b" % (len(encoded), encoded)
