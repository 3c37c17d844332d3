"""Lists of checkpoints: those of a key, of a prefix, or of a namespace, newest first, in pages of bounded size."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.core import ledger as names
from sidecar.core import paging
from sidecar.engine.checkpoints.home import Home
from sidecar.engine.checkpoints.records import Held, Scope, held
from sidecar.engine.checkpoints.replies import CheckpointPage

_BATCH = 100


@dataclass(frozen=True, slots=True)
class Listing:
    """What is listed; `scope` None: all of the namespace. Pages hold at most `bytes_max`, but at least one record."""

    home: Home
    namespace: str
    scope: Scope | None
    bytes_max: int
    deadline: float | None

    async def page(self, *, size: int, token: str) -> CheckpointPage:
        """A page of at most `size`. Raises PAGE_TOKEN_INVALID, DataLoss (CHECKPOINT_CORRUPT)."""
        listed = names.checkpoints_of(self.namespace) if self.scope is None else self.scope.index
        before = paging.after_key(token, self.namespace, listed) if token else ""
        if self.scope is None:
            found, more = await self._all(before, size)
        else:
            found, more = await self._of_scope(self.scope, before, size)
        kept = paging.fitting(found, lambda each: each.size, self.bytes_max)
        more = (more or len(kept) < len(found)) and bool(kept)
        following = paging.page_token(self.namespace, listed, kept[-1].record.checkpoint_id) if more else ""
        records = tuple([await self.home.records.shown(each.record) for each in kept])
        return CheckpointPage(records=records, next_page_token=following)

    async def _all(self, before: str, size: int) -> tuple[list[Held], bool]:
        prefix = names.checkpoints_of(self.namespace)
        after = prefix + names.inverted(before) if before else None
        page = await self.home.ledger.scan(prefix, after=after, limit=size)
        found = [held(row, self.namespace, names.inverted(row.key.removeprefix(prefix))) for row in page.entries]
        return found, page.more

    async def _of_scope(self, scope: Scope, before: str, size: int) -> tuple[list[Held], bool]:
        """As many as asked for, or more than fit. One that is removed meanwhile is not there."""
        found: list[Held] = []
        more = True
        while more and len(found) < size and sum(each.size for each in found) <= self.bytes_max:
            ids, more = await self.home.records.ids(scope, before=before, limit=min(size - len(found), _BATCH))
            if not ids:
                break
            before = ids[-1]
            records = await self.home.records.many(scope.namespace, ids, deadline=self.deadline)
            found += [each for each in records if each is not None]
        return found, more
