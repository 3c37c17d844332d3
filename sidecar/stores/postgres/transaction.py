"""One transaction in two round trips: the first locks and loads and draws versions, the second writes and commits.

No two such transactions wait for each other in a circle. A transaction locks the rows that are there in the order of their
keys; then inserts the keys that were not, in that order; then request ids, in theirs; and only then changes the rows that
it locked. An insertion waits for whoever inserts or changes the same key and has not ended; who changes waits for nobody
any more, and who inserts only for insertions further on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from sidecar.core.entry import Copy, version_of
from sidecar.core.errors import store_corrupt
from sidecar.core.failpoints import reach
from sidecar.core.store import ChangeKind
from sidecar.stores import records
from sidecar.stores.postgres import rows
from sidecar.stores.postgres.arrays import BYTES, INTEGERS, TEXTS, columns, integer, integers
from sidecar.stores.postgres.bounds import Bounds
from sidecar.stores.postgres.connector import Connector
from sidecar.stores.postgres.errors import ConnectionLost, Raced, ServerError, commit_error, is_race
from sidecar.stores.postgres.preparation import Incarnation
from sidecar.stores.postgres.queries import Queries
from sidecar.stores.postgres.wire import Call, Row, Session

Pair = tuple[bytes, bytes]
"""A namespace with a key or a request id in it, as stored."""

_REQUEST_KINDS = (BYTES, BYTES, BYTES, INTEGERS, INTEGERS, BYTES, BYTES)
_CHANGE_KINDS = (BYTES, BYTES, INTEGERS, TEXTS, INTEGERS)


class Transaction:
    """Begun by `begin`. `now` is the server's clock after the last locks were taken, in milliseconds."""

    def __init__(self, session: Session, connector: Connector, bounds: Bounds) -> None:
        self.queries = connector.queries
        self.now = 0
        self._session = session
        self._connector = connector
        self._bounds = bounds
        self._epoch = 0
        self._last_sequence = 0
        self._drawn: Sequence[int] = ()
        self._used = 0
        self._new: list[rows.Row] = []
        self._changed: list[rows.Row] = []
        self._forgotten: list[Pair] = []
        self._new_requests: list[records.RequestRow] = []
        self._changed_requests: list[records.RequestRow] = []
        self._changes: list[Row] = []
        self._last: list[Call] = []

    # The first round trip.

    async def begin(self, calls: Sequence[Call], *, draws: int, pointed: bool = False) -> list[list[Row]]:
        """Begin with some loading calls, and draw versions after them; `pointed`: there will be no statement over a range.

        Raises Raced, ServerError, ConnectionLost.
        """
        queries = self.queries
        bound = self._bounds.for_writing(queries, pointed=pointed)
        _, _, *answers = await self._ask([(queries["begin"], ()), bound, *calls], draws=draws)
        return answers

    async def ask(self, calls: Sequence[Call], *, draws: int) -> list[list[Row]]:
        """Another round trip of the same kind."""
        return await self._ask(calls, draws=draws)

    async def _ask(self, calls: Sequence[Call], *, draws: int) -> list[list[Row]]:
        draw = (self.queries["draw"], [integer(draws), integer(self.queries.flights << 48)])
        *answers, drawn = await self._exchange([*calls, draw])
        if not drawn:
            raise store_corrupt("the database's own row is missing")
        ((_, self.now, self._epoch, self._last_sequence, start_time, timeline, array),) = drawn
        if Incarnation(start_time, timeline) != self._connector.incarnation or self.horizon < self._connector.highest:
            await self.look_again()
        self._connector.server_clock.hear(self.now)
        self._drawn, self._used = integers(array), 0
        return answers

    async def look_again(self, version: int = 0) -> NoReturn:
        """The database may have gone back in time (`version` was handed out): have that settled, and raise Raced."""
        await self.roll_back()
        self._connector.highest = max(self._connector.highest, version)
        await self._connector.prepare(self._session)
        raise Raced("the database is not what it was")

    async def _exchange(self, calls: Sequence[Call]) -> list[list[Row]]:
        try:
            return await self._session.exchange(calls, timeout_s=self._bounds.silence_s)
        except ServerError as exc:
            await self.roll_back()
            if is_race(exc):
                raise Raced(str(exc)) from exc
            raise

    # What is to be written.

    @property
    def horizon(self) -> int:
        """At least every version that was drawn before `begin`."""
        return version_of(self._epoch, self._last_sequence)

    def next_version(self) -> int:
        """The version that `draw` would take."""
        return version_of(self._epoch, self._drawn[self._used])

    def draw(self) -> int:
        """A version that was never handed out, and won't be again; there are as many as `draws`."""
        version = self.next_version()
        self._used += 1
        return version

    def put(self, copies: Iterable[Copy], *, present: Iterable[Pair]) -> None:
        """Store states; of each key one. `present`: those whose row is there, and locked."""
        there = frozenset(present)
        for copy in copies:
            row = rows.encode(copy)
            (self._changed if row[:2] in there else self._new).append(row)

    def forget(self, keys: Iterable[tuple[str, str]]) -> None:
        """Remove rows, as if they had never been; those that are there are locked."""
        self._forgotten += [(namespace.encode(), key.encode()) for namespace, key in keys]

    def remember(self, recorded: records.RequestRow, *, present: bool = False) -> None:
        """Keep what a request id did; `present`: its row is there, and locked."""
        (self._changed_requests if present else self._new_requests).append(recorded)

    def announce(self, namespace: bytes, key: bytes, version: int, kind: ChangeKind) -> None:
        """A change row, in the order of the calls."""
        self._changes.append((namespace, key, version, kind.value, self.now))

    def finally_do(self, call: Call) -> None:
        """A statement before the commit; `commit` answers its rows."""
        self._last.append(call)

    # The second round trip.

    async def commit(self) -> list[list[Row]]:
        """Write and commit; the rows of the last calls. Raises Raced, a SidecarError that says whether it was written."""
        calls = [*self._writes(), *self._last]
        calls.append((self.queries["commit"], ()))
        commit_index = len(calls) - 1
        reach("postgres.commit.before")
        try:
            answers = await self._session.exchange(calls, timeout_s=self._bounds.silence_s)
            reach("postgres.commit.after")
        except ServerError as exc:
            await self.roll_back()
            if is_race(exc):
                raise Raced(str(exc)) from exc
            if exc.index < commit_index:
                raise
            raise commit_error(exc) from exc
        except ConnectionLost as exc:
            raise commit_error(exc) from exc
        if self._used:
            # What a rolled back transaction drew may be drawn again after a crash, and was told to nobody.
            newest = version_of(self._epoch, self._drawn[self._used - 1])
            self._connector.highest = max(self._connector.highest, newest)
        return answers[commit_index - len(self._last) : commit_index]

    async def roll_back(self) -> None:
        """Give the locks back; a connection that doesn't answer is closed, which does it as well."""
        try:
            await self._session.exchange([(self.queries["rollback"], ())])
        except (ServerError, ConnectionLost):
            self._session.close()

    def _writes(self) -> list[Call]:
        """In the order that the module's first lines tell."""
        sets: tuple[tuple[str, list[Any], Sequence[str]], ...] = (
            ("insert entries", sorted(self._new, key=_pair), rows.KINDS),
            ("insert requests", sorted(self._new_requests, key=_pair), _REQUEST_KINDS),
            ("update entries", self._changed, rows.KINDS),
            ("forget entries", self._forgotten, (BYTES, BYTES)),
            ("update requests", self._changed_requests, _REQUEST_KINDS),
            ("insert changes", self._changes, _CHANGE_KINDS),
        )
        return [(self.queries[name], columns(written, kinds)) for name, written, kinds in sets if written]


def lock_entries(queries: Queries, pairs: Mapping[Pair, bool]) -> list[Call]:
    """Lock the rows of keys, in order; with their values where that is True. Nothing for none."""
    if not pairs:
        return []
    wanted = [(*pair, valued) for pair, valued in sorted(pairs.items())]
    return [(queries["lock entries"], columns(wanted, (BYTES, BYTES, INTEGERS)))]


def load_requests(queries: Queries, pairs: Iterable[Pair]) -> list[Call]:
    """What request ids did. Nothing for none."""
    wanted = list(pairs)
    return [(queries["load requests"], columns(wanted, (BYTES, BYTES)))] if wanted else []


def _pair(row: Sequence[Any]) -> Pair:
    return row[0], row[1]
