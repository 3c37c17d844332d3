"""Records and documents of checkpoints, the ledger's names, and the checkpoints that a commit makes by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import checkpoints, ledger, marks
from sidecar.core.checkpoints import Record, document, entries_of
from sidecar.core.entry import Entry, version_of
from sidecar.core.errors import DataLoss
from sidecar.core.operations import Change, Check, Increment, Put, Write, decide
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
    assert Record.decode(RECORD.encode()) == RECORD


@pytest.mark.parametrize("stored", [b"", b"[]", b"{}", b'{"checkpoint_id": 1}', b"\xff", RECORD.encode()[:-1]])
def test_a_record_that_does_not_verify_is_data_loss(stored: bytes) -> None:
    with pytest.raises(DataLoss) as caught:
        Record.decode(stored)

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
    assert ledger.time_of(ids[3]) == NOW + 3
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
    checkpoint = ledger.checkpoint_id(NOW, made.version)
    by_key = {row.key: row.value for row in rows}
    record = Record.decode(by_key[ledger.checkpoint_key(NAMESPACE, checkpoint)])

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
    (kept,) = entries_of(NAMESPACE, by_key[ledger.waiting_key(NAMESPACE, checkpoint)])
    assert kept == made._replace(labels={})


def test_a_checkpoint_of_a_value_in_cold_holds_its_blob() -> None:
    pointer = marks.Pointer("store/name", 7, "00", archived=False)
    away = entry(value=b"", version=3, labels={marks.BLOB: pointer.text, marks.UPDATES: "5"})

    rows = checkpoints.automatic(away, now=NOW)

    assert ledger.hold_key("store/name", ledger.checkpoint_id(NOW, 3)) in {row.key for row in rows}


def test_every_change_of_a_transaction_counts_for_its_own_key() -> None:
    asked = replace(
        write(Put(key="a", value=b"v"), Change(key="b", change=Increment(delta=1), create=True)), checkpoint_every=1
    )

    decided = decide(asked, {}, now=NOW, version=version_of(1, 10))

    assert len(decided.quiet) == 6


def test_a_check_of_the_ledger_is_about_another_namespace() -> None:
    ours = Check(key="i/name", expected_version=1, ledger=True)
    asked = Write(namespace=NAMESPACE, operations=(ours, Check(key="k", expected_version=1)), value_bytes_max=1)

    assert [asked.scope(operation) for operation in asked.operations] == [ledger.LEDGER, NAMESPACE]
