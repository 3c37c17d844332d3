"""Wrong stores: `MemoryStore` with one promise broken each, as read in other projects' code or met in their reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sidecar.core.entry import Copy, Entry, Tombstone, version_of
from sidecar.core.operations import WriteId
from sidecar.core.store import (
    ChangeKind,
    ChangePage,
    Page,
    PrefixProgress,
    SweepOrder,
    Swept,
    Touch,
    Touched,
)
from sidecar.stores.memory import MemoryStore


class ExpiredReadable(MemoryStore):
    """Expiry is left to the sweeper."""

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:
        return [self._namespace(namespace).get(key) for key in keys]


class ScanAnswersExpired(MemoryStore):
    """A listing does not look at ends."""

    async def scan(self, namespace: str, prefix: str, **options: Any) -> Page:
        rows = self._namespace(namespace)
        held = dict(rows)
        for key, copy in held.items():
            if isinstance(copy, Entry):
                rows[key] = copy._replace(expire_time=None)
        try:
            return await super().scan(namespace, prefix, **options)
        finally:
            rows.update(held)


class ScanInUtf16Order(MemoryStore):
    """Keys sort as in languages whose strings are UTF-16."""

    async def scan(
        self, namespace: str, prefix: str, *, after: str | None, limit: int, bytes_max: int, **options: Any
    ) -> Page:
        whole = await super().scan(namespace, prefix, after=None, limit=1 << 30, bytes_max=1 << 60, **options)

        def rank(key: str) -> bytes:
            return key.encode("utf-16-be")

        entries = sorted(whole.entries, key=lambda entry: rank(entry.key))
        rest = [entry for entry in entries if after is None or rank(entry.key) > rank(after)]
        return Page(entries=tuple(rest[:limit]), more=len(rest) > limit)


class PageMayBeEmpty(MemoryStore):
    """An entry larger than a page is never listed."""

    async def scan(self, namespace: str, prefix: str, *, bytes_max: int, **options: Any) -> Page:
        page = await super().scan(namespace, prefix, bytes_max=bytes_max, **options)
        if sum(len(entry.value) for entry in page.entries) > bytes_max:
            return Page(entries=(), more=True)
        return page


class LastPageSaysMore(MemoryStore):
    """`more` is guessed from a full page."""

    async def scan(self, namespace: str, prefix: str, *, limit: int, **options: Any) -> Page:
        page = await super().scan(namespace, prefix, limit=limit, **options)
        return replace(page, more=page.more or len(page.entries) == limit)


class TouchRevives(MemoryStore):
    """A touch looks at the row and not at its end."""

    def _touch(self, namespace: str, touch: Touch, announce: bool) -> Touched:
        copy = self._namespace(namespace).get(touch.key)
        if isinstance(copy, Entry) and copy.expired(self.now()):
            self._put(copy._replace(expire_time=self.now() + 1))
        return super()._touch(namespace, touch, announce)


class TouchIsAWrite(MemoryStore):
    """A touch takes a new version, and guards of those who read before fail."""

    def _touch(self, namespace: str, touch: Touch, announce: bool) -> Touched:
        touched = super()._touch(namespace, touch, announce)
        copy = self._namespace(namespace).get(touch.key)
        if touched.found and isinstance(copy, Entry):
            self._sequence += 1
            self._put(copy._replace(version=version_of(self._epoch, self._sequence)))
        return touched


class TouchShortens(MemoryStore):
    """`extend_only` is not looked at."""

    def _touch(self, namespace: str, touch: Touch, announce: bool) -> Touched:
        return super()._touch(namespace, replace(touch, extend_only=False), announce)


class TouchNotAnnounced(MemoryStore):
    """Other caches never hear of a new end."""

    def _touch(self, namespace: str, touch: Touch, announce: bool) -> Touched:
        return super()._touch(namespace, touch, announce=False)


class PrefixDeletionWithoutHorizon(MemoryStore):
    """What is written while a deletion by prefix goes on is deleted too."""

    async def delete_prefix(
        self, namespace: str, prefix: str, *, progress: PrefixProgress | None, **options: Any
    ) -> Any:
        if progress is not None:
            progress = replace(progress, horizon=1 << 62)
        return await super().delete_prefix(namespace, prefix, progress=progress, **options)


class PrefixDeletionForgetsItsRequest(MemoryStore):
    """A repeated deletion by prefix begins anew."""

    async def delete_prefix(self, namespace: str, prefix: str, *, request: WriteId | None, **options: Any) -> Any:
        return await super().delete_prefix(namespace, prefix, request=None, **options)


class PrefixDeletionIsSilent(MemoryStore):
    """A deletion by prefix leaves no change rows."""

    async def delete_prefix(self, namespace: str, prefix: str, **options: Any) -> PrefixProgress:
        rows, count = self._changes.copy(), self._change_count
        progress = await super().delete_prefix(namespace, prefix, **options)
        self._changes, self._change_count = rows, count
        return progress


class ChangesSkipToNewest(MemoryStore):
    """A page of changes moves the cursor beyond what it told."""

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        page = await super().changes(after=after, limit=limit)
        return replace(page, cursor=self._change_count)


class GapNotTold(MemoryStore):
    """A reader that comes too late believes that nothing happened."""

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        return replace(await super().changes(after=after, limit=limit), gap=False)


class ExpiryToldAsPut(MemoryStore):
    """All changes look alike."""

    def _announce(self, copy: Copy, kind: ChangeKind) -> None:
        super()._announce(copy, ChangeKind.PUT if kind is ChangeKind.EXPIRE else kind)


class SweepIsSilent(MemoryStore):
    """Expired entries vanish without a tombstone."""

    def _expire(self, namespace: str, key: str, now: int) -> Tombstone:
        grave = super()._expire(namespace, key, now)
        del self._namespace(namespace)[key]
        self._graves.clear()
        return grave


class SweepUnbounded(MemoryStore):
    """A sweep holds the store until everything is clean."""

    async def sweep(self, order: SweepOrder) -> Swept:
        return await super().sweep(replace(order, limit=1 << 30))


class SweepForgetsReCreated(MemoryStore):
    """An old tombstone takes the key that was created since with it."""

    async def sweep(self, order: SweepOrder) -> Swept:
        for grave in list(self._graves):
            if grave.delete_time + order.tombstone_retention_ms <= self.now():
                self._namespace(grave.namespace).pop(grave.key, None)
        return await super().sweep(order)


class GenerationForgotten(MemoryStore):
    """A cache that comes back is believed to be what it was."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._known: dict[str, int] = {}

    async def cache_generation(self, cache_identity: str) -> int:
        return self._known.setdefault(cache_identity, len(self._known) + 1)
