"""Contents stored by change: what a delta costs, what a chain may cost, and what is refused."""

from __future__ import annotations

import json
import random
import tracemalloc
from dataclasses import dataclass, field, replace

import pytest
from backports import zstd

from sidecar.core.deltas import (
    CHAIN_SLACK,
    LINKS_MAX,
    DeltaCorrupt,
    Link,
    Stored,
    choose_base,
    decode,
    encode,
    needs_base,
    restore,
    store,
)

MIB = 1 << 20
MANIFEST = 180


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def delta(content: bytes, base: bytes) -> bytes:
    """A stored form, and that it is a delta that gives the content back."""
    stored = encode(content, base)

    assert needs_base(stored)
    assert decode(stored, base, bytes_max=len(content)) == content
    return stored


@pytest.mark.parametrize("size", [1000, 300_000, 4 * MIB, 9 * MIB])
def test_what_is_appended_costs_what_it_is_however_large_the_base(size: int) -> None:
    state, manifest = noise(size), noise(MANIFEST, 2)

    stored = delta(state + noise(2048, 3) + noise(MANIFEST, 4), state + manifest)

    assert len(stored) < 2048 + MANIFEST + 30


@pytest.mark.parametrize("size", [10_000, 300_000, 4 * MIB, 9 * MIB])
def test_edits_in_several_places_cost_little_however_large_the_base(size: int) -> None:
    """A field in front, one in the middle, something taken out, and the manifest: nothing is in common at either end."""
    base = noise(size)
    third = size // 3
    parts = (b'{"n":2}', base[7:third], noise(200, 2), base[third : 2 * third], base[2 * third + 300 :])

    stored = delta(b"".join(parts) + noise(MANIFEST, 3), base + noise(MANIFEST, 4))

    assert len(stored) < 200 + MANIFEST + 200 + size // 500


def test_text_that_is_appended_is_compressed_with_what_is_before_it() -> None:
    said = b'{"role":"user","content":"I would like a table for two at half past seven, please."},'
    base = noise(100_000) + said

    assert len(delta(base + said, base)) < len(said) // 2


def test_a_content_that_did_not_change_costs_some_bytes() -> None:
    base = noise(100_000)

    assert len(delta(base, base)) < 12


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 100_000, 131_072, 200_001])
def test_one_byte_is_found_wherever_it_is(size: int) -> None:
    base = noise(size)
    for at in (0, 1, 30_000, 34_463, 34_464, 65_534, size // 2, size - 65_536, size - 30_000, size - 1):
        changed = bytearray(base)
        changed[at] ^= 1

        assert len(delta(bytes(changed), base)) < 14


def test_what_repeats_is_not_counted_at_both_ends() -> None:
    for content, base in ((b"a" * 900, b"a" * 1000), (b"a" * 1000, b"a" * 900)):
        assert decode(encode(content, base), base, bytes_max=1000) == content


def test_what_has_nothing_in_common_is_stored_whole() -> None:
    content = noise(5000)
    stored = encode(content, noise(5000, 2))

    assert not needs_base(stored)
    assert decode(stored, bytes_max=5000) == content
    assert len(stored) < 5010


def test_a_whole_form_is_compressed_where_that_pays() -> None:
    assert len(encode(b"abc" * 10_000)) < 100
    assert len(encode(noise(10_000))) <= 10_004


def test_a_base_that_is_far_larger_is_no_reason_for_a_delta_that_is_larger() -> None:
    assert len(encode(b"tiny", noise(MIB))) <= 6


def test_the_form_is_fixed() -> None:
    """Older rows have to be read for ever. What zstd makes of a content may change, and what it reads does not."""
    base = bytes(range(200))
    asked = b"A table for two, please. Which city? " * 2
    kept = {
        "1003616263": (b"abc", None),
        "115a28b52ffd205a8d000050616761696e20616e642001005db42001": (b"again and " * 9, None),
        "12c80164630178": (base[:100] + b"x" + base[101:], base),
        "134a4a0022004a28b52ffd20227d000048466f722074776f3f210100685140": (
            asked + b"A table for two, please. For two?!",
            asked,
        ),
    }

    assert [decode(bytes.fromhex(stored), on, bytes_max=1000) for stored, (_, on) in kept.items()] == [
        content for content, _ in kept.values()
    ]
    assert [encode(content, on)[0] for content, on in kept.values()] == [0x10, 0x11, 0x12, 0x13]


@pytest.mark.parametrize("kind", range(16))
@pytest.mark.parametrize("form", [0x00, 0x20, 0xF0])
def test_another_form_is_refused(form: int, kind: int) -> None:
    with pytest.raises(DeltaCorrupt, match="no stored form"):
        decode(bytes([form | kind]) + encode(b"content")[1:], b"content", bytes_max=100)


SMALL_BASE = b'{"slots":{"city":"San Jose","guests":2},"turns":["A table for two, please.","Which city?"]}'
SMALL = SMALL_BASE.replace(b":2}", b":3}")[:-2] + b',"San Jose, and there will be three of us after all."]}'
FORMS = {
    "whole": (encode(noise(40)), None),
    "whole, compressed": (encode(b"again and " * 9), None),
    "delta": (encode(noise(60) + b"changed", noise(60)), noise(60)),
    "delta, compressed": (encode(SMALL, SMALL_BASE), SMALL_BASE),
}


def test_the_small_forms_are_of_each_kind() -> None:
    assert [stored[0] & 0x0F for stored, _ in FORMS.values()] == [0, 1, 2, 3]


def outcome(stored: bytes, base: bytes | None) -> bytes | None:
    """A content of at most as many bytes as allowed, or None: refused as it should be."""
    try:
        content = decode(stored, base, bytes_max=500)
    except DeltaCorrupt:
        return None
    assert len(content) <= 500
    return content


@pytest.mark.parametrize("name", FORMS)
def test_a_flipped_bit_is_refused_or_gives_some_other_content(name: str) -> None:
    stored, base = FORMS[name]
    for bit in range(len(stored) * 8):
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        outcome(bytes(damaged), base)


@pytest.mark.parametrize("name", FORMS)
def test_what_is_cut_short_or_goes_on_is_refused(name: str) -> None:
    stored, base = FORMS[name]

    assert outcome(stored, base) is not None
    assert [outcome(stored[:end], base) for end in range(len(stored))] == [None] * len(stored)
    assert outcome(stored + b"\0", base) is None
    assert outcome(stored + stored, base) is None


@pytest.mark.parametrize("name", ["delta", "delta, compressed"])
def test_a_delta_needs_its_base_and_one_of_its_length(name: str) -> None:
    stored, base = FORMS[name]
    assert base is not None

    assert [outcome(stored, wrong) for wrong in (None, b"", base[:-1], base + b"x")] == [None] * 4


def test_a_content_above_the_bound_is_refused() -> None:
    for stored, base in FORMS.values():
        size = len(decode(stored, base, bytes_max=500))

        assert len(decode(stored, base, bytes_max=size)) == size
        with pytest.raises(DeltaCorrupt, match="are allowed"):
            decode(stored, base, bytes_max=size - 1)


def whole(length: int, frame: bytes) -> bytes:
    """A compressed form that says another length than its frame has."""
    return b"\x11" + bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + frame


def streamed(content: bytes, window_log: int) -> bytes:
    """A frame that doesn't say how long its content is, and wants a window of so many bits."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
    return compressor.compress(content) + compressor.flush()


def test_a_window_that_is_larger_than_the_content_is_refused() -> None:
    content = bytes(300)

    assert outcome(whole(300, streamed(content, 10)), None) == content
    assert outcome(whole(300, streamed(content, 27)), None) is None


def lying(frame: bytes) -> bytes:
    """A frame whose header says that it has 1,000 bytes."""
    assert zstd.get_frame_info(frame).decompressed_size == 64 * MIB
    changed = frame.replace((64 * MIB).to_bytes(4, "little"), (1000).to_bytes(4, "little"), 1)
    assert zstd.get_frame_info(changed).decompressed_size == 1000
    return changed


@pytest.mark.parametrize(
    "stored",
    [
        encode(bytes(64 * MIB)),
        whole(1000, zstd.compress(bytes(64 * MIB))),
        whole(1000, lying(zstd.compress(bytes(64 * MIB)))),
        whole(1000, streamed(bytes(64 * MIB), 10)),
        whole(1000, streamed(bytes(64 * MIB), 27)),
        encode(noise(50_000) + bytes(64 * MIB), noise(50_000)),
    ],
    ids=["whole", "another length", "another length in the frame too", "no length", "no length, large window", "delta"],
)
def test_a_bomb_is_refused_before_it_takes_memory(stored: bytes) -> None:
    assert len(stored) < 300_000
    base = noise(50_000)
    tracemalloc.start()
    try:
        with pytest.raises(DeltaCorrupt):
            decode(stored, base, bytes_max=MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < MIB


def test_a_number_of_too_many_bytes_is_refused() -> None:
    for number in (b"\xff" * 6 + b"\x7f", b"\xff" * 7, b"\xff" * 50, b"\x80" * 7, b"\x80" * 7 + b"\0"):
        for kind in range(4):
            assert outcome(bytes([0x10 | kind]) + number, b"") is None
            assert outcome(bytes([0x10 | kind]) + number * 8, b"") is None


def test_ends_that_are_longer_than_the_base_are_refused() -> None:
    base = noise(100)
    for prefix in range(128):
        for suffix in range(0, 128, 9):
            content = outcome(bytes([0x12, 100, prefix, suffix, 0]), base)
            assert content == (base[:prefix] + base[100 - suffix :] if prefix + suffix <= 100 else None)


def test_a_dictionary_that_is_not_within_the_base_is_refused() -> None:
    stored, base = FORMS["delta, compressed"]
    head, frame = stored[:5], stored[7:]
    assert base is not None
    for start in range(128):
        for size in range(128):
            content = outcome(head + bytes([start, size]) + frame, base)
            assert content is None or start + size <= len(base)


def test_a_chain_is_restored_from_its_whole_one() -> None:
    first, second, third = noise(3000), noise(3000) + b"more", b"x" + noise(3000) + b"more"
    chain = [encode(first), encode(second, first), encode(third, second)]

    assert restore(chain, bytes_max=4000) == third
    for broken in ([], chain[1:], [chain[0], chain[2]]):
        with pytest.raises(DeltaCorrupt):
            restore(broken, bytes_max=4000)


@dataclass
class Kept:
    """What a store has, by content id."""

    rows: dict[str, Stored] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)

    def put(self, content: bytes, parent: str = "") -> str:
        base = choose_base(parent, self.rows[parent].link if parent else None, size=len(content))
        name = str(len(self.rows))
        self.rows[name] = store(content, base, self.contents[base.content_id] if base else None)
        self.contents[name] = content
        return name

    def chain(self, name: str) -> list[str]:
        """Content ids from the whole one to this."""
        names = [name]
        while base := self.rows[names[-1]].base_id:
            names.append(base)
        return names[::-1]

    def check(self, name: str) -> None:
        """That a content comes back, and that its row tells the truth about its chain."""
        names, link = self.chain(name), self.rows[name].link
        total = sum(len(self.rows[each].data) for each in names)

        assert restore((self.rows[each].data for each in names), bytes_max=MIB) == self.contents[name]
        assert (link.depth, link.chain_bytes) == (len(names) - 1, total)
        assert link.depth <= LINKS_MAX
        assert total <= 2 * len(self.contents[name]) + CHAIN_SLACK
        anchor = self.rows[link.anchor or name].link
        assert link.anchor in ("", *names)
        assert (link.anchor_depth, link.anchor_bytes) == (anchor.depth, anchor.chain_bytes)
        assert anchor.anchor == ""


def test_a_conversation_costs_less_than_twice_what_it_is() -> None:
    kept, name, turns = Kept(), "", []
    for number in range(160):
        turns.append({"role": "user", "content": noise(400, number).hex()})
        name = kept.put(json.dumps(turns).encode() + b"%d" % number * 40, name)
        kept.check(name)

    stored = sum(len(row.data) for row in kept.rows.values())
    assert stored < 1.1 * len(
        kept.contents[name]
    )  # in hex: half of it is to be stored, once as turns and once as anchors
    assert max(row.link.depth for row in kept.rows.values()) == LINKS_MAX


def test_branches_from_anywhere_keep_the_bounds() -> None:
    kept, chance = Kept(), random.Random(1)
    names = [kept.put(noise(2000))]
    for number in range(300):
        parent = chance.choice(names[-200:] if chance.random() < 0.3 else names[-2:])
        content = kept.contents[parent]
        at = chance.randrange(len(content))
        names.append(kept.put(content[:at] + noise(chance.randrange(300), number) + content[at:], parent))
        kept.check(names[-1])


def test_a_base_without_its_content_is_no_base() -> None:
    """Whoever can't load it stores the content whole."""
    base = choose_base("parent", store(noise(1000)).link, size=1000)

    assert store(noise(1000), base, None) == store(noise(1000))


def test_a_row_of_a_version_with_longer_chains_begins_a_run_or_a_chain() -> None:
    far = Link(depth=90, chain_bytes=1000, anchor="anchor", anchor_depth=LINKS_MAX, anchor_bytes=900)

    assert choose_base("parent", far, size=1000) is None
    base = choose_base("parent", replace(far, anchor_depth=LINKS_MAX - 1), size=1000)
    assert base is not None
    assert (base.content_id, base.begins_run, base.link.depth) == ("anchor", True, LINKS_MAX - 1)
