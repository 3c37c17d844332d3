"""What goes into a row comes out of it exactly, or not at all."""

from __future__ import annotations

import errno
import sqlite3
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.errors import (
    DataLoss,
    Decision,
    Defect,
    FailedPrecondition,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    SidecarError,
    StoreUnavailable,
    VersionConflict,
)
from sidecar.core.operations import OperationResult, WriteId
from sidecar.core.store import Outcome, PrefixProgress
from sidecar.stores.ranges import key_range
from sidecar.stores.sqlite import errors, outcomes, rows
from sidecar.stores.sqlite.queries import load, query, schema
from tests.support.factories import entry, request

texts = st.text(st.characters(exclude_categories=["Cs"]))
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
numbers = st.integers(0, 2**63 - 1)
entries = st.builds(
    Entry,
    namespace=keys,
    key=keys,
    value=st.binary(),
    version=numbers,
    create_time=numbers,
    update_time=numbers,
    expire_time=st.none() | numbers,
    ttl_ms=st.none() | numbers,
    content_type=texts,
    schema_version=st.integers(0, 2**32 - 1),
    labels=st.dictionaries(texts, texts, max_size=3),
)
tombstones = st.builds(Tombstone, namespace=keys, key=keys, version=numbers, delete_time=numbers)


def database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in schema():
        connection.execute(statement)
    return connection


def loaded(connection: sqlite3.Connection, copy: Copy, statement: str = "load entries") -> Any:
    at = (copy.namespace.encode(), copy.key.encode())
    return load(connection, statement, [at])[at]


@given(copy=entries | tombstones)
def test_a_copy_comes_back_exactly(copy: Copy) -> None:
    connection = database()
    connection.execute(query("store entry"), rows.encode(copy))

    assert rows.decode(copy.namespace, copy.key, loaded(connection, copy)) == copy
    connection.close()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 63, 64, 65, 200])
def test_any_number_of_rows_is_loaded_at_once(count: int) -> None:
    connection = database()
    copies = [entry(key=f"{n}", version=n) for n in range(300)]
    connection.executemany(query("store entry"), [rows.encode(copy) for copy in copies])
    wanted = [(b"contract", b"%d" % (n * 2)) for n in range(count)]

    found = load(connection, "load headers", wanted)

    assert {int(key): row[0] for (_, key), row in found.items()} == {n * 2: n * 2 for n in range(min(count, 150))}
    connection.close()


def named(copy: Copy) -> Copy:
    if isinstance(copy, Entry):
        return copy._replace(namespace="n", key="k")
    return replace(copy, namespace="n", key="k")


@given(first=entries | tombstones, second=entries | tombstones)
def test_a_later_state_replaces_every_column(first: Copy, second: Copy) -> None:
    connection = database()
    second = named(second)
    first = named(first)
    connection.executemany(query("store entry"), [rows.encode(first), rows.encode(second)])

    assert rows.decode("n", "k", loaded(connection, second)) == second
    assert connection.execute("SELECT count(*) FROM entries").fetchone() == (1,)
    connection.close()


@given(copy=entries, end=st.none() | numbers, ttl=st.none() | numbers)
def test_a_moved_end_changes_nothing_else(copy: Entry, end: int | None, ttl: int | None) -> None:
    connection = database()
    connection.execute(query("store entry"), rows.encode(copy))

    moved = rows.moved(loaded(connection, copy, "load headers"), copy.namespace, copy.key, end, ttl)
    connection.execute(query("store end"), rows.encode_end(moved, copy.namespace, copy.key))

    found = rows.decode(copy.namespace, copy.key, loaded(connection, copy))
    assert found == copy._replace(expire_time=end, ttl_ms=ttl)
    connection.close()


@pytest.mark.parametrize("column", range(12))
@pytest.mark.parametrize("wrong", [None, 7, b"wrong", "wrong", 1.5], ids=repr)
def test_a_changed_column_never_passes(column: int, wrong: object) -> None:
    copy = entry(labels={"a": "b"}, content_type="text/plain", expire_time=5, ttl_ms=6)
    row = list(rows.encode(copy)[2:])
    assert row[column] != wrong or row[column] is wrong
    if row[column] is wrong:
        wrong = 8
    row[column] = wrong

    with pytest.raises(DataLoss) as caught:
        rows.decode(copy.namespace, copy.key, row)

    assert caught.value.metadata == {"namespace": copy.namespace, "key": copy.key}


def test_a_row_of_another_key_never_passes() -> None:
    row = rows.encode(entry(key="one"))[2:]

    with pytest.raises(DataLoss):
        rows.decode(entry().namespace, "two", row)
    with pytest.raises(DataLoss):
        rows.decode("another", "one", row)


def test_the_value_of_another_row_never_passes() -> None:
    one, two = rows.encode(entry(value=b"one"))[2:], rows.encode(entry(value=b"two"))[2:]

    with pytest.raises(DataLoss):
        rows.decode(entry().namespace, "key", (*one[:-1], two[-1]))


results = st.builds(
    OperationResult,
    found=st.booleans(),
    version=numbers,
    expire_time=st.none() | numbers,
    value=st.none() | st.binary(),
)


def stored(recorded: outcomes.Recorded, identity: WriteId) -> tuple[Any, ...]:
    _, _, fingerprint, create_time, checksum, outcome, returned = outcomes.encode("n", identity, recorded, 5)
    return (fingerprint, create_time, outcome, returned, checksum)


@given(version=numbers, results=st.lists(results, max_size=4).map(tuple))
def test_an_outcome_comes_back_exactly(version: int, results: tuple[OperationResult, ...]) -> None:
    row = stored(Outcome(version=version, results=results), request("r"))

    assert outcomes.decode("n", request("r"), row) == Outcome(version=version, results=results, replayed=True)


@pytest.mark.parametrize(
    "refusal",
    [
        VersionConflict(key="é\0", expected_version=1, current_version=2**62),
        FailedPrecondition("no", reason="KEY_NOT_FOUND", metadata={"operation": "3"}),
        InvalidRequest("no", reason="VALUE_TOO_LARGE", field="operation", metadata={"a": "b"}),
    ],
    ids=lambda refusal: type(refusal).__name__,
)
def test_a_refusal_comes_back_exactly(refusal: Decision) -> None:
    found = outcomes.decode("n", request("r"), stored(refusal, request("r")))

    assert type(found) is type(refusal)
    assert found is not refusal
    assert vars(found) == vars(refusal)


@pytest.mark.parametrize("after", [None, "", "key\0"])
def test_progress_comes_back_exactly(after: str | None) -> None:
    progress = outcomes.Progress(PrefixProgress(horizon=2**60, deleted_count=7, done=False), after)

    assert outcomes.decode("n", request("r"), stored(progress, request("r"))) == progress


@pytest.mark.parametrize("column", range(5))
def test_a_changed_record_never_passes(column: int) -> None:
    result = OperationResult(found=True, version=3, value=b"4")
    row = list(stored(Outcome(version=3, results=(result,)), request("r")))
    row[column] = row[column] + 1 if isinstance(row[column], int) else row[column][:-1]

    with pytest.raises(DataLoss):
        outcomes.decode("n", request("r"), row)


def test_a_record_with_another_fingerprint_is_reused() -> None:
    row = stored(Outcome(version=3, results=()), request("r"))

    with pytest.raises(InvalidRequest, match="fresh"):
        outcomes.decode("n", request("r", "another body"), row)


@given(prefix=texts, after=st.none() | keys, key=keys)
def test_a_range_holds_what_begins_with_the_prefix_and_comes_after(prefix: str, after: str | None, key: str) -> None:
    lower, upper = key_range(prefix, after)

    for candidate in (key, prefix + key, prefix, after or key):
        within = candidate.startswith(prefix) and (after is None or candidate.encode() > after.encode())
        assert (lower <= candidate.encode() < upper) == within


# Errors.

NOTHING_WRITTEN: dict[int, tuple[type[SidecarError], str]] = {
    sqlite3.SQLITE_FULL: (LimitExceeded, "STORAGE_FULL"),
    sqlite3.SQLITE_CORRUPT: (DataLoss, "STORE_CORRUPT"),
    sqlite3.SQLITE_CORRUPT_INDEX: (DataLoss, "STORE_CORRUPT"),
    sqlite3.SQLITE_NOTADB: (DataLoss, "STORE_CORRUPT"),
    sqlite3.SQLITE_IOERR_CORRUPTFS: (DataLoss, "STORE_CORRUPT"),
    sqlite3.SQLITE_READONLY: (StoreUnavailable, "STORAGE_READ_ONLY"),
    sqlite3.SQLITE_READONLY_DIRECTORY: (StoreUnavailable, "STORAGE_READ_ONLY"),
    sqlite3.SQLITE_BUSY: (StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
    sqlite3.SQLITE_BUSY_SNAPSHOT: (StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
    sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
    sqlite3.SQLITE_IOERR_READ: (StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
    sqlite3.SQLITE_IOERR_FSYNC: (StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
    sqlite3.SQLITE_NOMEM: (StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
    sqlite3.SQLITE_TOOBIG: (InvalidRequest, "VALUE_TOO_LARGE"),
    sqlite3.SQLITE_ERROR: (Defect, "INTERNAL"),
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: (Defect, "INTERNAL"),
    sqlite3.SQLITE_MISUSE: (Defect, "INTERNAL"),
}
NOT_COMMITTED = [
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_BUSY_TIMEOUT,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
]
UNKNOWN = [
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_MISUSE,
]


def failure(code: int | None) -> sqlite3.Error:
    error = sqlite3.OperationalError("said SQLite")
    if code is not None:
        error.sqlite_errorcode, error.sqlite_errorname = code, f"CODE_{code}"
    return error


@pytest.mark.parametrize("code", NOTHING_WRITTEN)
def test_an_error_before_the_commit(code: int) -> None:
    error = errors.store_error(failure(code))

    assert isinstance(error, NOTHING_WRITTEN[code][0])
    assert error.reason == NOTHING_WRITTEN[code][1]
    assert error.metadata["sqlite"] == f"CODE_{code}"


@pytest.mark.parametrize("code", NOT_COMMITTED)
def test_an_error_of_a_commit_that_did_not_land(code: int) -> None:
    assert type(errors.commit_error(failure(code))) is type(errors.store_error(failure(code)))


@pytest.mark.parametrize("code", [*UNKNOWN, None])
def test_an_error_of_a_commit_that_may_have_landed(code: int | None) -> None:
    assert isinstance(errors.commit_error(failure(code)), OutcomeUnknown)


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (errno.ENOSPC, LimitExceeded, "STORAGE_FULL"),
        (errno.EDQUOT, LimitExceeded, "STORAGE_FULL"),
        (errno.EFBIG, LimitExceeded, "STORAGE_FULL"),
        (errno.EROFS, StoreUnavailable, "STORAGE_READ_ONLY"),
        (errno.EACCES, StoreUnavailable, "STORAGE_READ_ONLY"),
        (errno.EIO, StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
        (errno.EMFILE, StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
    ],
)
def test_an_error_of_the_file_system(number: int, kind: type[SidecarError], reason: str) -> None:
    error = errors.store_error(OSError(number, "said the system"))

    assert isinstance(error, kind)
    assert error.reason == reason
