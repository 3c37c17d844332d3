"""Stores that share a database, as many daemons do: exact counts, one winner, no deadlock, each request once."""

from __future__ import annotations

import asyncio
from random import Random

from sidecar.core.errors import SidecarError, VersionConflict
from sidecar.core.operations import Change, Increment, Remove
from sidecar.core.store import Outcome, SweepOrder
from tests.stores.postgres.conftest import Opener, Place, add_one, put, value
from tests.support.factories import NAMESPACE, request, write

STORES = 4
SLOWLY = """
CREATE FUNCTION {schema}.slowly() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN PERFORM pg_sleep(0.004); RETURN NEW; END'
"""


async def test_increments_of_many_stores_are_exact(place: Place, open_store: Opener) -> None:
    stores = [await open_store(place) for _ in range(STORES)]

    outcomes = await asyncio.gather(*[store.commit(add_one()) for _ in range(25) for store in stores])

    assert await value(stores[0], "n") == b"100"
    in_order = sorted(outcomes, key=lambda outcome: outcome.version)
    assert [outcome.results[0].value for outcome in in_order] == [b"%d" % n for n in range(1, 101)]


async def test_of_creations_by_many_stores_one_wins(place: Place, open_store: Opener) -> None:
    stores = [await open_store(place) for _ in range(STORES)]
    for n in range(20):
        answers = await asyncio.gather(
            *[store.commit(put(f"{n}", b"%d" % i, expected_version=0)) for i, store in enumerate(stores)],
            return_exceptions=True,
        )

        (winner,) = [answer for answer in answers if isinstance(answer, Outcome)]
        losers = [answer for answer in answers if isinstance(answer, VersionConflict)]
        assert [loser.current_version for loser in losers] == [winner.version] * (STORES - 1)


async def test_a_request_id_sent_through_many_stores_at_once_takes_effect_once(
    place: Place, open_store: Opener
) -> None:
    stores = [await open_store(place) for _ in range(STORES)]
    for n in range(20):
        # Different keys: not the row's lock but the id itself has to tell.
        outcomes = await asyncio.gather(
            *[store.commit(add_one(f"{n}", key=f"{n} {i}")) for i, store in enumerate(stores)]
        )

        assert len({(outcome.version, outcome.results) for outcome in outcomes}) == 1
        assert sum(not outcome.replayed for outcome in outcomes) == 1
        found = [await value(stores[0], f"{n} {i}") for i in range(STORES)]
        assert sorted(map(str, found)) == sorted(map(str, [b"1", *[None] * (STORES - 1)]))


async def test_transactions_on_the_same_keys_in_any_order_never_deadlock(place: Place, open_store: Opener) -> None:
    """Keys come and go, so that rows are locked, inserted, and missed between the two."""
    stores = [await open_store(place, connections=6) for _ in range(STORES)]
    cursor = (await stores[0].changes(after=None, limit=1)).cursor
    random = Random(7)
    keys = [f"{n}" for n in range(12)]
    adds = 0

    async def worker(number: int) -> None:
        nonlocal adds
        for turn in range(40):
            chosen = random.sample(keys, 5)
            increments = [Change(key=key, change=Increment(delta=1), create=True) for key in chosen[:4]]
            removal = [Remove(key=chosen[4])] if turn % 3 == 0 else []
            request_id = f"{number} {turn // 2}"
            outcome = await stores[number % STORES].commit(
                write(*increments, *removal, request=None if turn % 2 else request(request_id))
            )
            adds += not outcome.replayed

    await asyncio.gather(*[worker(number) for number in range(24)])

    assert "deadlock detected" not in (place.server.directory / "log").read_text()
    page = await stores[0].scan(NAMESPACE, "", after=None, limit=100, bytes_max=1 << 20, keys_only=False)
    changes = (await stores[0].changes(after=cursor, limit=10_000)).changes
    newest = {row.key: row.version for row in changes}
    assert {entry.key: entry.version for entry in page.entries}.items() <= newest.items()
    assert adds == 24 * 40


async def test_writers_and_sweepers_and_deletions_of_many_stores_leave_a_whole(
    place: Place, open_store: Opener
) -> None:
    stores = [await open_store(place) for _ in range(STORES)]
    order = SweepOrder(limit=50, tombstone_retention_ms=0, request_retention_ms=1 << 40)

    async def writer(store_number: int) -> None:
        for n in range(60):
            await stores[store_number].commit(put(f"{n % 20}", ttl_ms=1))

    async def sweeper(store_number: int) -> None:
        for _ in range(40):
            await stores[store_number].sweep(order)

    async def deleter(store_number: int) -> None:
        for _ in range(10):
            await stores[store_number].delete_prefix(NAMESPACE, "1", limit=3, request=None, progress=None)

    works = [work(number) for number in range(STORES) for work in (writer, sweeper, deleter)]
    answers = await asyncio.gather(*works, return_exceptions=True)

    assert not [answer for answer in answers if isinstance(answer, SidecarError)], answers
    await stores[0].commit(put("last", b"last"))
    assert await value(stores[1], "last") == b"last"


async def test_nor_do_transactions_that_create_the_same_keys(place: Place, open_store: Opener) -> None:
    """What is not there can't be locked: the insertions themselves have an order, and come before any change.

    Each insertion takes a while here, so that those of all stores are in the middle of theirs at the same time.
    """
    stores = [await open_store(place, timeout_s=20.0) for _ in range(STORES)]
    place.execute(SLOWLY)
    place.execute(
        "CREATE TRIGGER slowly BEFORE INSERT ON {schema}.entries FOR EACH ROW EXECUTE FUNCTION {schema}.slowly()"
    )
    random = Random(7)
    for turn in range(6):
        keys = [f"{turn} {n}" for n in range(12)] + [f"{turn - 1} {n}" for n in range(12)]
        orders = [random.sample(keys, 12) for _ in stores]
        await asyncio.gather(
            *[
                store.commit(write(*[Change(key=key, change=Increment(delta=1), create=True) for key in order]))
                for store, order in zip(stores, orders, strict=True)
            ]
        )

    assert "deadlock detected" not in (place.server.directory / "log").read_text()
