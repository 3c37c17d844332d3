"""Records and documents of checkpoints, the ledger's names, and the checkpoints that a commit makes by itself."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import checkpoints, ledger, marks
from sidecar.core.checkpoints import (
    Record,
    asked_id,
    document,
    entries_of,
    parent_of,
    restore_point,
    restored_mark,
    seal,
    unseal,
)
from sidecar.core.contents import BASES_MAX, Content, content_id
from sidecar.core.decide import decide
from sidecar.core.deltas import Link
from sidecar.core.entry import Entry, version_of
from sidecar.core.errors import DataLoss
from sidecar.core.operations import Change, Check, Increment, Put, Write
from tests.support.factories import NAMESPACE, entry, write

NOW = 1_700_000_000_000
RECORD = Record(
    checkpoint_id=ledger.checkpoint_id(NOW, 7),
    namespace=NAMESPACE,
    key="a\x1fkey\0",
    label="ein Name",
    metadata={"step": "3"},
    parent_id=ledger.checkpoint_id(NOW - 1, 6),
    create_time=NOW,
    entry_count=1,
    value_bytes=12,
    automatic=True,
    content="ab" * 32,
)
IDS = st.builds(ledger.checkpoint_id, st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 64) - 1))
ENTRIES = st.lists(
    st.builds(
        entry,
        key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
        value=st.binary(max_size=40),
        version=st.integers(1, 1 << 60),
        expire_time=st.none() | st.integers(0, 1 << 50),
        ttl_ms=st.none() | st.integers(1, 1 << 40),
        content_type=st.text(max_size=5),
        schema_version=st.integers(0, 9),
        labels=st.dictionaries(st.text("ab", min_size=1, max_size=2), st.text(max_size=3), max_size=2),
    ),
    max_size=4,
)


def counted(count: int, *, every: int = 5, value: bytes = b"v") -> tuple[Entry, tuple[Entry, ...]]:
    """The `count`th change of a key, and the rows beside it."""
    before = entry(labels={marks.UPDATES: str(count - 1)})
    asked = replace(write(Put(key="key", value=value)), checkpoint_every=every)
    decided = decide(asked, {"key": before}, now=NOW, version=version_of(1, 10))
    (made,) = decided.copies
    assert isinstance(made, Entry)
    return made, decided.quiet


def test_a_record_survives_storage() -> None:
    assert Record.decode(RECORD.encode(), RECORD.checkpoint_id) == RECORD


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"checkpoint_id": 1}', b"\xff", b'{"other": 1}'])
def test_a_record_in_no_known_form_is_data_loss(data: bytes) -> None:
    with pytest.raises(DataLoss) as caught:
        Record.decode(seal(data, "id"), "id")

    assert caught.value.reason == "CHECKPOINT_CORRUPT"


@given(st.binary(max_size=40), st.text(max_size=5), st.data())
def test_what_is_sealed_is_opened_where_it_was_and_as_it_was(content: bytes, at: str, data: st.DataObject) -> None:
    stored = seal(content, at)
    bit = data.draw(st.integers(0, 8 * len(stored) - 1))
    spoilt = bytearray(stored)
    spoilt[bit // 8] ^= 1 << bit % 8

    assert unseal(stored, at) == content
    for other, where in [(bytes(spoilt), at), (stored, at + "x"), (stored[:-1], at), (b"", at)]:
        with pytest.raises(DataLoss):
            unseal(other, where)


@pytest.mark.parametrize("stored", [b"", RECORD.encode()[:-1], RECORD.encode() + b" "])
def test_a_record_that_does_not_verify_is_data_loss(stored: bytes) -> None:
    with pytest.raises(DataLoss) as caught:
        Record.decode(stored, RECORD.checkpoint_id)

    assert caught.value.reason == "CHECKPOINT_CORRUPT"


@given(ENTRIES)
def test_a_document_gives_back_the_entries(entries: list[Entry]) -> None:
    assert list(entries_of(NAMESPACE, document(entries))) == entries


def test_a_document_knows_where_a_value_is_and_no_other_mark() -> None:
    text = marks.Pointer("name", 3, "00", archived=False).text
    stored = document([entry(value=b"", labels={marks.BLOB: text, marks.UPDATES: "3", "a": "b"})])

    (back,) = entries_of(NAMESPACE, stored)

    assert back.labels == {marks.BLOB: text, "a": "b"}


def test_values_come_first_so_that_a_document_grows_as_its_state_does() -> None:
    assert document([entry(value=b"first"), entry(value=b"second")]).startswith(b"firstsecond")


@given(ENTRIES, st.data())
def test_a_cut_document_is_data_loss(entries: list[Entry], data: st.DataObject) -> None:
    stored = document(entries)
    cut = stored[: data.draw(st.integers(0, len(stored) - 1))]

    with pytest.raises(DataLoss) as caught:
        entries_of(NAMESPACE, cut + b"\xff\xff\xff\xff")

    assert caught.value.reason == "CHECKPOINT_CORRUPT"


@given(IDS, IDS)
def test_inverted_ids_sort_the_other_way_round(one: str, other: str) -> None:
    assert (ledger.inverted(one) < ledger.inverted(other)) == (one > other)
    assert ledger.inverted(ledger.inverted(one)) == one


def test_ids_sort_by_time_and_are_recognised() -> None:
    ids = [ledger.checkpoint_id(NOW + n, 99 - n) for n in range(5)]

    assert sorted(ids) == ids
    assert all(map(ledger.is_checkpoint_id, ids))
    assert int(ids[3][:12], 16) == NOW + 3
    assert not any(
        map(ledger.is_checkpoint_id, ["", ids[0][1:], ids[0] + "0", "g" + ids[0][1:], ids[0].upper()[:-1] + "A"])
    )


def test_names_of_the_ledger_keep_namespaces_keys_and_prefixes_apart() -> None:
    scopes = [("a", "b", None), ("a", None, "b"), ("a", "", None), ("a", None, ""), ("ab", None, ""), ("a", "=b", None)]

    names = [ledger.index_of(*scope) for scope in scopes]

    assert len(set(names)) == len(names)
    assert not any(one != other and other.startswith(one) for one in names for other in names)


def test_each_fifth_change_leaves_a_checkpoint_in_the_same_commit() -> None:
    assert [count for count in range(1, 16) if counted(count)[1]] == [5, 10, 15]


def test_a_checkpoint_made_by_a_commit_holds_what_was_committed() -> None:
    made, rows = counted(5, value=b"state")
    checkpoint = ledger.checkpoint_id(NOW, 10 << 16)
    by_key = {row.key: row.value for row in rows}
    record = Record.decode(by_key[ledger.checkpoint_key(NAMESPACE, checkpoint)], checkpoint)

    assert {row.namespace for row in rows} == {ledger.LEDGER}
    assert record == Record(
        checkpoint_id=checkpoint,
        namespace=NAMESPACE,
        key="key",
        create_time=NOW,
        entry_count=1,
        value_bytes=5,
        automatic=True,
    )
    assert set(by_key) == {
        ledger.checkpoint_key(NAMESPACE, checkpoint),
        ledger.waiting_key(NAMESPACE, checkpoint),
        record.index_key,
    }
    waiting = ledger.waiting_key(NAMESPACE, checkpoint)
    (kept,) = entries_of(NAMESPACE, unseal(by_key[waiting], waiting))
    assert kept == made._replace(labels={})


def test_a_checkpoint_of_a_value_in_cold_holds_its_blob() -> None:
    pointer = marks.Pointer("store/name", 7, "00", archived=False)
    away = entry(value=b"", version=3, labels={marks.BLOB: pointer.text, marks.UPDATES: "5"})

    rows = checkpoints.automatic(away, now=NOW, place=2, value_bytes=0)

    assert ledger.hold_key("store/name", ledger.checkpoint_id(NOW, 3 << 16 | 2)) in {row.key for row in rows}


def test_every_change_of_a_transaction_counts_for_its_own_key() -> None:
    asked = replace(
        write(Put(key="a", value=b"v"), Change(key="b", change=Increment(delta=1), create=True)), checkpoint_every=1
    )

    decided = decide(asked, {}, now=NOW, version=version_of(1, 10))

    assert len({row.key for row in decided.quiet}) == len(decided.quiet) == 6


VERSIONS = st.integers(1, (1 << 48) - 1)


@given(VERSIONS, VERSIONS, st.integers(0, 99))
def test_ids_of_a_millisecond_sort_by_the_state_that_they_are_of(one: int, other: int, place: int) -> None:
    def made_by_a_commit(version: int) -> str:
        rows = checkpoints.automatic(entry(version=version), now=NOW, place=place, value_bytes=1)
        return rows[0].key.rpartition(ledger.SEPARATOR)[2].translate(ledger._INVERTED)

    low, high = sorted((one, other))
    ids = [made_by_a_commit(low), asked_id(NOW, low, after=""), restore_point(NOW, low)]
    if low < high:
        ids += [made_by_a_commit(high), asked_id(NOW, high, after="")]

    assert ids == sorted(set(ids))


@given(IDS, VERSIONS)
def test_an_id_is_above_the_one_that_it_follows_and_never_one_that_a_commit_makes(after: str, version: int) -> None:
    made = asked_id(NOW, version, after=after)

    assert made > after
    assert int(made, 16) & 0xFFFF >= 0x8000 or after[-4:] == "ffff"


def test_what_a_checkpoint_continues() -> None:
    first, point, later = (ledger.checkpoint_id(NOW + n, 0) for n in range(3))
    mark = restored_mark(first, point)

    assert [parent_of("", ""), parent_of("", later), parent_of(mark, "")] == ["", later, first]
    assert [parent_of(mark, first), parent_of(mark, point), parent_of(mark, later)] == [first, first, later]


LINKS = st.builds(
    Link,
    depth=st.integers(0, 60),
    chain_bytes=st.integers(0, 1 << 30),
    anchor=st.sampled_from(["", "0a" * 16]),
    anchor_depth=st.integers(0, 60),
    anchor_bytes=st.integers(0, 1 << 30),
)
CONTENTS = st.builds(
    Content,
    content_id=st.just("ab" * 16),
    size=st.integers(0, 1 << 30),
    link=LINKS,
    bases=st.lists(st.binary(min_size=16, max_size=16).map(bytes.hex), max_size=BASES_MAX).map(tuple),
    blob=st.text("0123456789abcdef/", max_size=40),
    data=st.binary(max_size=40),
)


@given(CONTENTS)
def test_a_row_of_a_content_survives_storage(content: Content) -> None:
    assert Content.decode(content.encode(), content.content_id) == content
    assert content.base_id == (content.bases[0] if content.bases else "")


@given(st.binary(max_size=80))
def test_a_row_of_a_content_in_no_known_form_is_data_loss(data: bytes) -> None:
    with contextlib.suppress(DataLoss):
        Content.decode(seal(data, "ab"), "ab")


def test_contents_are_named_by_namespace_secret_and_bytes() -> None:
    named = {
        content_id(secret, namespace, content)
        for secret in (b"1", b"2")
        for namespace in ("a", "b")
        for content in (b"", b"x")
    }

    assert len(named) == 8
    assert {len(name) for name in named} == {32}


def test_a_check_of_the_ledger_is_about_another_namespace() -> None:
    ours = Check(key="i/name", expected_version=1, ledger=True)
    asked = Write(namespace=NAMESPACE, operations=(ours, Check(key="k", expected_version=1)), value_bytes_max=1)

    assert [asked.scope(operation) for operation in asked.operations] == [ledger.LEDGER, NAMESPACE]
