"""Contents stored by what changed: a codec for one content against another, and which other that is. Pure.

A content is stored whole, or as a delta against a base content, so that stored contents form trees. To give one back, walk
the bases up to a whole one and hand what was stored to `restore`, the whole one first. To store one: `choose_base` from
what its parent's row carries, load that base's content, then `store`, whose `Stored` has the bytes and the row's facts.

A delta is what its two contents have in common at the beginning and at the end, and what is between, compressed with the
base around it as zstd's dictionary. The common ends are found by comparing, so a state that only grows costs what it grows
by, however large it is. What changed in several places is left to zstd, which needs a window as large as the base and
long distance matching: without them its match finder loses sight of a base of more than a megabyte.

Stored forms carry no checksum: whoever keeps them verifies a digest of the content. What doesn't fit is DeltaCorrupt.

Form: one byte, `1` in its upper four bits and the kind in its lower; numbers as LEB128; the rest is the body.

| kind | numbers | body |
| --- | --- | --- |
| 0 whole | length | the content |
| 1 whole, compressed | length | a zstd frame |
| 2 delta | base's length, common beginning, common end, length between | what is between |
| 3 delta, compressed | the same, then start and length of the dictionary within the base | a zstd frame |
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINKS_MAX = 52
"""Deltas between a content and its whole one. A state that grows evenly is stored whole again after some 1,400 contents."""
CHAIN_SLACK = 64 * 1024
"""A chain may have this many bytes whatever its content's size."""

_LOAD_ROOM, _LOAD_MAX = 1.75, 2.0
"""Bytes that a restore reads, as a multiple of what it gives: below this a chain goes on, and never above that."""
_WORTH = 0.75
"""Of the whole's bytes."""
_WHOLE_TRIED_ABOVE = 1 / 16
"""Of the content's bytes: hardly anything compresses to less, so a smaller delta isn't compared with the whole."""

_FORM = 0x10
_LEVEL = 3
_DICTIONARY_BYTES_MIN, _DICTIONARY_BYTES_MAX = 64, 32 << 20
_BEFORE, _AFTER = 64 * 1024, 4 * 1024
"""What a dictionary has of the base on both sides of what changed."""
_LONG_FROM = 512 * 1024
"""Long distance matching pays from here on."""
_WINDOW_LOG_MIN, _WINDOW_LOG_MAX = 10, 27
_STEP = 64 * 1024
_NUMBER_BYTES_MAX = 7


class DeltaCorrupt(ValueError):
    """What was stored can't be decoded, or not with this base."""


class _Kind(IntEnum):
    WHOLE = 0
    WHOLE_COMPRESSED = 1
    DELTA = 2
    DELTA_COMPRESSED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where a stored content is in its chain: what its row carries, so that the next one can be placed.

    `depth`: deltas down to it from the whole one. `chain_bytes`: all that is read to restore it, its own included. The
    anchor is where the run that it is in begins; `anchor` is its content id, empty for an anchor itself.
    """

    depth: int
    chain_bytes: int
    anchor: str = ""
    anchor_depth: int
    anchor_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the next content may be stored against, and its facts; `begins_run`: the next one will be an anchor itself."""

    content_id: str
    link: Link
    begins_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A content as it is to be kept: its bytes, the base that they need (empty: none), and the facts of its row."""

    data: bytes
    base_id: str
    link: Link


def choose_base(parent_id: str, parent: Link | None, *, size: int) -> Base | None:
    """The content to store the next one of `size` bytes against: its parent, its parent's anchor, or None for none.

    Contents follow each other in a run, each stored against its parent, until a restore takes LINKS_MAX deltas, or reads
    nearly twice what it gives. The next one is stored against the run's anchor, and is the anchor of the next run. When
    there is no room behind the anchor either, a whole one begins another chain. So no chain has more than LINKS_MAX
    deltas; and of a state that grows evenly each byte is stored twice at most, once with its run and once with an anchor,
    while there are less than 1,400 contents.
    """
    if parent is None:
        return None
    own = Base(content_id=parent_id, link=parent, begins_run=False)
    anchor = Base(content_id=parent.anchor, link=_anchor(parent.anchor_depth, parent.anchor_bytes), begins_run=True)
    candidates = (own, anchor) if parent.anchor else (own,)
    return next((base for base in candidates if _has_room(base.link, size)), None)


def store(content: bytes, base: Base | None = None, base_content: bytes | None = None) -> Stored:
    """A content as it is to be kept: against `base` where that is worth it, else whole.

    Whole also if its chain would have more than twice the content's bytes (and CHAIN_SLACK), whatever was chosen.
    """
    if base is None or base_content is None:
        return _stored_whole(encode(content))
    data = encode(content, base_content)
    if not needs_base(data):
        return _stored_whole(data)
    link = place(base, stored_bytes=len(data), size=len(content))
    if link is None:
        return _stored_whole(encode(content))
    return Stored(data=data, base_id=base.content_id, link=link)


def place(base: Base, *, stored_bytes: int, size: int) -> Link | None:
    """The facts of a content of `size` bytes that is stored in so many against `base`; None: its chain would be too long."""
    total = base.link.chain_bytes + stored_bytes
    if total > _LOAD_MAX * size + CHAIN_SLACK:
        return None
    link = _anchor(base.link.depth + 1, total)
    if base.begins_run:
        return link
    anchor = base.link.anchor or base.content_id
    return replace(link, anchor=anchor, anchor_depth=base.link.anchor_depth, anchor_bytes=base.link.anchor_bytes)


def restore(chain: Iterable[bytes], *, bytes_max: int) -> bytes:
    """The content at the end of a chain of stored forms, the whole one first. Raises DeltaCorrupt as `decode` does."""
    content: bytes | None = None
    for stored in chain:
        content = decode(stored, content, bytes_max=bytes_max)
    if content is None:
        raise DeltaCorrupt("the chain is empty")
    return content


def encode(content: bytes, base: bytes | None = None) -> bytes:
    """The stored form of a content: a delta against `base` if that is clearly smaller than the whole, else the whole."""
    if base is None:
        return _encode_whole(content)
    delta = _encode_delta(content, base)
    if len(delta) <= _WHOLE_TRIED_ABOVE * len(content):
        return delta
    whole = _encode_whole(content)
    return delta if is_worth(len(delta), len(whole)) else whole


def is_worth(delta_bytes: int, whole_bytes: int) -> bool:
    """Whether a delta saves enough to be one link further from a whole content."""
    return delta_bytes < _WORTH * whole_bytes


def needs_base(stored: bytes) -> bool:
    """Whether a stored form is a delta. Raises DeltaCorrupt for what is no stored form."""
    return _kind(stored) in (_Kind.DELTA, _Kind.DELTA_COMPRESSED)


def decode(stored: bytes, base: bytes | None = None, *, bytes_max: int) -> bytes:
    """Inverse of `encode`; a whole form ignores the base. Raises DeltaCorrupt, and takes no memory for what is too large.

    A wrong base of the right length, or damage that leaves the form intact, gives another content.
    """
    if needs_base(stored):
        if base is None:
            raise DeltaCorrupt("a delta without its base")
        return _decode_delta(stored, base, bytes_max)
    (length,), at = _numbers(stored, 1)
    if length > bytes_max:
        raise DeltaCorrupt(f"a content of {length} bytes, {bytes_max} are allowed")
    return _body(stored[at:], length, b"", compressed=_kind(stored) is _Kind.WHOLE_COMPRESSED)


def _stored_whole(data: bytes) -> Stored:
    return Stored(data=data, base_id="", link=_anchor(0, len(data)))


def _has_room(link: Link, size: int) -> bool:
    return link.depth < LINKS_MAX and link.chain_bytes <= _LOAD_ROOM * size + CHAIN_SLACK


def _anchor(depth: int, chain_bytes: int) -> Link:
    return Link(depth=depth, chain_bytes=chain_bytes, anchor_depth=depth, anchor_bytes=chain_bytes)


def _encode_whole(content: bytes) -> bytes:
    frame = _compress(content, b"")
    if len(frame) < len(content):
        return _head(_Kind.WHOLE_COMPRESSED, len(content)) + frame
    return _head(_Kind.WHOLE, len(content)) + content


def _encode_delta(content: bytes, base: bytes) -> bytes:
    prefix, suffix = _common_ends(content, base)
    between = content[prefix : len(content) - suffix]
    numbers = (len(base), prefix, suffix, len(between))
    plain = _head(_Kind.DELTA, *numbers) + between
    if len(between) < _DICTIONARY_BYTES_MIN // 4:
        return plain
    start = max(prefix - _BEFORE, 0)
    end = min(len(base) - suffix + _AFTER, len(base), start + _DICTIONARY_BYTES_MAX)
    if end - start < _DICTIONARY_BYTES_MIN:
        start = end = 0
    packed = _head(_Kind.DELTA_COMPRESSED, *numbers, start, end - start) + _compress(between, base[start:end])
    return min(plain, packed, key=len)


def _decode_delta(stored: bytes, base: bytes, bytes_max: int) -> bytes:
    compressed = _kind(stored) is _Kind.DELTA_COMPRESSED
    (base_length, prefix, suffix, length, *dictionary), at = _numbers(stored, 6 if compressed else 4)
    if base_length != len(base) or prefix + suffix > base_length:
        raise DeltaCorrupt(f"a delta against {base_length} bytes, given a base of {len(base)}")
    if prefix + length + suffix > bytes_max:
        raise DeltaCorrupt(f"a content of {prefix + length + suffix} bytes, {bytes_max} are allowed")
    start, size = dictionary or (0, 0)
    if start + size > base_length or 0 < size < _DICTIONARY_BYTES_MIN:
        raise DeltaCorrupt("a dictionary that is not within the base")
    between = _body(stored[at:], length, base[start : start + size], compressed=compressed)
    return b"".join((base[:prefix], between, base[base_length - suffix :]))


def _body(body: bytes, length: int, dictionary: bytes, *, compressed: bool) -> bytes:
    content = _decompress(body, length, dictionary) if compressed else body
    if len(content) != length:
        raise DeltaCorrupt(f"{len(content)} bytes where {length} were stored")
    return content


def _compress(data: bytes, dictionary: bytes) -> bytes:
    parameter = zstd.CompressionParameter
    total = len(data) + len(dictionary)
    options: dict[int, int] = {parameter.compression_level: _LEVEL, parameter.window_log: _window_log(total)}
    if total >= _LONG_FROM:
        options[parameter.enable_long_distance_matching] = 1
    compressor = zstd.ZstdCompressor(options=options, zstd_dict=_prefix_of(dictionary))
    return compressor.compress(data, compressor.FLUSH_FRAME)


def _decompress(frame: bytes, length: int, dictionary: bytes) -> bytes:
    """A frame's content, or its first `length + 1` bytes: neither they nor zstd's window take more memory than that."""
    try:
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _window_log(length + len(dictionary))}
        decompressor = zstd.ZstdDecompressor(options=options, zstd_dict=_prefix_of(dictionary))
        content = decompressor.decompress(frame, max_length=length + 1)
    except zstd.ZstdError as exc:
        raise DeltaCorrupt(f"a frame that zstd can't read: {exc}") from exc
    if not decompressor.eof or decompressor.unused_data:
        raise DeltaCorrupt("a frame that does not end where it should")
    return content


def _prefix_of(dictionary: bytes) -> tuple[zstd.ZstdDict, int] | None:
    # As a prefix it is looked at in place, once; else zstd would first copy it into tables that outlive the call.
    return zstd.ZstdDict(dictionary, is_raw=True).as_prefix if dictionary else None


def _window_log(total: int) -> int:
    return min(max((total - 1).bit_length(), _WINDOW_LOG_MIN), _WINDOW_LOG_MAX)


def _common_ends(one: bytes, other: bytes) -> tuple[int, int]:
    """How many bytes are the same at the beginning, and of the others at the end."""
    limit, end, other_end = min(len(one), len(other)), len(one), len(other)
    prefix = _longest(limit, lambda low, high: one[low:high] == other[low:high])
    suffix = _longest(
        limit - prefix, lambda low, high: one[end - high : end - low] == other[other_end - high : other_end - low]
    )
    return prefix, suffix


def _longest(limit: int, same: Callable[[int, int], bool]) -> int:
    """How far all is the same: in large steps, and then by halves of the step that has the end."""
    at = 0
    while at < limit and same(at, min(at + _STEP, limit)):
        at += _STEP
    low, high = min(at, limit), min(at + _STEP, limit)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if same(low, middle) else (low, middle - 1)
    return low


def _head(kind: _Kind, *numbers: int) -> bytes:
    head = bytearray((_FORM | kind,))
    for number in numbers:
        while number > 0x7F:
            head.append(number & 0x7F | 0x80)
            number >>= 7  # noqa: PLW2901  # what is left of it
        head.append(number)
    return bytes(head)


def _kind(stored: bytes) -> _Kind:
    if not stored or stored[0] & 0xF0 != _FORM or stored[0] & 0x0F not in _Kind.__members__.values():
        raise DeltaCorrupt("no stored form")
    return _Kind(stored[0] & 0x0F)


def _numbers(stored: bytes, count: int) -> tuple[list[int], int]:
    """The numbers of a head, and where the body begins."""
    numbers, at = [], 1
    for _ in range(count):
        number = 0
        for index in range(_NUMBER_BYTES_MAX):
            if at + index >= len(stored):
                raise DeltaCorrupt("it ends within its head")
            number |= (stored[at + index] & 0x7F) << (7 * index)
            if stored[at + index] < 0x80:
                break
        else:
            raise DeltaCorrupt("a number of too many bytes")
        at += index + 1
        numbers.append(number)
    return numbers, at
