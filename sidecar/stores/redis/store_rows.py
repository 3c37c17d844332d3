"""What the store's scripts keep of a key, read and made in the daemon; the layout is described in `store_common.lua`.

Nothing is trusted before it verifies: a head by the digest over it and its field, a value by the digest in its head.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

from sidecar.core.entry import EPOCH_SHIFT, SEQUENCE_MASK, Copy, Entry, Tombstone, epoch_of
from sidecar.core.errors import DataLoss
from sidecar.core.keys import prefix_end
from sidecar.stores.redis.script import Argument

DIGEST_LENGTH = 8
HEAD = struct.Struct(">BQQQQQ8s")
"""Kind, sequence, update or delete time, create time, expire time (0: none), ttl (0: none), digest of the value."""
_DETAILS_BEGIN = DIGEST_LENGTH + HEAD.size
_DETAILS = struct.Struct(">IH")
_LENGTH = struct.Struct(">H")
_ENTRY, _TOMBSTONE = 1, 2
NONE = b""
OLDER_EPOCH, NEWER_EPOCH = b"-1", b"E"


@dataclass(frozen=True, slots=True)
class Shard:
    """The Redis keys of one hash slot that hold whole namespaces; versions in it have its epoch."""

    epoch: int
    keys: tuple[bytes, ...]

    def version(self, sequence: int) -> int:
        """The version of a sequence; 0 stays 0: none."""
        return self.epoch << EPOCH_SHIFT | sequence if sequence else 0

    def guard(self, expected: int | None) -> Argument:
        """An expected version as `store_commit.lua` takes it."""
        if expected is None:
            return NONE
        if expected == 0:
            return 0
        epoch = epoch_of(expected)
        if epoch != self.epoch:
            return OLDER_EPOCH if epoch < self.epoch else NEWER_EPOCH
        return expected & SEQUENCE_MASK


def shards_of(prefix: str, count: int) -> tuple[Shard, ...]:
    """All shards of a store. What one count has stored, another doesn't find: it is part of the names."""
    names = ("heads", "values", "names", "ends", "graves", "requests", "asked", "log", "meta")
    start = f"{prefix}:" if prefix else ""
    tags = [f"{start}s:{{{start}{number}/{count}}}:" for number in range(count)]
    return tuple(Shard(number, tuple(f"{tag}{name}".encode() for name in names)) for number, tag in enumerate(tags))


def shard_number(namespace: str, count: int) -> int:
    """Which of the shards holds a namespace."""
    return crc32(namespace.encode()) % count


def field_of(namespace: str, name: str) -> bytes:
    """A key, or a request id, of a namespace: the fields of a namespace are in the order of their keys' bytes."""
    scope = namespace.encode()
    return _LENGTH.pack(len(scope)) + scope + name.encode()


def key_range(namespace: str, prefix: str, after: str | None) -> tuple[bytes, bytes]:
    """The bounds (ZRANGEBYLEX's) of the fields whose keys begin with `prefix` and come after `after`."""
    lower = b"[" + field_of(namespace, prefix)
    if after is not None and after >= prefix:
        lower = b"(" + field_of(namespace, after)
    end = prefix_end(prefix)
    # No UTF-8 has the byte FF.
    return lower, b"(" + (field_of(namespace, "") + b"\xff" if end is None else field_of(namespace, end))


def names_of(field: bytes) -> tuple[str, str]:
    """Inverse of `field_of`. Raises DataLoss."""
    try:
        (length,) = _LENGTH.unpack_from(field)
        if 2 + length > len(field):
            raise ValueError("it ends within its namespace")  # noqa: TRY301  # told as all that is wrong
        return str(field[2 : 2 + length], "utf-8"), str(field[2 + length :], "utf-8")
    except (struct.error, ValueError) as exc:
        raise DataLoss("the name of an entry does not verify") from exc


def digest(content: bytes) -> bytes:
    """Eight hex digits of SHA-1, which is what a script has; it is there against accidents, not attackers."""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()[:DIGEST_LENGTH].encode()


def details(content_type: str, schema_version: int, labels: Mapping[str, str]) -> bytes:
    """What belongs to an entry and is nothing to the scripts."""
    if not content_type and not schema_version and not labels:
        return b""
    content = content_type.encode()
    text = json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":")).encode() if labels else b""
    return _DETAILS.pack(schema_version, len(content)) + content + text


def verified(namespace: str, key: str, raw: bytes, value: bytes | None, shard: Shard) -> Copy:
    """The copy of a stored head and value; `value` None: it was not asked for. Raises DataLoss."""
    head = raw[DIGEST_LENGTH:]
    if raw[:DIGEST_LENGTH] != digest(field_of(namespace, key) + head) or len(head) < HEAD.size:
        raise entry_corrupt(namespace, key)
    if value is not None and head[0] == _ENTRY and HEAD.unpack_from(head)[-1] != digest(value):
        raise entry_corrupt(namespace, key)
    try:
        return copy_of(namespace, key, raw, value or b"", shard)
    except (ValueError, struct.error, RecursionError) as exc:
        raise entry_corrupt(namespace, key) from exc


def copy_of(namespace: str, key: str, raw: bytes, value: bytes, shard: Shard) -> Copy:
    """The same of what a script has just made."""
    kind, sequence, time, create_time, expire_time, ttl_ms, _ = HEAD.unpack_from(raw, DIGEST_LENGTH)
    version = shard.version(sequence)
    if kind == _TOMBSTONE:
        return Tombstone(namespace=namespace, key=key, version=version, delete_time=time)
    content_type, schema_version, labels = _parsed_details(raw)
    return Entry(
        namespace=namespace,
        key=key,
        value=value,
        version=version,
        create_time=create_time,
        update_time=time,
        expire_time=expire_time or None,
        ttl_ms=ttl_ms or None,
        content_type=content_type,
        schema_version=schema_version,
        labels=labels,
    )


def _parsed_details(raw: bytes) -> tuple[str, int, Mapping[str, str]]:
    if len(raw) == _DETAILS_BEGIN:
        return "", 0, {}
    schema_version, length = _DETAILS.unpack_from(raw, _DETAILS_BEGIN)
    begin = _DETAILS_BEGIN + _DETAILS.size
    text = raw[begin + length :]
    return raw[begin : begin + length].decode(), schema_version, json.loads(text) if text else {}


def entry_corrupt(namespace: str, key: str) -> DataLoss:
    """An entry that doesn't verify."""
    return DataLoss(
        f"the entry {key!r} of namespace {namespace!r} does not verify", metadata={"namespace": namespace, "key": key}
    )
