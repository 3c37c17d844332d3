"""Writes that wait together share a transaction and keep their own outcomes."""

from __future__ import annotations

import asyncio
import os

import pytest

from sidecar.core.entry import Entry
from sidecar.core.errors import DeadlineExceeded, InvalidRequest, LimitExceeded, VersionConflict
from sidecar.core.operations import Check, Put, Remove
from sidecar.core.store import Outcome
from sidecar.stores.postgres import PostgresStore
from sidecar.stores.postgres.store import VALUE_BYTES_MAX
from tests.stores.postgres.conftest import Opener, Place, add_one, put, together, value, values
from tests.support.factories import NAMESPACE, request, write


async def test_concurrent_writes_share_commits(store: PostgresStore) -> None:
    commits, works = store.commits, store.works

    await together(store, *[put(f"{n}") for n in range(100)])

    assert store.works - works == 100
    assert store.commits - commits <= 10


async def test_a_write_alone_does_not_wait_for_company(store: PostgresStore) -> None:
    commits = store.commits
    for n in range(5):
        await store.commit(put(f"{n}"))

    assert store.commits - commits == 5


async def test_a_group_is_at_most_batch_max(place: Place, open_store: Opener) -> None:
    store = await open_store(place, batch_max=1)
    commits = store.commits

    await together(store, *[put(f"{n}") for n in range(20)])

    assert store.commits - commits == 20


async def test_each_keeps_its_own_outcome(store: PostgresStore) -> None:
    version = (await store.commit(put("there", b"1"))).version
    first, second, lost, gone, checked, late = await together(
        store,
        add_one(key="there"),
        add_one(key="there"),
        put("there", expected_version=version),
        write(Remove(key="missing")),
        write(Check(key="missing", expected_version=0), Put(key="new", value=b"new")),
        put("late", deadline=0.0),
    )

    assert isinstance(first, Outcome)
    assert isinstance(second, Outcome)
    assert (first.results[0].value, second.results[0].value) == (b"2", b"3")
    assert isinstance(lost, VersionConflict)
    assert lost.current_version == second.version
    assert isinstance(gone, Outcome)
    assert (gone.version, gone.results[0].found) == (0, False)
    assert isinstance(checked, Outcome)
    assert isinstance(late, DeadlineExceeded)
    assert await values(store, ["there", "new", "late"]) == [b"3", b"new", None]


async def test_a_key_written_over_and_over_in_one_group_ends_as_the_last_left_it(store: PostgresStore) -> None:
    await together(
        store, put("key", b"1"), write(Remove(key="key")), put("key", b"2", expected_version=0), put("key", b"3")
    )

    assert await value(store, "key") == b"3"


async def test_what_one_statement_can_not_take_fails_alone(
    place: Place, store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is: here a rule of the operator's own."""
    await store.commit(put("warm"))
    place.execute("ALTER TABLE {schema}.entries ADD CONSTRAINT whim CHECK (octet_length(value) <> 13)")

    answers = await together(store, *[put(f"{n}", b"x" * n) for n in range(20)])

    failed = [n for n, answer in enumerate(answers) if not isinstance(answer, Outcome)]
    assert failed == [13]
    assert await values(store, [f"{n}" for n in range(20)]) == [None if n == 13 else b"x" * n for n in range(20)]
    assert not caplog.records


async def test_a_value_beyond_the_stores_bound_is_refused_and_the_others_land(store: PostgresStore) -> None:
    large = bytes(VALUE_BYTES_MAX + 1)

    answers = await together(store, put("a"), put("large", large), put("b"))

    assert [type(answer) for answer in answers] == [Outcome, InvalidRequest, Outcome]
    assert isinstance(answers[1], InvalidRequest)
    assert answers[1].reason == "VALUE_TOO_LARGE"


async def test_the_largest_value_comes_back(place: Place, open_store: Opener) -> None:
    store = await open_store(place)
    largest = os.urandom(1 << 20) * (VALUE_BYTES_MAX >> 20)  # its repetitions are too far apart for a compression

    await store.commit(put("largest", largest))

    (entry,) = await store.get(NAMESPACE, ["largest"])
    assert isinstance(entry, Entry)
    assert entry.value == largest


async def test_beyond_the_queue_writes_are_refused(place: Place, open_store: Opener) -> None:
    store = await open_store(place, queue_max=10)

    answers = await together(store, *[put(f"{n}") for n in range(30)])

    assert [type(answer) for answer in answers].count(LimitExceeded) == 20
    assert len([one for one in await values(store, [f"{n}" for n in range(30)]) if one]) == 10


async def test_closing_finishes_what_was_accepted(place: Place, open_store: Opener) -> None:
    store = await open_store(place, batch_max=4)
    writes = [asyncio.ensure_future(store.commit(put(f"{n}"))) for n in range(50)]
    reads = [asyncio.ensure_future(store.get(NAMESPACE, [f"{n}"])) for n in range(50)]
    await asyncio.sleep(0)

    await store.close()

    assert all(isinstance(task.result(), Outcome) for task in writes)
    assert all(task.done() for task in reads)


async def test_lanes_of_a_store_do_not_race_each_other(place: Place, open_store: Opener) -> None:
    """What one lane holds, a key or a request id, no other takes: the server would refuse the second."""
    store = await open_store(place, batch_max=2, lanes=8)
    log = place.server.directory / "log"
    refused = log.read_text().count("duplicate key")

    for turn in range(5):
        await together(store, *[add_one(key=f"{turn}") for _ in range(40)])
        await together(store, *[add_one(f"{turn}", key=f"{turn} {n}") for n in range(20)])

    assert [await value(store, f"{turn}") for turn in range(5)] == [b"40"] * 5
    assert log.read_text().count("duplicate key") == refused


async def test_concurrent_gets_share_round_trips(place: Place, store: PostgresStore) -> None:
    await together(store, *[put(f"{n}", b"%d" % n) for n in range(200)])
    await store.get(NAMESPACE, ["0"])
    place.server.execute("SELECT pg_stat_force_next_flush()")

    answers = await asyncio.gather(*[store.get(NAMESPACE, [f"{n}", "missing"]) for n in range(200)])

    assert [[getattr(copy, "value", None) for copy in answer] for answer in answers] == [
        [b"%d" % n, None] for n in range(200)
    ]


@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "not prepared"])
async def test_statements_are_prepared_only_where_that_is_wanted(
    place: Place, open_store: Opener, prepared: bool
) -> None:
    store = await open_store(place, prepared=prepared)
    await store.commit(add_one("r"))
    assert (await store.commit(add_one("r"))).replayed

    session = store._parts[0]._lanes[0].session  # type: ignore[index]  # it is open
    assert session is not None
    assert session.prepares is prepared
    assert bool(session._prepared) is prepared
    assert await value(store, "n") == b"1"


async def test_a_plan_made_for_an_empty_table_does_not_read_a_full_one(place: Place, open_store: Opener) -> None:
    """A prepared statement keeps its plan while tables grow, until statistics are made again."""
    store = await open_store(place, lanes=1)
    for table in ("entries", "requests"):
        place.execute(f"ALTER TABLE {{schema}}.{table} SET (autovacuum_enabled = off)")
    for n in range(12):  # a generic plan is made at the sixth execution
        await store.commit(put("first", request=request(f"early {n}")))
        await store.get(NAMESPACE, ["first"])
    await together(store, *[put(f"{n}", request=request(f"{n}")) for n in range(2000)])
    await store.commit(put("first", request=request("late")))
    await store.get(NAMESPACE, ["first"])
    await store.close()  # its counts are told when its connections end

    scans = place.execute(
        "SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE schemaname = '{schema}' AND relname IN ('entries', 'requests')"
    )

    assert sorted(scans) == [("entries", 0), ("requests", 0)]


async def test_updates_of_values_and_ends_stay_on_their_page(place: Place, open_store: Opener) -> None:
    """HOT: no index is written, as long as an end stays within its minute."""
    store = await open_store(place)
    for n in range(100):
        await store.commit(put("key", b"%d" % n, ttl_ms=3_600_000))
    await store.close()

    ((updated, hot),) = place.execute(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = '{schema}' AND relname = 'entries'"
    )

    assert updated == 99
    assert hot >= 90
