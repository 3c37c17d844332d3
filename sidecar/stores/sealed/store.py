"""SealedStore: a store that sees values only sealed. Errors are those of the store, and of what opens them.

What is computed where the data is (a merge patch, an append, an increment) is opened and sealed in the middle of the
store's commit, by `core/decide.py`. Where that needs a data key that is not at hand, the store writes nothing and says
so (KeyAway); the key is fetched, and the write begins again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import (
    DataLoss,
    FailedPrecondition,
    KeyAway,
    OutcomeUnknown,
    StoreUnavailable,
    VersionConflict,
)
from sidecar.core.failpoints import reach
from sidecar.core.ledger import LEDGER
from sidecar.core.marks import BLOB
from sidecar.core.operations import Check, Write, WriteId
from sidecar.core.sealing import Codec, ResealedPage, Sealer
from sidecar.core.store import (
    ChangePage,
    Hinting,
    Outcome,
    Page,
    PrefixProgress,
    Store,
    StoreCapabilities,
    SweepOrder,
    Swept,
    Touch,
    Touched,
)
from sidecar.stores.sealed.rows import (
    opened_entry,
    opened_told,
    relocated,
    sealed_messages,
    sealed_write,
    seals_of,
)

OVERHEAD_BYTES_MAX = 1024
"""What sealing adds to a value at most, a key service's wrapped data key included."""
UNBOUNDED = 1 << 62
FETCHES_MAX = 1_000
"""Data keys that one call fetches: a page or a batch has at most so many entries."""

T = TypeVar("T")


async def opened(sealer: Sealer, codec: Codec, work: Callable[[Codec], T]) -> T:
    """What `work` makes with the codec; data keys that it lacks are fetched. Raises DataLoss, and what `fetch` raises."""
    for _ in range(FETCHES_MAX):
        try:
            return work(codec)
        except KeyAway as exc:
            await sealer.fetch(exc.namespace, exc.sealed)
    return work(codec)


class SealedStore:
    """Over any store; `sealer` has the keys."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self.store = store
        self.sealer = sealer

    @property
    def capabilities(self) -> StoreCapabilities:
        """The store's, with room for what sealing adds."""
        claimed = self.store.capabilities
        most = claimed.value_bytes_max
        return claimed if most is None else replace(claimed, value_bytes_max=most - OVERHEAD_BYTES_MAX)

    def now(self) -> int:
        """The authority's clock."""
        return self.store.now()

    async def open(self) -> None:
        """As the store."""
        await self.store.open()

    async def close(self) -> None:
        """As the store."""
        await self.store.close()

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:
        """The committed state of each key, opened."""
        copies = await self.store.get(namespace, keys, deadline=deadline)
        if not any(isinstance(copy, Entry) for copy in copies):
            return copies
        return await self._opened(namespace, lambda codec: [_opened(codec, copy) for copy in copies])

    async def commit(self, write: Write) -> Outcome:
        """Apply a write, sealed."""
        codec = await self.sealer.codec(write.namespace)
        sealed = sealed_write(codec, write)
        if write.outbox:
            sealed = replace(sealed, outbox=sealed_messages(await self.sealer.codec(LEDGER), write))
        outcome = await self._fetching(len(write.operations), lambda: self.store.commit(sealed))
        return await opened(self.sealer, codec, lambda codec: _opened_outcome(codec, write, outcome))

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        """As the store."""
        return await self.store.touch(namespace, touches, announce=announce)

    async def scan(
        self,
        namespace: str,
        prefix: str,
        *,
        after: str | None,
        limit: int,
        bytes_max: int,
        keys_only: bool,
        deadline: float | None = None,
    ) -> Page:
        """Entries in key order, opened; their sealed values count towards `bytes_max`."""
        page = await self.store.scan(
            namespace,
            prefix,
            after=after,
            limit=limit,
            bytes_max=bytes_max,
            keys_only=keys_only,
            deadline=deadline,
        )
        if keys_only or not page.entries:
            return page
        return await self._opened(
            namespace,
            lambda codec: replace(page, entries=tuple([opened_entry(codec, entry) for entry in page.entries])),
        )

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        """As the store."""
        return await self.store.delete_prefix(namespace, prefix, limit=limit, request=request, progress=progress)

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        """As the store."""
        return await self.store.changes(after=after, limit=limit)

    async def sweep(self, order: SweepOrder) -> Swept:
        """As the store."""
        return await self.store.sweep(order)

    async def cache_generation(self, cache_identity: str) -> int:
        """As the store."""
        return await self.store.cache_generation(cache_identity)

    async def reseal(
        self, namespace: str, *, after: str | None, limit: int, bytes_max: int, fence: Check | None
    ) -> ResealedPage:
        """Seal a page of rows with the key of now. Raises VersionConflict when the fence is lost."""
        page = await self.store.scan(
            namespace, "", after=after, limit=limit, bytes_max=bytes_max, keys_only=False, deadline=None
        )
        codec = await self.sealer.codec(namespace)
        resealed, failed = 0, []
        for row in page.entries:
            if all(self.sealer.is_current(seal) for seal in seals_of(row)):
                continue
            try:
                entry = await opened(self.sealer, codec, partial(opened_entry, entry=row))
            except (DataLoss, FailedPrecondition) as exc:
                failed.append((row.key, exc.message))
                continue
            resealed += fence is None or await self._relocated(entry, fence)
        return ResealedPage(
            scanned=len(page.entries),
            resealed=resealed,
            failed=tuple(failed),
            away=tuple([row for row in page.entries if BLOB in row.labels]),
            after=page.entries[-1].key if page.more else None,
        )

    async def _relocated(self, entry: Entry, fence: Check) -> bool:
        """Whether it was this one that sealed it: who writes it meanwhile seals it, too."""
        relocate = relocated(entry)
        reach("reseal.relocate.before")
        try:
            await self.commit(Write(namespace=entry.namespace, operations=(relocate, fence), value_bytes_max=UNBOUNDED))
        except VersionConflict as exc:
            if exc.key == fence.key and exc.expected_version == fence.expected_version:
                raise
            return False
        except OutcomeUnknown as exc:
            raise StoreUnavailable(f"an entry may be sealed anew or not: {exc.message}") from exc
        reach("reseal.relocate.after")
        return True

    # ----

    async def _opened(self, namespace: str, work: Callable[[Codec], T]) -> T:
        return await opened(self.sealer, await self.sealer.codec(namespace), work)

    async def _fetching(self, operations: int, commit: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Commit; the data keys of what is changed in place are fetched."""
        for _ in range(operations):
            try:
                return await commit()
            except KeyAway as exc:
                await self.sealer.fetch(exc.namespace, exc.sealed)
        return await commit()


class HintingSealedStore(SealedStore):
    """Over a store whose daemons tell each other of commits."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        super().__init__(store, sealer)
        assert isinstance(store, Hinting), "see `sealed`"
        self._hinting: Hinting = store

    @property
    def listening(self) -> bool:
        """As the store."""
        return self._hinting.listening

    def hint(self) -> None:
        """As the store."""
        self._hinting.hint()

    def on_hint(self, heard: Callable[[], None]) -> None:
        """As the store."""
        self._hinting.on_hint(heard)


def sealed(store: Store, sealer: Sealer) -> SealedStore:
    """The store, sealed."""
    return (HintingSealedStore if isinstance(store, Hinting) else SealedStore)(store, sealer)


def _opened(codec: Codec, copy: Copy | None) -> Copy | None:
    return opened_entry(codec, copy) if isinstance(copy, Entry) else copy


def _opened_outcome(codec: Codec, write: Write, outcome: Outcome) -> Outcome:
    results = tuple(
        [
            result
            if result.value is None or write.namespace == LEDGER
            else replace(result, value=opened_told(codec, write, result.value))
            for result in outcome.results
        ]
    )
    copies = tuple([opened_entry(codec, copy) if isinstance(copy, Entry) else copy for copy in outcome.copies])
    return replace(outcome, results=results, copies=copies)
