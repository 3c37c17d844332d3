"""Brings every entry of a namespace to one schema, in key order, under the versions that they have.

One daemon does it at a time, and writes down how far it is after each page; whoever is asked next goes on there. Each
entry is a commit of its own, guarded by its version and its schema: what a caller writes meanwhile stays, and nothing is
done twice. Callers are told nothing, because nothing has changed for them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace

from sidecar.core.entry import Entry
from sidecar.core.errors import (
    DataLoss,
    FailedPrecondition,
    OutcomeUnknown,
    StoreUnavailable,
    Unsupported,
    VersionConflict,
)
from sidecar.core.failpoints import reach
from sidecar.core.marks import BLOB, pointer_of
from sidecar.core.operations import Operation, Relocate, Write
from sidecar.core.schema import Schemas, relocated, too_new
from sidecar.engine.cleaning.asked import AskedFor
from sidecar.engine.cleaning.owners import Turn
from sidecar.engine.cleaning.progress import State
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.schemas.fleet import Fleet
from sidecar.tiers.cold import UNBOUNDED
from sidecar.tiers.placement import Placement

PAGE = 100
PAGE_BYTES_MAX = 8 << 20
COUNT_PAGE = 1000
RACES_MAX = 16
"""How often an entry is read again that was written meanwhile."""
FAILURES_MAX = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """An entry that could not be brought to the target, and why."""

    key: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is. `total`: entries that this call has to look at, as they were counted when it began.

    `remaining`, in the end: entries of another schema that a last look found.
    """

    state: State
    target: int
    scanned: int = 0
    migrated: int = 0
    failed: int = 0
    total: int = 0
    remaining: int = 0
    failures: tuple[Failure, ...] = ()


class Migrations:
    """The migrations of every namespace that has schemas."""

    def __init__(self, namespaces: Namespaces, schemas: Mapping[str, Schemas], fleet: Fleet) -> None:
        self._namespaces = namespaces
        self._schemas = schemas
        self._fleet = fleet

    def of(self, namespace: str, *, target: int, dry_run: bool) -> Migration:
        """A migration to `target`, at most the schema that all daemons know; 0: that one.

        Raises InvalidRequest (NAMESPACE_INVALID), FailedPrecondition (SCHEMA_NOT_CONFIGURED), Unsupported, Passthrough.
        """
        space = self._namespaces.of(namespace)
        known = self._schemas.get(namespace)
        if known is None:
            raise not_configured(namespace)
        placement = space.authority()
        if not placement.authority.capabilities.quiet:
            raise Unsupported(
                "this namespace's authority keeps every value in the schema that it was written in",
                metadata={"operation": "migrate"},
            )
        return Migration(placement, namespace, known, self._fleet, target=target, dry_run=dry_run)


class Migration(AskedFor[Progress]):
    """One call. `run` it once."""

    def __init__(
        self, placement: Placement, namespace: str, known: Schemas, fleet: Fleet, *, target: int, dry_run: bool
    ) -> None:
        super().__init__(placement, f"migrate/{namespace}", dry_run=dry_run)
        self._namespace = namespace
        self._known = known
        self._fleet = fleet
        self._asked = target
        self._progress = Progress(state=State.RUNNING, target=self._target)

    @property
    def _target(self) -> int:
        """What it leads to now. The floor may move meanwhile: what the last look finds then says so."""
        floor = self._fleet.floor(self._namespace)
        return max(self._known.base, min(self._asked, floor)) if self._asked else floor

    def _now(self, state: State) -> Progress:
        return replace(self._progress, state=state)

    async def _passes(self, turn: Turn | None) -> AsyncGenerator[Progress, None]:
        """From where the last call ended; then from the beginning if something was left before that."""
        after = None if turn is None else _place(turn.cursor, self._target)
        resumed = after is not None
        total, _ = await self._count(after)
        self._progress = replace(self._progress, total=total)
        while True:
            async for progress in self._pass(turn, after):
                yield progress
            remaining = self._progress.migrated + self._progress.failed
            if turn is not None:
                _, remaining = await self._count(None)
            if not (resumed and remaining):
                break
            after, resumed = None, False
            self._progress = replace(self._progress, total=self._progress.total + remaining)
        if turn is not None:
            await turn.finish()
            reach("migrate.finish.after")
        yield replace(self._progress, state=State.DONE, remaining=remaining, target=self._target)

    async def _pass(self, turn: Turn | None, after: str | None) -> AsyncGenerator[Progress, None]:
        while True:
            page = await self._placement.scan(
                self._namespace,
                "",
                after=after,
                limit=PAGE,
                bytes_max=PAGE_BYTES_MAX,
                keys_only=False,
                deadline=None,
            )
            target = self._target
            self._progress = replace(self._progress, target=target)
            for entry in page.entries:
                await self._look_at(entry, target, turn)
            if not page.more:
                return
            after = page.entries[-1].key
            if turn is not None:
                await turn.renew(f"{target} {after}")
                reach("migrate.page.after")
            yield self._progress

    async def _look_at(self, entry: Entry, target: int, turn: Turn | None) -> None:
        progress = self._progress
        try:
            migrated = await self._bring(entry, target, turn)
        except (FailedPrecondition, DataLoss) as exc:
            failure = Failure(entry.key, exc.message)
            failures = (*progress.failures, failure)[:FAILURES_MAX]
            progress = replace(progress, failed=progress.failed + 1, failures=failures)
        else:
            progress = replace(progress, migrated=progress.migrated + migrated)
        self._progress = replace(progress, scanned=progress.scanned + 1)

    def _differs(self, entry: Entry, target: int) -> bool:
        """Whether it is ours to bring: a value that nobody said a schema of is as it is."""
        return entry.schema_version != target and self._known.says(entry.schema_version)

    async def _bring(self, entry: Entry, target: int, turn: Turn | None) -> bool:
        """Whether it was brought to the target; it may be there already, be gone, or be none of ours."""
        for _ in range(RACES_MAX):
            if not self._differs(entry, target):
                return False
            found = await self._placement.resolve(self._namespace, [entry])
            if not found:
                return False
            if found[0].version != entry.version:
                pass  # it was written meanwhile: as the authority has it now
            elif turn is None:
                self._brought(found[0], target)
                return True
            elif await self._relocate(entry, found[0], target, turn):
                return True
            [copy] = await self._placement.rows(self._namespace, [entry.key])
            if not isinstance(copy, Entry):
                return False
            entry = copy
        raise FailedPrecondition("it is written all the time: migrate again", reason="SCHEMA_CONTENDED")

    async def _relocate(self, row: Entry, entry: Entry, target: int, turn: Turn) -> bool:
        """One commit; False: somebody else was faster. `row` is what the authority has, `entry` with its value."""
        if turn.worn:
            await turn.renew(turn.cursor)
        relocate = self._brought(entry, target)
        checks: list[Operation] = [] if turn.fence.key == row.key else [turn.fence]  # a write names each key once
        pointer = pointer_of(row)
        if pointer is not None and self._placement.cold is not None:
            away, check = await self._placement.cold.put(
                self._namespace,
                row.key,
                relocate.value,
                schema=target,
                archived=pointer.archived,
                fence=[turn.fence],
            )
            relocate = replace(relocate, value=b"", marks={**relocate.marks, BLOB: away.text})
            checks.append(check)
        write = Write(namespace=self._namespace, operations=(relocate, *checks), value_bytes_max=UNBOUNDED)
        reach("migrate.relocate.before")
        try:
            await self._placement.relocate(write)
        except VersionConflict as exc:
            if turn.lost_by(exc):
                raise
            return False
        except OutcomeUnknown as exc:
            raise StoreUnavailable(f"an entry may be migrated or not: {exc.message}") from exc
        reach("migrate.relocate.after")
        return True

    def _brought(self, entry: Entry, target: int) -> Relocate:
        level = entry.schema_version
        if not self._known.knows(level):
            why = f"this daemon knows schemas {self._known.base} to {self._known.version}"
            raise too_new(level, target, why)
        return relocated(self._known, entry, target)

    async def _count(self, after: str | None) -> tuple[int, int]:
        """Entries after a key, and those of them in another schema."""
        count = differing = 0
        while True:
            page = await self._placement.scan(
                self._namespace,
                "",
                after=after,
                limit=COUNT_PAGE,
                bytes_max=PAGE_BYTES_MAX,
                keys_only=True,
                deadline=None,
            )
            count += len(page.entries)
            differing += sum(self._differs(entry, self._target) for entry in page.entries)
            if not page.more:
                return count, differing
            after = page.entries[-1].key


def _place(cursor: str, target: int) -> str | None:
    """The key that a pass to this target goes on after; None: it begins at the beginning."""
    went_to, _, after = cursor.partition(" ")
    return after if after and went_to == str(target) else None


def not_configured(namespace: str) -> FailedPrecondition:
    """The refusal of a namespace that this daemon has no schemas of."""
    return FailedPrecondition(
        "this daemon has no schemas of the namespace: configure its schema.version and schema.migrations",
        reason="SCHEMA_NOT_CONFIGURED",
        metadata={"namespace": namespace},
    )
