"""The server plans the statements of a write once a connection, and those over ranges for what is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from sidecar.core.entry import Entry
from sidecar.core.store import Outcome
from sidecar.runtime.ports import SystemClock
from sidecar.stores.postgres import reads
from sidecar.stores.postgres.arrays import BYTES, INTEGERS, OPTIONAL_INTEGERS, TEXTS, columns
from sidecar.stores.postgres.bounds import Bounds
from sidecar.stores.postgres.commits import commit_writes
from sidecar.stores.postgres.connector import Connector
from sidecar.stores.postgres.queries import Query
from sidecar.stores.postgres.readers import Reader
from sidecar.stores.postgres.transaction import Transaction
from sidecar.stores.postgres.wire import Row, Session
from tests.stores.postgres.conftest import Place, put
from tests.support.factories import NAMESPACE, request

MODE = (Query.of("SELECT current_setting('plan_cache_mode')"), ())
PLANNED_FOR_PARAMETERS = """
SELECT statement, custom_plans, generic_plans FROM pg_prepared_statements
WHERE statement ~ '(entries|requests|changes)' AND from_sql = false ORDER BY statement
"""
WRITES = 8  # the server decides for itself what to do after five


@dataclass(frozen=True)
class Line:
    """A connection with nothing between it and the server, in no store."""

    session: Session
    connector: Connector
    bounds: Bounds

    def transaction(self) -> Transaction:
        """Another transaction of the same connection."""
        return Transaction(self.session, self.connector, self.bounds)

    async def planned(self) -> list[Row]:
        """Statements that were prepared, how often they were planned for their parameters, and how often not."""
        (rows,) = await self.session.exchange([(Query.of(PLANNED_FOR_PARAMETERS, prepared=False), ())])
        return rows


@pytest.fixture
async def line(place: Place) -> AsyncIterator[Line]:
    connector = Connector(place.target(), SystemClock(), timeout_s=10.0)
    session = await connector.connect()
    yield Line(session, connector, Bounds.within(10.0))
    session.close()


async def test_writes_are_planned_once(line: Line) -> None:
    version = 0
    for number in range(WRITES):
        write = put("k", b"%d" % number, expected_version=version, request=request(f"{number}"))
        (answer,) = await commit_writes(line.transaction(), [write])
        assert isinstance(answer, Outcome)
        version = answer.version

    planned = await line.planned()
    assert len(planned) == 6  # lock, request, insert, update, its request, its change
    assert {custom for _, custom, _ in planned} == {0}
    assert max(generic for _, _, generic in planned) == WRITES


async def test_gets_are_planned_once(line: Line) -> None:
    await commit_writes(line.transaction(), [put("k", b"value")])
    reader = Reader(line.session, line.connector, line.bounds)
    call = reads.get_call(reader.queries, [(NAMESPACE.encode(), b"k")])
    row: Row = ()
    for _ in range(WRITES):
        ((row,),) = await reader.ask([call], pointed=True)
    (copy,) = reads.copies(NAMESPACE, ["k"], {row[:2]: row[2:]}, reader.now)
    assert isinstance(copy, Entry)
    assert copy.value == b"value"

    (planned,) = [row for row in await line.planned() if row[0] == call[0].text.decode()]
    assert planned[1:] == (0, WRITES)


async def test_other_work_is_planned_for_what_it_asks_for(line: Line) -> None:
    await commit_writes(line.transaction(), [put("k")])

    assert await line.session.exchange([MODE]) == [[("auto",)]]
    transaction = line.transaction()
    assert await transaction.begin([MODE], draws=0) == [[("auto",)]]
    await transaction.commit()
    assert await Reader(line.session, line.connector, line.bounds).ask([MODE]) == [[("auto",)]]


async def test_a_single_row_is_what_the_server_takes_it_for(line: Line) -> None:
    kinds = (BYTES, INTEGERS, OPTIONAL_INTEGERS, OPTIONAL_INTEGERS, TEXTS)
    unnest = Query.of("SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])")
    for row in ((b"", 0, None, 1, ""), (b"\0bytes", -(1 << 63), -1, None, "ä"), (bytes(70_000), 1, 0, 0, "text")):
        assert await line.session.exchange([(unnest, columns([row], kinds))]) == [[row]]
