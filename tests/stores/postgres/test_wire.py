"""One connection: what is sent together is answered together, and what is not awaited to its end closes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from servers.base import shared
from servers.postgres import Postgres
from sidecar.stores.postgres.arrays import (
    BYTES,
    INTEGERS,
    OPTIONAL_INTEGERS,
    TEXTS,
    columns,
    integer,
    integers,
)
from sidecar.stores.postgres.errors import ConnectionLost, ServerError
from sidecar.stores.postgres.queries import Query
from sidecar.stores.postgres.wire import Session

SLEEP = Query.of("SELECT pg_sleep(10)")


@pytest.fixture(params=[False, True], ids=["not prepared", "prepared"])
async def session(request: pytest.FixtureRequest) -> AsyncIterator[Session]:
    server = shared(Postgres)
    session = await Session.connect(
        {"host": "127.0.0.1", "port": server.port, "user": "postgres", "dbname": "postgres"}, timeout_s=10.0
    )
    session.prepares = request.param
    yield session
    session.close()


def number(n: int) -> Query:
    return Query.of(f"SELECT {n}")


async def test_each_call_has_its_rows(session: Session) -> None:
    calls = [(number(1), ()), (Query.of("SELECT 1 WHERE false"), ()), (Query.of("VALUES (2), (3)"), ())]

    for _ in range(3):
        assert await session.exchange(calls) == [[(1,)], [], [(2,), (3,)]]


async def test_the_first_that_fails_is_named_and_none_after_it_is_done(session: Session) -> None:
    await session.exchange([(Query.of("CREATE TEMPORARY TABLE told (n int)"), ())])
    store = (Query.of("INSERT INTO told VALUES (1)"), ())
    with pytest.raises(ServerError) as failed:
        await session.exchange([(number(1), ()), (Query.of("SELECT 1 / 0"), ()), store])

    assert (failed.value.index, failed.value.sqlstate) == (1, "22012")
    assert await session.exchange([(Query.of("SELECT count(*) FROM told"), ())]) == [[(0,)]]


async def test_a_commit_that_rolled_back_is_no_commit(session: Session) -> None:
    await session.exchange([(Query.of("BEGIN"), ())])
    with pytest.raises(ServerError):
        await session.exchange([(Query.of("SELECT 1 / 0"), ())])

    with pytest.raises(ServerError, match="failed before"):
        await session.exchange([(Query.of("COMMIT"), ())])


async def test_arrays_are_what_the_server_takes_them_for(session: Session) -> None:
    rows = [(b"", -1, None, ""), (b"\0\xff", 1 << 62, -(1 << 63), "é"), (b"x" * 70_000, 0, 5, "n")]
    kinds = (BYTES, INTEGERS, OPTIONAL_INTEGERS, TEXTS)
    unnest = Query.of("SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::text[])")
    sent = Query.of("SELECT array_send(ARRAY(SELECT generate_series(1, $1::bigint)))")

    assert await session.exchange([(unnest, columns(rows, kinds))]) == [rows]
    for count in (0, 1, 1000):
        (((array,),),) = await session.exchange([(sent, [integer(count)])])
        assert integers(array) == tuple(range(1, count + 1))


async def test_megabytes_go_both_ways(session: Session) -> None:
    large = bytes(range(256)) * (1 << 15)

    assert await session.exchange([(Query.of("SELECT $1::bytea"), [large])]) == [[(large,)]]


async def test_a_cancelled_exchange_closes_the_connection(session: Session) -> None:
    """Its answer would be taken for the next one's."""
    task = asyncio.ensure_future(session.exchange([(SLEEP, ())]))
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert session.closed
    with pytest.raises(ConnectionLost):
        await session.exchange([(number(1), ())])


async def test_silence_ends_an_exchange_and_closes_the_connection(session: Session) -> None:
    with pytest.raises(ConnectionLost) as lost:
        await session.exchange([(SLEEP, ())], timeout_s=0.05)

    assert lost.value.timed_out
    assert session.closed


async def test_an_answer_that_keeps_coming_is_waited_for(session: Session) -> None:
    """A row each 30 ms, for longer than the silence that is allowed."""
    drip = Query.of("SELECT n, repeat('x', 20000), pg_sleep(0.03) FROM generate_series(1, 12) AS n")

    (rows,) = await session.exchange([(drip, ())], timeout_s=0.2)

    assert [row[0] for row in rows] == list(range(1, 13))


async def test_the_servers_end_is_seen_while_nothing_is_asked(session: Session) -> None:
    (((pid,),),) = await session.exchange([(Query.of("SELECT pg_backend_pid()"), ())])
    shared(Postgres).execute("SELECT pg_terminate_backend(%s)", pid)

    async with asyncio.timeout(10):
        while not session.closed:  # noqa: ASYNC110  # what is waited for happens on the server
            await asyncio.sleep(0)


async def test_the_servers_end_in_an_exchange_says_why(session: Session) -> None:
    (((pid,),),) = await session.exchange([(Query.of("SELECT pg_backend_pid()"), ())])
    task = asyncio.ensure_future(session.exchange([(SLEEP, ())]))
    await asyncio.sleep(0)
    shared(Postgres).execute("SELECT pg_terminate_backend(%s)", pid)

    with pytest.raises(ConnectionLost, match="terminating connection") as lost:
        await task

    assert not lost.value.timed_out
    assert session.closed
