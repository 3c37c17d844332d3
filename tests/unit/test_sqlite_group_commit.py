"""Works that wait together share a commit and nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.errors import (
    DeadlineExceeded,
    Defect,
    FailedPrecondition,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    SidecarError,
    VersionConflict,
)
from sidecar.core.operations import Change, Increment, MergePatch, Put, Remove, Write
from sidecar.core.store import Outcome, SweepOrder, Touch
from sidecar.stores.sqlite import SqliteStore, writer
from sidecar.stores.sqlite.transaction import Transaction
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, request, write


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@asynccontextmanager
async def opened(path: Path, clock: ManualClock, **options: Any) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock=clock, **options)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    async with opened(tmp_path / "state.db", clock) as store:
        yield store


async def together(store: SqliteStore, *writes: Write) -> list[Any]:
    """Commit in one iteration of the event loop, so in one batch: an Outcome each, or what was raised."""
    return await asyncio.gather(*[store.commit(one) for one in writes], return_exceptions=True)


def put(key: str, value: bytes = b"value", **fields: object) -> Write:
    return write(Put(key=key, value=value), **fields)


async def values(store: SqliteStore, *keys: str) -> list[bytes | None]:
    return [getattr(copy, "value", None) for copy in await store.get(NAMESPACE, keys)]


async def test_writes_that_wait_together_share_one_commit(store: SqliteStore) -> None:
    before = store.commits

    outcomes = await together(store, *[put(f"{n}") for n in range(100)])

    assert store.commits == before + 1
    assert len({outcome.version for outcome in outcomes}) == 100


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads change so often that a writer which is woken too early commits too little."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
async def test_waiting_writers_fall_into_step(store: SqliteStore) -> None:
    """32 callers that each write again when they were answered: no commit is for a straggler alone."""

    async def caller(number: int) -> None:
        for _ in range(10):
            await store.commit(put(f"{number}"))

    before = store.commits
    await asyncio.gather(*[caller(n) for n in range(32)])

    assert store.commits - before == 10


async def test_a_batch_is_bounded(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path / "state.db", clock, batch_max=10) as store:
        before = store.commits

        await together(store, *[put(f"{n}") for n in range(100)])

        assert store.commits == before + 10


async def test_a_batch_is_bounded_in_bytes(store: SqliteStore) -> None:
    before = store.commits

    await together(store, *[put(f"{n}", bytes(writer.BATCH_BYTES_MAX // 4)) for n in range(9)])

    assert store.commits == before + 3


async def test_each_write_of_a_batch_has_its_own_fate(store: SqliteStore, clock: ManualClock) -> None:
    held = (await store.commit(put("held"))).version
    clock.advance(1000)
    before = store.commits

    answers = await together(
        store,
        put("first"),
        write(Put(key="held", value=b"lost", expected_version=held + 1)),
        write(Change(key="absent", change=Increment(delta=1))),
        put("late", deadline=1.0),
        write(Put(key="held", value=b"won", expected_version=held)),
        write(Put(key="a", value=b""), Put(key="held", value=b"", expected_version=held)),
        put("last"),
    )

    assert [type(answer) for answer in answers] == [
        Outcome,
        VersionConflict,
        FailedPrecondition,
        DeadlineExceeded,
        Outcome,
        VersionConflict,
        Outcome,
    ]
    assert await values(store, "first", "held", "late", "a", "last") == [b"value", b"won", None, None, b"value"]
    assert store.commits == before + 1


async def test_writes_of_a_batch_see_those_before_them(store: SqliteStore) -> None:
    increment = write(Change(key="n", change=Increment(delta=1), create=True, return_value=True))

    outcomes = await together(
        store, increment, increment, write(Remove(key="n")), increment, put("n", b"40"), increment, increment
    )

    returned = [result.value for outcome in outcomes for result in outcome.results]
    assert returned == [b"1", b"2", None, b"1", None, b"41", b"42"]
    versions = [outcome.version for outcome in outcomes]
    assert versions == sorted(set(versions))
    assert await values(store, "n") == [b"42"]


async def test_a_value_is_loaded_for_a_change_even_after_a_write_that_needs_none(store: SqliteStore) -> None:
    await store.commit(put("n", b"1"))

    await together(store, write(Put(key="other", value=b"", expected_version=0)), write(Remove(key="absent")))
    (touched,) = await store.touch(NAMESPACE, [Touch(key="n", ttl_ms=10)], announce=False)
    _, outcome = await together(
        store,
        write(Put(key="n", value=b"x", expected_version=7)),
        write(Change(key="n", change=Increment(delta=1), return_value=True)),
    )

    assert touched.found
    assert outcome.results[0].value == b"2"


async def test_equal_requests_of_one_batch_are_applied_once(store: SqliteStore) -> None:
    increment = write(Change(key="n", change=Increment(delta=1), create=True, return_value=True), request=request("r"))

    first, second, reused = await together(store, increment, increment, put("n", request=request("r", "another")))

    assert (first.replayed, second.replayed) == (False, True)
    assert (first.version, first.results) == (second.version, second.results)
    assert isinstance(reused, InvalidRequest)
    assert reused.reason == "REQUEST_ID_REUSED"
    assert await values(store, "n") == [b"1"]


async def test_an_equal_refused_request_of_one_batch_is_refused(store: SqliteStore) -> None:
    guarded = write(Put(key="key", value=b"", expected_version=5), request=request("r"))

    first, created, second = await together(store, guarded, put("key"), guarded)

    assert isinstance(created, Outcome)
    for refusal in (first, second):
        assert isinstance(refusal, VersionConflict)
        assert (refusal.key, refusal.expected_version, refusal.current_version) == ("key", 5, 0)


async def test_a_batch_of_refusals_commits_nothing(store: SqliteStore) -> None:
    before = store.commits

    await together(store, *[write(Put(key="key", value=b"", expected_version=5)) for _ in range(3)])

    assert store.commits == before


async def test_other_works_share_the_commit_and_keep_their_place(store: SqliteStore, clock: ManualClock) -> None:
    await store.commit(write(Put(key="ended", value=b"", ttl_ms=10)))
    clock.advance(10)
    before = store.commits

    _, (touched,), swept, generation, _, progress = await asyncio.gather(
        store.commit(put("a1")),
        store.touch(NAMESPACE, [Touch(key="a1", ttl_ms=1000)], announce=True),
        store.sweep(SweepOrder(limit=10, tombstone_retention_ms=1000, request_retention_ms=1000)),
        store.cache_generation("cache"),
        store.commit(put("a2")),
        store.delete_prefix(NAMESPACE, "a", limit=10, request=None, progress=None),
    )

    assert touched.found
    assert [grave.key for grave in swept.expired] == ["ended"]
    assert generation == 1
    assert progress.deleted_count == 2
    assert store.commits == before + 1


async def test_the_wal_is_bounded_even_where_a_reader_holds_it(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "COMMITS_PER_WAL_CHECK", 1)
    monkeypatch.setattr(writer, "WAL_BYTES_MAX", 100_000)
    wal = tmp_path / "state.db-wal"
    holder = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    holder.execute("BEGIN")
    holder.execute("SELECT * FROM meta").fetchall()

    await store.commit(put("large", bytes(200_000)))
    assert wal.stat().st_size > 100_000
    holder.close()
    await store.commit(put("another"))
    assert wal.stat().st_size == 0

    assert await values(store, "another") == [b"value"]


async def test_a_deletion_by_prefix_goes_on_where_it_was_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path / "state.db", clock) as store:
        await together(store, *[put(f"a{n}") for n in range(8)], put("b"))
        first = await store.delete_prefix(NAMESPACE, "a", limit=3, request=request("r"), progress=None)
    assert (first.deleted_count, first.done) == (3, False)

    async with opened(tmp_path / "state.db", clock) as store:
        await store.commit(put("a7"))  # is newer than the deletion
        await store.commit(put("a00"))
        rest = [
            await store.delete_prefix(NAMESPACE, "a", limit=3, request=request("r"), progress=None) for _ in range(3)
        ]
        page = await store.scan(NAMESPACE, "", after=None, limit=10, bytes_max=1 << 20, keys_only=True)

    assert [each.horizon for each in rest] == [first.horizon] * 3
    assert [(each.deleted_count, each.done) for each in rest] == [(6, False), (7, True), (7, True)]
    assert [entry.key for entry in page.entries] == ["a00", "a7", "b"]


async def test_a_work_with_a_defect_fails_alone(store: SqliteStore) -> None:
    broken = write(Change(key="n", change=MergePatch(patch={"a": object()}), create=True))

    first, defect, last = await together(store, put("first"), broken, put("last"))

    assert isinstance(first, Outcome)
    assert isinstance(defect, Defect)
    assert isinstance(last, Outcome)
    assert await values(store, "first", "n", "last") == [b"value", None, b"value"]


async def test_a_full_queue_refuses_and_writes_nothing(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path / "state.db", clock, queue_max=4) as store:
        answers = await together(store, *[put(f"{n}") for n in range(6)])

        assert [type(answer) for answer in answers] == [Outcome] * 4 + [LimitExceeded] * 2
        assert answers[-1].reason == "QUEUE_FULL"
        assert await values(store, "3", "4") == [b"value", None]
        assert isinstance(await store.commit(put("4")), Outcome)


async def test_a_full_queue_of_reads_refuses(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path / "state.db", clock, queue_max=4) as store:
        await store.get(NAMESPACE, ["key"])

        answers = await asyncio.gather(*[store.get(NAMESPACE, ["key"]) for _ in range(6)], return_exceptions=True)

        assert [type(answer) for answer in answers] == [list] * 4 + [LimitExceeded] * 2


async def test_the_queue_is_bounded_in_bytes(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "QUEUE_BYTES_MAX", 1000)

    answers = await together(store, put("large", bytes(5000)), put("small"))

    assert [type(answer) for answer in answers] == [Outcome, LimitExceeded]


async def test_a_cancelled_caller_does_not_stop_the_commit(store: SqliteStore) -> None:
    cancelled = asyncio.create_task(store.commit(put("cancelled")))
    other = asyncio.create_task(store.commit(put("other")))
    await asyncio.sleep(0)

    cancelled.cancel()

    assert isinstance(await other, Outcome)
    assert cancelled.cancelled()
    assert await values(store, "cancelled") == [b"value"]


async def test_a_read_whose_deadline_has_passed_is_refused(store: SqliteStore, clock: ManualClock) -> None:
    clock.advance(2000)

    with pytest.raises(DeadlineExceeded):
        await store.get(NAMESPACE, ["key"], deadline=2.0)
    assert await store.get(NAMESPACE, ["key"], deadline=2.1) == [None]


def failing_commit(code: int) -> Callable[[Transaction], None]:
    def commit(_: Transaction) -> None:
        error = sqlite3.OperationalError("injected")
        error.sqlite_errorcode = code
        error.sqlite_errorname = "INJECTED"
        raise error

    return commit


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_INTERNAL])
async def test_a_commit_that_may_have_landed_is_told_as_unknown(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    version = (await store.commit(put("key"))).version
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "commit", failing_commit(code))
        answers = await together(
            store,
            put("a", request=request("r")),
            write(Put(key="key", value=b"", expected_version=version + 1)),
            put("late", deadline=0.0),
        )

    assert [type(answer) for answer in answers] == [OutcomeUnknown, OutcomeUnknown, DeadlineExceeded]
    outcome = await store.commit(put("a", request=request("r")))
    assert not outcome.replayed
    assert await values(store, "a", "key") == [b"value", b"value"]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE])
async def test_a_commit_that_did_not_land_is_told_so(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "commit", failing_commit(code))
        answers = await together(store, put("a", request=request("r")), put("b"))

    for answer in answers:
        assert isinstance(answer, SidecarError)
        assert not isinstance(answer, OutcomeUnknown)
    assert answers[0] is not answers[1]
    assert await values(store, "a", "b") == [None, None]
    assert not (await store.commit(put("a", request=request("r")))).replayed
