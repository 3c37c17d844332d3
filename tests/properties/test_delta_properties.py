"""What is stored by change comes back, whatever was changed; and whatever else is decoded is refused or is a content."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core.deltas import (
    CHAIN_SLACK,
    LINKS_MAX,
    DeltaCorrupt,
    Link,
    choose_base,
    decode,
    encode,
    needs_base,
    place,
    restore,
    store,
)

BYTES_MAX = 1 << 20
LARGE = random.Random(1).randbytes(3 << 19)
"""Larger than what zstd sees of a base by itself."""

small = st.binary(max_size=300)
words = st.lists(st.sampled_from([b"A table ", b"for two, ", b"please. ", b"Which city? ", b"\0"]), max_size=60).map(
    b"".join
)
contents = st.one_of(small, words, st.sampled_from([b"", b"\0", b"a", b"a" * 70_000, LARGE[:65_536], LARGE[:65_537]]))
fields = st.dictionaries(
    st.sampled_from(["city", "guests", "turns", "plan"]),
    st.one_of(st.integers(), st.text(max_size=20), st.lists(st.text(max_size=9), max_size=9)),
)
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), small), max_size=6)
"""Where, how many bytes go, and what comes instead."""


def edited(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for where, gone, come in changes:
        at = int(where * len(content))
        content = content[:at] + come + content[at + gone :]
    return content


def comes_back(content: bytes, base: bytes | None) -> bytes:
    stored = encode(content, base)

    assert decode(stored, base, bytes_max=len(content)) == content
    assert encode(content, base) == stored
    return stored


@given(contents, st.none() | contents)
def test_any_content_comes_back_with_any_base(content: bytes, base: bytes | None) -> None:
    stored = comes_back(content, base)

    assert len(stored) <= len(content) + 12
    assert base is not None or not needs_base(stored)


@given(contents, edits)
@example(b"", [(0.0, 0, b"first")])
@example(b"a" * 70_000, [(0.5, 30, b"")])
def test_an_edited_content_comes_back(base: bytes, changes: list[tuple[float, int, bytes]]) -> None:
    comes_back(edited(base, changes), base)


@given(edits)
def test_edits_of_a_large_content_come_back_and_cost_what_they_are(changes: list[tuple[float, int, bytes]]) -> None:
    stored = comes_back(edited(LARGE, changes), LARGE)

    assert len(stored) <= sum(len(come) + 200 for _, _, come in changes) + len(LARGE) // 400


@given(fields, fields, st.binary(max_size=30))
def test_fields_that_change_come_back(old: dict[str, Any], new: dict[str, Any], manifest: bytes) -> None:
    comes_back(json.dumps(old | new).encode() + manifest, json.dumps(old).encode() + manifest[::-1])


@given(st.binary(max_size=80), st.none() | contents)
def test_any_bytes_are_refused_or_are_a_content_within_the_bound(stored: bytes, base: bytes | None) -> None:
    for form in (stored, b"\x10" + stored, b"\x11" + stored, b"\x12" + stored, b"\x13" + stored):
        try:
            content = decode(form, base, bytes_max=1000)
        except DeltaCorrupt:
            continue
        assert len(content) <= 1000


@given(contents, edits, st.data())
def test_damage_is_refused_or_gives_some_content_within_the_bound(
    base: bytes, changes: list[tuple[float, int, bytes]], data: st.DataObject
) -> None:
    stored = bytearray(encode(edited(base, changes), base))
    for _ in range(data.draw(st.integers(1, 3))):
        stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    try:
        content = decode(bytes(stored), base, bytes_max=100_000)
    except DeltaCorrupt:
        return
    assert len(content) <= 100_000


@given(st.lists(st.tuples(st.integers(0, 99), edits), min_size=1, max_size=40))
def test_any_tree_of_contents_comes_back(changes: list[tuple[int, list[tuple[float, int, bytes]]]]) -> None:
    kept, contents_kept = [store(b"first")], [b"first"]
    for back, made in changes:
        parent = max(len(kept) - 1 - back, 0) if back > 80 else len(kept) - 1
        content = edited(contents_kept[parent], made)
        base = choose_base(str(parent), kept[parent].link, size=len(content))
        kept.append(store(content, base, contents_kept[int(base.content_id)] if base else None))
        contents_kept.append(content)

    for content, stored in zip(contents_kept, kept, strict=True):
        chain = [stored]
        while chain[-1].base_id:
            chain.append(kept[int(chain[-1].base_id)])
        assert restore((each.data for each in reversed(chain)), bytes_max=BYTES_MAX) == content
        assert (stored.link.depth, stored.link.chain_bytes) == (len(chain) - 1, sum(len(each.data) for each in chain))


links = st.integers(0, 1 << 24)


@given(st.lists(st.tuples(links, links), min_size=1, max_size=200))
def test_chains_are_bounded_whatever_sizes_and_deltas_are(turns: list[tuple[int, int]]) -> None:
    link = Link(depth=0, chain_bytes=turns[0][0], anchor_depth=0, anchor_bytes=turns[0][0])
    for number, (size, cost) in enumerate(turns):
        base = choose_base(str(number), link, size=size)
        placed = place(base, stored_bytes=cost, size=size) if base else None
        link = placed or Link(depth=0, chain_bytes=size, anchor_depth=0, anchor_bytes=size)

        assert link.depth <= LINKS_MAX
        assert link.anchor_depth <= link.depth
        assert link.anchor_bytes <= link.chain_bytes <= 2 * size + CHAIN_SLACK
