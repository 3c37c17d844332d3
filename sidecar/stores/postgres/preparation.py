"""What happens to a database when it is connected to: apply missing migrations, and notice that it went back in time.

A database may have gone back when it is another than it was when it was last looked at: a cluster that was restored, a
standby that was promoted (its timeline is new), a dump that was loaded (its tables are new); or when it knows less than
it once did: a sequence behind what was reached, or behind what this process drew. Then the epoch rises, and with it
every version from now on; sequences jump, so that ids of change rows are not handed out twice either.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sidecar
from sidecar.core.entry import SEQUENCE_MASK, epoch_of
from sidecar.core.errors import StoreUnavailable, store_corrupt
from sidecar.core.failpoints import reach
from sidecar.stores.apps import check_owner
from sidecar.stores.postgres.arrays import integer
from sidecar.stores.postgres.bounds import Bounds
from sidecar.stores.postgres.clock import ServerClock
from sidecar.stores.postgres.queries import Queries
from sidecar.stores.postgres.wire import Call, Session

_log = logging.getLogger(__name__)

SEQUENCE_JUMP = 1 << 20
CHANGE_ID_JUMP = 1 << 32
"""More changes than any standby is behind; 2^16 jumps use up the ids."""
WAIT_S = 5.0
"""How long the wait for another daemon's preparation may take."""
MIGRATION_S = 600.0
"""How long one migration may take."""

_BOUNDS = Bounds(lock_s=WAIT_S, statement_s=MIGRATION_S, idle_s=WAIT_S, silence_s=WAIT_S + 1)


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a server, as every transaction sees it: another one, if the database may have gone back in time."""

    start_time: int
    timeline: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A row of `load identity`: what the database was when it was last looked at, and what it is."""

    epoch: int
    sequence_mark: int
    change_floor: int
    was_system: int
    was_database: int
    was_table: int
    was_timeline: str
    system: int
    database: int
    table: int
    timeline: str
    start_time: int
    sequence: int
    change_id: int
    newest_version: int
    newest_change_id: int
    now_ms: int
    app: str | None

    @property
    def incarnation(self) -> Incarnation:
        """What transactions compare with."""
        return Incarnation(self.start_time, self.timeline)

    @property
    def is_new(self) -> bool:
        """Nobody has looked at it since it was made."""
        return not self.was_system

    @property
    def is_another(self) -> bool:
        """It is not what somebody looked at."""
        was = (self.was_system, self.was_database, self.was_table, self.was_timeline)
        return was != (self.system, self.database, self.table, self.timeline)

    def lags(self, highest: int) -> bool:
        """Whether it knows less than it did; `highest` is a version that was handed out."""
        return (
            (self.epoch, self.sequence) < (epoch_of(highest), highest & SEQUENCE_MASK)
            or self.sequence < max(self.sequence_mark, self.newest_version & SEQUENCE_MASK)
            or self.change_id < max(self.change_floor, self.newest_change_id)
        )

    def went_back(self, highest: int) -> bool:
        """Whether versions may have been handed out that it does not know of."""
        return self.lags(highest) or (self.is_another and not self.is_new)


class Preparation:
    """Makes the database of a session ready for the daemons of an app. All raise SidecarError, ServerError, ConnectionLost: then close the session."""

    def __init__(self, queries: Queries, server_clock: ServerClock, app: str) -> None:
        self._queries = queries
        self._app = app
        self._server_clock = server_clock
        self._migrations = queries.migrations()

    async def run(self, session: Session, *, highest: int) -> Identity:
        """Migrate, and compare; what the database is."""
        if not await self._is_migrated(session):
            async with self._alone(session):
                await self._migrate(session)
        identity = await self.look(session)
        if identity.is_another or identity.lags(highest) or self._is_free(identity):
            async with self._alone(session):
                identity = await self._settle(session, highest)
        return identity

    async def look(self, session: Session) -> Identity:
        """What the database is, whose schema is there."""
        (rows,) = await session.exchange([(self._queries["load identity"], ())])
        if not rows:
            raise store_corrupt("the database's own row is missing")
        identity = Identity(*rows[0])
        self._server_clock.hear(identity.now_ms)
        if identity.app is not None:
            advice = "take schema= out of the URL, and each app has its own, or name another one"
            check_owner(f"the schema {self._queries.schema}", identity.app, self._app, advice)
        return identity

    def _is_free(self, identity: Identity) -> bool:
        """Whether it is nobody's and becomes ours. One that daemons without an app use stays so, until an app comes."""
        return identity.app is None and bool(self._app)

    @asynccontextmanager
    async def _alone(self, session: Session) -> AsyncIterator[None]:
        """In a transaction, while no other daemon prepares this schema."""
        lock = (self._queries["lock preparation"], [self._queries.lock_class.to_bytes(4, "big")])
        begin = [(self._queries["begin"], ()), _BOUNDS.for_writing(self._queries), lock]
        await session.exchange(begin, timeout_s=_BOUNDS.silence_s)
        yield
        await session.exchange([(self._queries["commit"], ())])

    async def _is_migrated(self, session: Session) -> bool:
        """Raises StoreUnavailable for a schema of a newer release."""
        ((_, is_there),) = (await session.exchange([(self._queries["find schema"], ())]))[0]
        if not is_there:
            return False
        (rows,) = await session.exchange([(self._queries["load migrations"], ())])
        number, release = rows[-1] if rows else (0, "")
        if number > len(self._migrations):
            raise StoreUnavailable(
                f"the schema was made by release {release} (migration {number}); this is release "
                f"{sidecar.__version__} and knows {len(self._migrations)}: start a release at least as new",
                metadata={"release": release, "migration": str(number)},
            )
        return bool(number == len(self._migrations))

    async def _migrate(self, session: Session) -> None:
        queries = self._queries
        ((has_schema, _),) = (await session.exchange([(queries["find schema"], ())]))[0]
        calls: list[Call] = [] if has_schema else [(queries["make schema"], ())]
        await session.exchange([*calls, (queries["make migrations"], ())])
        (rows,) = await session.exchange([(queries["load migrations"], ())])
        done = {number for number, _ in rows}
        for migration in self._migrations:
            if migration.number not in done:
                applied = (migration.number.to_bytes(4, "big"), sidecar.__version__.encode())
                calls = [(query, ()) for query in migration.queries]
                reach("postgres.migration.before")
                await session.exchange([*calls, (queries["store migration"], applied)], timeout_s=MIGRATION_S)
                reach("postgres.migration.after")
                _log.info("the schema was migrated", extra={"migration": migration.number, "schema": queries.schema})

    async def _settle(self, session: Session, highest: int) -> Identity:
        """Look again, now alone, and write down what it is; raise the epoch if it went back."""
        queries = self._queries
        identity = await self.look(session)
        calls: list[Call] = []
        if identity.went_back(highest):
            epoch = max(identity.epoch, epoch_of(highest), epoch_of(identity.newest_version)) + 1
            sequences = (identity.sequence, identity.sequence_mark, identity.newest_version, highest)
            sequence = max(value & SEQUENCE_MASK for value in sequences) + SEQUENCE_JUMP
            change_id = max(identity.change_id, identity.change_floor, identity.newest_change_id) + CHANGE_ID_JUMP
            calls.append((queries["raise epoch"], [integer(epoch), integer(sequence), integer(change_id)]))
            _log.warning("the database may have gone back in time, its epoch rises", extra={"epoch": epoch})
        numbers = [integer(number) for number in (identity.system, identity.database, identity.table)]
        calls.append((queries["store identity"], [*numbers, identity.timeline.encode()]))
        if self._is_free(identity):
            calls.append((queries["store app"], [self._app.encode()]))
        await session.exchange(calls)
        return await self.look(session)
