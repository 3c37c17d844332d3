"""What the cache keeps under a key, as bytes: a header that scripts read too, then what only we read.

| bytes | field | |
| --- | --- | --- |
| 0-3 | mark | `slot` |
| 4 | format | 1; of a slot in another one only this is known, and whoever tells a newer state drops it |
| 5 | kind | `P` placeholder, `M` cached miss, `E` entry, `T` tombstone |
| 6-13 | generation | |
| 14-21 | version | 0 for `P` and `M`. Scripts compare halves: their numbers are doubles |
| 22-29 | end | milliseconds of the authority's clock: `P` its deadline, `M` and `T` their end, `E` its expire time; all ones: none |

Then `P`: the lease's name. `T`: delete time. `E`: create time, update time, ttl, schema version, lengths of content type
and labels, these two, and the value. Integers are big-endian.

The last eight bytes are the XXH3 of all before, seeded with that of the Redis key: what is another key's, or spoilt, does
not verify. (It takes a third of a CRC-32's time, which was a tenth of a batch's.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple
from urllib.parse import quote

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from sidecar.core.cache import Hit, Miss
from sidecar.core.entry import NO_LABELS, Copy, Entry, Tombstone

FORMAT = 1
PLACEHOLDER, MISS, ENTRY, TOMBSTONE = b"PMET"
NO_END = (1 << 64) - 1
TAKEN = Miss(None)
NOTHING = Hit(None)

_MARK = b"slot"
_CHECKSUM_BYTES = 8
_FRONT = Struct(">BBQQQ")
_HEADER = Struct(">4xBBQQQ")
_TIME = Struct(">q")
_DETAILS = Struct(">qqqqHI")
_ENTRY = Struct(_HEADER.format + _DETAILS.format[1:])
_ENTRY_BYTES = _ENTRY.size
_NO_TTL = -1
_NUMBER = re.compile("[0-9]{1,18}")
_SPACES_MAX = 1024


class NotOurs(Exception):
    """Bytes that don't verify as what is kept under this Redis key."""

    def __init__(self, name: bytes) -> None:
        super().__init__("a copy in Redis did not verify")
        self.name = name


class Names:
    """The Redis keys of a cache: `PREFIX:c:LENGTH:NAMESPACE:KEY` for copies.

    The first colon ends the prefix, which has none of its own, and the length says where the namespace ends. So no two
    are the same, whatever a namespace or key holds.
    """

    def __init__(self, prefix: str) -> None:
        # A brace would have a Cluster put all keys into one slot.
        self._prefix = quote(prefix, safe="/ ")
        self._spaces: dict[str, bytes] = {}
        self.channel = f"{self._prefix}:near".encode()
        self.turn = f"{self._prefix}:r".encode()

    def space(self, namespace: str) -> bytes:
        """What the names of a namespace's keys begin with."""
        space = self._spaces.get(namespace)
        if space is None:
            encoded = namespace.encode()
            space = b"%s:c:%d:%s:" % (self._prefix.encode(), len(encoded), encoded)
            if len(self._spaces) < _SPACES_MAX:
                self._spaces[namespace] = space
        return space

    def marker(self, tag: int | None) -> bytes:
        """The key whose loss shows a flush; with a tag that puts it into one of a node's slots."""
        return f"{self._prefix}:m:".encode() + (b"" if tag is None else b"{%d}" % tag)


class Lease(NamedTuple):
    """A lease as callers hold it: with its key, all that its placeholder is made of."""

    generation: int
    deadline: int
    holder: str

    def __str__(self) -> str:
        return f"{self.generation}.{self.deadline}.{self.holder}"

    @classmethod
    def parse(cls, text: str) -> Lease | None:
        """None: it is none of ours."""
        generation, _, rest = text.partition(".")
        deadline, _, holder = rest.partition(".")
        if not (_NUMBER.fullmatch(generation) and _NUMBER.fullmatch(deadline) and holder.isascii()):
            return None
        return cls(int(generation), int(deadline), holder)

    def placeholder(self, name: bytes) -> bytes:
        """The slot of this lease under a key."""
        return _sealed(name, _FRONT.pack(FORMAT, PLACEHOLDER, self.generation, 0, self.deadline), self.holder.encode())


def encode(name: bytes, copy: Copy | None, *, generation: int, end: int) -> bytes:
    """The slot of a copy. `end` is that of what is no entry."""
    if copy is None:
        return _sealed(name, _FRONT.pack(FORMAT, MISS, generation, 0, end), b"")
    if isinstance(copy, Tombstone):
        front = _FRONT.pack(FORMAT, TOMBSTONE, generation, copy.version, end)
        return _sealed(name, front, _TIME.pack(copy.delete_time))
    content_type = copy.content_type.encode()
    labels = json.dumps(dict(copy.labels), ensure_ascii=False).encode() if copy.labels else b""
    end = NO_END if copy.expire_time is None else copy.expire_time
    details = _DETAILS.pack(
        copy.create_time,
        copy.update_time,
        _NO_TTL if copy.ttl_ms is None else copy.ttl_ms,
        copy.schema_version,
        len(content_type),
        len(labels),
    )
    front = _FRONT.pack(FORMAT, ENTRY, generation, copy.version, end)
    return _sealed(name, front, b"".join((details, content_type, labels, copy.value)))


def read_all(
    names: Sequence[bytes],
    slots: Sequence[bytes | None],
    namespace: str,
    keys: Sequence[str],
    *,
    generation: int,
    now: int,
) -> tuple[list[Hit | Miss], list[int]]:
    """What each slot answers: a hit, or `TAKEN`; and the places of those that hold nothing believed. Raises NotOurs."""
    answers: list[Hit | Miss] = []
    missing: list[int] = []
    # Written out, with local names and without the frames of __new__: of a batch of a hundred this is the larger part.
    unpack, new, answered, checksum, seed = (
        _ENTRY.unpack_from,
        tuple.__new__,
        answers.append,
        xxh3_64_digest,
        xxh3_64_intdigest,
    )
    least, empty = _ENTRY_BYTES, _ENTRY_BYTES + _CHECKSUM_BYTES
    for name, slot, key in zip(names, slots, keys, strict=True):
        if slot is None or len(slot) < empty or slot[5] != ENTRY or slot[4] != FORMAT:
            answer = None if slot is None else _read_other(name, slot, namespace, key, generation=generation, now=now)
            if answer is None:
                missing.append(len(answers))
            answered(answer or TAKEN)
            continue
        _, _, made_in, version, end, created, updated, ttl_ms, schema, type_bytes, label_bytes = unpack(slot)
        if checksum(slot[:-8], seed(name)) != slot[-8:]:
            raise NotOurs(name)
        if made_in != generation or end <= now:
            missing.append(len(answers))
            answered(TAKEN)
            continue
        expire_time = None if end == NO_END else end
        ttl = None if ttl_ms == _NO_TTL else ttl_ms
        if type_bytes or label_bytes:
            labels_at = least + type_bytes
            value_at = labels_at + label_bytes
            try:
                content_type = slot[least:labels_at].decode()
                labels = json.loads(slot[labels_at:value_at]) if label_bytes else NO_LABELS
            except (ValueError, RecursionError) as exc:
                raise NotOurs(name) from exc
            value = slot[value_at:-8]
        else:
            content_type, labels, value = "", NO_LABELS, slot[least:-8]
        entry = (namespace, key, value, version, created, updated, expire_time, ttl, content_type, schema, labels)
        answered(new(Hit, (new(Entry, entry),)))
    return answers, missing


def _read_other(name: bytes, slot: bytes, namespace: str, key: str, *, generation: int, now: int) -> Hit | Miss | None:
    """The answer of what is no entry; None: nothing that is believed."""
    if len(slot) < _HEADER.size + _CHECKSUM_BYTES:
        raise NotOurs(name)
    form, kind, made_in, version, end = _HEADER.unpack_from(slot)
    if form != FORMAT:
        return None
    if kind == ENTRY or not slot.endswith(_checksum(name, slot[:-_CHECKSUM_BYTES])):
        raise NotOurs(name)
    if made_in != generation or end <= now:
        return None
    if kind == PLACEHOLDER:
        return TAKEN
    if kind == MISS:
        return NOTHING
    if kind == TOMBSTONE and len(slot) == _HEADER.size + _TIME.size + _CHECKSUM_BYTES:
        (delete_time,) = _TIME.unpack_from(slot, _HEADER.size)
        return Hit(Tombstone(namespace=namespace, key=key, version=version, delete_time=delete_time))
    raise NotOurs(name)


def _sealed(name: bytes, front: bytes, rest: bytes) -> bytes:
    body = b"".join((_MARK, front, rest))
    return body + _checksum(name, body)


def _checksum(name: bytes, body: bytes) -> bytes:
    return xxh3_64_digest(body, xxh3_64_intdigest(name))
