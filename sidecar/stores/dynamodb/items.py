"""What is in the table, as items. An item is trusted only after its digest verifies; what fails is DataLoss, never bytes.

Every item has `p`, the partition, and `k`, the place in it:

| item | p | k | more |
| --- | --- | --- | --- |
| a key | `entry#NAMESPACE` | the key's bytes, whose order is the listing's | `h` header, `b` value, `d` digest |
| a large value | `payload#ID`, `part#ID#N` | `-` | see payloads.py; the key's item names it in `y` |
| a request id | `request#NAMESPACE` | the id's bytes | `f` fingerprint, `o` outcome, `r` returned values, `d` digest |
| a change | `change#SEQUENCE` | `-` | `c` what changed, `n` how many ids it stands for, `t` commit time; `l` where it tells nothing |
| the store itself | `meta` | `-` | see table.py |

What the sweep has to find has `q` and `t`, by which the index is ordered: the end of an entry, the time of a deletion or
of a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from zlib import crc32

from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.errors import DataLoss

Item = dict[str, Any]
"""An item, or its key, as the API has it: `{"p": {"S": …}, …}`."""
At = tuple[str, bytes]
"""An item's key as values."""

ITEM_BYTES_MAX = 400 * 1024
"""DynamoDB's bound of an item, names of attributes included."""
INDEX_SHARDS = 4
"""Partitions of the index for each kind: one takes 1,000 writes a second, and holds up the table beyond that."""
HEADERS = "p, k, h, d, y, f, t, o, r"
"""Attributes of keys and request ids without the values."""
_DIGEST_BYTES = 16
_ONLY = b"-"


@dataclass(frozen=True, slots=True)
class Payload:
    """The name of a large value, which is kept in `count` items beside its key's; `size` in bytes."""

    id: str
    count: int
    size: int

    @classmethod
    def of(cls, item: Item) -> Payload | None:
        """What a key's item names."""
        if "y" not in item:
            return None
        name, count, size = item["y"]["S"].split()
        return cls(name, int(count), int(size))

    @property
    def text(self) -> str:
        """As the item has it."""
        return f"{self.id} {self.count} {self.size}"


@dataclass(frozen=True, slots=True)
class Names:
    """Where items are, under the store's prefix."""

    prefix: str

    def entry(self, namespace: str, key: str) -> Item:
        """A key's."""
        return _at(self.entries(namespace), key.encode())

    def entries(self, namespace: str) -> str:
        """The partition of a namespace."""
        return f"{self._root}entry#{namespace}"

    def request(self, namespace: str, request_id: str) -> Item:
        """A request id's."""
        return _at(f"{self._root}request#{namespace}", request_id.encode())

    def change(self, sequence: int) -> Item:
        """A change's: each in a partition of its own, so that no partition takes all writes."""
        return _at(f"{self._root}change#{sequence}", _ONLY)

    def meta(self) -> Item:
        """The store's own."""
        return _at(f"{self._root}meta", _ONLY)

    def payload(self, payload_id: str) -> Item:
        """The record of a large value."""
        return _at(f"{self._root}payload#{payload_id}", _ONLY)

    def part(self, payload_id: str, number: int) -> Item:
        """A part of a large value, each in a partition of its own."""
        return _at(f"{self._root}part#{payload_id}#{number}", _ONLY)

    def namespace_of(self, item: Item) -> str:
        """The namespace of a key's item."""
        partition: str = item["p"]["S"]
        return partition.removeprefix(f"{self._root}entry#")

    def ends(self, shard: int) -> str:
        """A partition of the index: entries by their end."""
        return f"{self._root}end#{shard}"

    def graves(self, shard: int) -> str:
        """A partition of the index: tombstones by their time."""
        return f"{self._root}grave#{shard}"

    def requests(self, shard: int) -> str:
        """A partition of the index: request ids by their time."""
        return f"{self._root}id#{shard}"

    def payloads(self, shard: int) -> str:
        """A partition of the index: large values by when they are to be looked at."""
        return f"{self._root}value#{shard}"

    @property
    def _root(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""


def _at(partition: str, place: bytes) -> Item:
    return {"p": {"S": partition}, "k": {"B": place}}


def at(item: Item) -> At:
    """An item's key, to look it up by."""
    return item["p"]["S"], item["k"]["B"]


def key_of(item: Item) -> Item:
    """An item's key, to name it by."""
    return {"p": item["p"], "k": item["k"]}


def shard_of(place: bytes) -> int:
    """Which partition of the index."""
    return crc32(place) % INDEX_SHARDS


def size_of(item: Item) -> int:
    """Bytes by DynamoDB's rules, at most a few too many."""
    size = 0
    for name, typed in item.items():
        (value,) = typed.values()
        size += len(name) + (len(value) if isinstance(value, bytes) else len(value.encode()))
    return size


def encode(names: Names, copy: Copy, payload: Payload | None = None) -> Item:
    """The item of a key's state; with `payload`, the value is kept under that name."""
    item = names.entry(copy.namespace, copy.key)
    if isinstance(copy, Tombstone):
        header: list[Any] = [copy.version, copy.delete_time]
    else:
        header = [
            copy.version,
            None,
            copy.create_time,
            copy.update_time,
            copy.expire_time,
            copy.ttl_ms,
            copy.content_type,
            copy.schema_version,
            dict(copy.labels),
            crc32(copy.value),
        ]
        item |= {"b": {"B": copy.value}} if payload is None else {"y": {"S": payload.text}}
    item |= _headed(item, header) | _indexed(names, item, header)
    return item


def decode(names: Names, item: Item, values: Mapping[str, bytes] | None = None) -> Copy:
    """The state in a key's item. Large values are in `values`, by payload; None: no value is wanted. Raises DataLoss."""
    namespace = names.namespace_of(item)
    key = decode_key(namespace, item)
    header = _verified(namespace, key, item)
    if header[1] is not None:
        return Tombstone(namespace=namespace, key=key, version=header[0], delete_time=header[1])
    version, _, create_time, update_time, expire_time, ttl_ms, content_type, schema_version, labels, checksum = header
    value = b""
    if values is not None:
        stored = _value(item, values)
        if stored is None or crc32(stored) != checksum:
            raise entry_corrupt(namespace, key)
        value = stored
    return Entry(
        namespace=namespace,
        key=key,
        value=value,
        version=version,
        create_time=create_time,
        update_time=update_time,
        expire_time=expire_time,
        ttl_ms=ttl_ms,
        content_type=content_type,
        schema_version=schema_version,
        labels=labels,
    )


def decode_key(namespace: str, item: Item) -> str:
    """The text of a key. Raises DataLoss."""
    try:
        return str(item["k"]["B"], "utf-8")
    except UnicodeDecodeError as exc:
        raise entry_corrupt(namespace, repr(item["k"]["B"])) from exc


def moved(names: Names, item: Item, expire_time: int | None, ttl_ms: int | None) -> Item:
    """A verified key's item with another end, without its value."""
    header = json.loads(item["h"]["S"])
    header[4:6] = expire_time, ttl_ms
    return {name: item[name] for name in item if name in "pky"} | _headed(item, header) | _indexed(names, item, header)


def unchanged(item: Item | None) -> dict[str, Any]:
    """The condition that a key is still as it was loaded: same version, end and ttl, or still not there."""
    if item is None:
        return {"ConditionExpression": "attribute_not_exists(p)"}
    return {"ConditionExpression": "d = :loaded", "ExpressionAttributeValues": {":loaded": item["d"]}}


def entry_corrupt(namespace: str, key: str) -> DataLoss:
    """An entry that doesn't verify."""
    return DataLoss(
        f"the entry {key!r} of namespace {namespace!r} does not verify", metadata={"namespace": namespace, "key": key}
    )


def _value(item: Item, values: Mapping[str, bytes]) -> bytes | None:
    if "b" in item:
        inline: bytes = item["b"]["B"]
        return inline
    payload = Payload.of(item)
    return None if payload is None else values.get(payload.id)


def _digest(item: Mapping[str, Any], header: str) -> bytes:
    """Of a header, of where it is, and of the name of its value."""
    hasher = blake2b(digest_size=_DIGEST_BYTES, person=b"state-sidecar")
    payload = item["y"]["S"] if "y" in item else ""
    for part in (item["p"]["S"].encode(), item["k"]["B"], header.encode(), payload.encode()):
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.digest()


def _headed(item: Item, header: list[Any]) -> Item:
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
    return {"h": {"S": text}, "d": {"B": _digest(item, text)}}


def _indexed(names: Names, item: Item, header: list[Any]) -> Item:
    """What the sweep finds it by."""
    delete_time = header[1]
    time = header[4] if delete_time is None else delete_time
    if time is None:
        return {}
    shard = shard_of(item["k"]["B"])
    return {"q": {"S": names.ends(shard) if delete_time is None else names.graves(shard)}, "t": {"N": str(time)}}


def _verified(namespace: str, key: str, item: Mapping[str, Any]) -> list[Any]:
    try:
        text = item["h"]["S"]
        if item["d"]["B"] == _digest(item, text):
            header: list[Any] = json.loads(text)
            return header
    except (KeyError, TypeError, ValueError):
        pass
    raise entry_corrupt(namespace, key)
