"""The daemon's own rows in an authority (`core/ledger.py`): read, listed and committed behind the authority's guard."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.entry import Entry
from sidecar.core.ledger import LEDGER
from sidecar.core.operations import Operation, Write, WriteId
from sidecar.core.store import Outcome, Page, Store
from sidecar.tiers.guard import Guard

PAGE_BYTES_MAX = 16 << 20
ROW_BYTES_MAX = 1 << 40
"""Rows are as large as what they keep; what callers may write was checked before."""


class Ledger:
    """The ledger of one authority. Errors are those of the Store port."""

    def __init__(self, authority: Store, guard: Guard) -> None:
        self.authority = authority
        self._guard = guard

    def now(self) -> int:
        """The authority's clock."""
        return self.authority.now()

    async def get(self, keys: Sequence[str], *, deadline: float | None = None) -> list[Entry | None]:
        """Rows by key, in order; None: there is none."""
        copies = await self._guard.call(
            "ledger_get", lambda: self.authority.get(LEDGER, keys, deadline=deadline), again=True, deadline=deadline
        )
        return [copy if isinstance(copy, Entry) else None for copy in copies]

    async def scan(self, prefix: str, *, after: str | None = None, limit: int, keys_only: bool = False) -> Page:
        """Rows in the order of their keys; at most `limit`, and 16 MiB of values but at least one row."""
        return await self._guard.call(
            "ledger_scan",
            lambda: self.authority.scan(
                LEDGER, prefix, after=after, limit=limit, bytes_max=PAGE_BYTES_MAX, keys_only=keys_only
            ),
            again=True,
        )

    async def commit(
        self, operations: Sequence[Operation], *, request: WriteId | None = None, deadline: float | None = None
    ) -> Outcome:
        """Change rows, all or nothing. Raises VersionConflict and FailedPrecondition as any write does."""
        write = Write(
            namespace=LEDGER,
            operations=tuple(operations),
            value_bytes_max=ROW_BYTES_MAX,
            request=request,
            deadline=deadline,
            tentative=True,
        )
        return await self._guard.call(
            "ledger_commit", lambda: self.authority.commit(write), again=request is not None, deadline=deadline
        )
