"""Seals what a namespace has with the key of now, in key order, so that an older key can be taken away.

What is written is sealed with it anyway; this does the others, under the versions that they have: nobody is told. One daemon
does it at a time, and writes down how far it is after each page; whoever is asked next goes on there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
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
from sidecar.core.ledger import LEDGER
from sidecar.core.marks import BLOB, pointer_of
from sidecar.core.operations import Relocate, Write
from sidecar.core.sealing import ResealedPage, Resealing
from sidecar.engine.cleaning.asked import AskedFor
from sidecar.engine.cleaning.owners import Turn
from sidecar.engine.cleaning.progress import State
from sidecar.engine.namespaces import Namespaces
from sidecar.tiers.cold import UNBOUNDED
from sidecar.tiers.placement import Placement

PAGE = 100
PAGE_BYTES_MAX = 8 << 20
FAILURES_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is, in rows. `remaining`, in the end: those that a last look found not to be sealed with the key of now."""

    state: State
    scanned: int = 0
    resealed: int = 0
    failed: int = 0
    remaining: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    """Keys that don't open, and why; the first of them."""


class Resealings:
    """Those of every namespace, and of the daemons' own rows."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces

    def of(self, namespace: str, *, dry_run: bool) -> Reseal:
        """Of a namespace; empty: of what daemons keep for all of them (checkpoints' contents, dead letters).

        Raises InvalidRequest (NAMESPACE_INVALID), FailedPrecondition (ENCRYPTION_OFF), Unsupported, Passthrough.
        """
        placement = self._namespaces.of(namespace or "default").authority()
        if not isinstance(placement.authority, Resealing):
            raise FailedPrecondition(
                "nothing is sealed here: set encryption.keys or encryption.kms_key", reason="ENCRYPTION_OFF"
            )
        if not placement.authority.capabilities.quiet:
            raise Unsupported(
                "this namespace's authority can't seal a value without a new version: its next write does",
                metadata={"operation": "reseal"},
            )
        return Reseal(placement, placement.authority, namespace or LEDGER, dry_run=dry_run)


class Reseal(AskedFor[Progress]):
    """One call. `run` it once."""

    def __init__(self, placement: Placement, store: Resealing, namespace: str, *, dry_run: bool) -> None:
        super().__init__(placement, f"reseal/{namespace}", dry_run=dry_run)
        self._store = store
        self._namespace = namespace
        self._progress = Progress(state=State.RUNNING)

    def _now(self, state: State) -> Progress:
        return replace(self._progress, state=state)

    async def _passes(self, turn: Turn | None) -> AsyncGenerator[Progress, None]:
        """From where the last call ended to the end; then a look at everything."""
        after = turn.cursor if turn is not None and turn.cursor else None
        while True:
            page = await self._page(after, turn)
            self._count(page)
            for row in page.away:
                await self._reseal_blob(row, turn)
            if page.after is None:
                break
            after = page.after
            if turn is not None:
                await turn.renew(after)
                reach("reseal.page.after")
            yield self._progress
        remaining = self._progress.resealed + self._progress.failed
        if turn is not None:
            remaining = await self._remaining(turn)
            await turn.finish()
            reach("reseal.finish.after")
        yield replace(self._progress, state=State.DONE, remaining=remaining)

    async def _page(self, after: str | None, turn: Turn | None) -> ResealedPage:
        if turn is not None and turn.worn:
            await turn.renew(turn.cursor)
        fence = None if turn is None else turn.fence
        return await self._placement.guard.call(
            "reseal",
            lambda: self._store.reseal(self._namespace, after=after, limit=PAGE, bytes_max=PAGE_BYTES_MAX, fence=fence),
        )

    def _count(self, page: ResealedPage) -> None:
        progress = self._progress
        self._progress = replace(
            progress,
            scanned=progress.scanned + page.scanned,
            resealed=progress.resealed + page.resealed,
            failed=progress.failed + len(page.failed),
            failures=(*progress.failures, *page.failed)[:FAILURES_MAX],
        )

    async def _remaining(self, turn: Turn) -> int:
        """How many rows are not sealed with the key of now. Nothing is changed."""
        count, after = 0, None
        while True:
            if turn.worn:
                await turn.renew(turn.cursor)
            page = await self._page(after, None)
            count += page.resealed + len(page.failed)
            if (after := page.after) is None:
                return count

    async def _reseal_blob(self, row: Entry, turn: Turn | None) -> None:
        """Put a value that is in cold there anew, if its object is sealed with another key."""
        try:
            done = await self._put_anew(row, turn)
        except (DataLoss, FailedPrecondition) as exc:
            self._count(ResealedPage(scanned=0, resealed=0, failed=((row.key, exc.message),)))
        else:
            self._count(ResealedPage(scanned=0, resealed=int(done)))

    async def _put_anew(self, row: Entry, turn: Turn | None) -> bool:
        cold, pointer = self._placement.cold, pointer_of(row)
        if cold is None or pointer is None:
            return False
        stored = await cold.blobs.load(pointer.blob, size=pointer.size)
        if stored is None or self._store.sealer.is_current(stored):
            return False
        if turn is None:
            return True
        if turn.worn:
            await turn.renew(turn.cursor)
        value = await cold.value_of(row)
        if value is None:
            return False
        schema = row.schema_version
        away, check = await cold.put(
            self._namespace, row.key, value, schema=schema, archived=pointer.archived, fence=[turn.fence]
        )
        relocate = Relocate(
            key=row.key, expected_version=row.version, value=b"", marks={BLOB: away.text}, expected_schema=schema
        )
        operations = (relocate, check, turn.fence)
        reach("reseal.blob.before")
        try:
            await self._placement.relocate(
                Write(namespace=self._namespace, operations=operations, value_bytes_max=UNBOUNDED)
            )
        except VersionConflict as exc:
            if turn.lost_by(exc):
                raise
            return False  # it was written meanwhile, so sealed
        except OutcomeUnknown as exc:
            raise StoreUnavailable(f"a value may be sealed anew or not: {exc.message}") from exc
        return True
