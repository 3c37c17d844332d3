"""A Store in the daemon's own memory: the authority of volatile namespaces, and what simulations run on.

Nothing here awaits, so each method is atomic on the event loop. What a restart forgets must never match afterwards:
sequences begin at the clock's milliseconds times 32, which is ahead of every version handed out before as long as the
store averaged fewer than 32,000 writes a second and the clock was not set back.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from sortedcontainers import SortedDict

from sidecar.core.decide import decide
from sidecar.core.entry import Copy, Entry, Tombstone, live, version_of
from sidecar.core.errors import DECISIONS, DeadlineExceeded, decision_from_record, decision_record, storage_full
from sidecar.core.expiry import touched_expire_time
from sidecar.core.keys import prefix_end
from sidecar.core.observed import Census
from sidecar.core.operations import Write, WriteId
from sidecar.core.ports import Clock
from sidecar.core.store import (
    ChangeKind,
    ChangePage,
    ChangeRow,
    Outcome,
    Page,
    PrefixProgress,
    StoreCapabilities,
    SweepOrder,
    Swept,
    Touch,
    Touched,
    request_id_reused,
)
from sidecar.stores.memory.tally import Tally, end_bucket, end_bucket_at, size_of

SEQUENCES_PER_MS = 32


@dataclass(frozen=True, slots=True)
class _Remembered:
    fingerprint: bytes
    time: int
    answer: Outcome | PrefixProgress | dict[str, object]


class MemoryStore:
    """A Store in this process, bounded by `bytes_max`; it remembers the last `requests_max` request ids."""

    def __init__(
        self,
        *,
        clock: Clock,
        bytes_max: int = 1 << 30,
        requests_max: int = 100_000,
        changes_max: int = 100_000,
        epoch: int = 0,
    ) -> None:
        self.capabilities = StoreCapabilities(durable=False, shared=False)
        self.bytes_held = 0
        self._clock = clock
        self._bytes_max = bytes_max
        self._requests_max = requests_max
        self._epoch = epoch
        self._sequence = clock.now() * SEQUENCES_PER_MS
        self._rows: dict[str, SortedDict[str, Copy]] = {}
        self._tally = Tally()
        self._ends: SortedDict[int, dict[tuple[str, str], None]] = SortedDict()
        self._graves: deque[Tombstone] = deque()
        self._requests: OrderedDict[tuple[str, str], _Remembered] = OrderedDict()
        self._changes: deque[ChangeRow] = deque(maxlen=changes_max)
        # Cursors of a process that is gone are behind the oldest row: a gap, as it should be.
        self._change_count = self._sequence
        self._cache_identity = ""
        self._generation = 0

    def now(self) -> int:
        """This machine's clock."""
        return self._clock.now()

    async def open(self) -> None:
        """Nothing to prepare."""

    async def close(self) -> None:
        """Nothing to let go."""

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:  # noqa: ARG002  # no I/O that could take time
        """The committed state of each key."""
        rows = self._rows.get(namespace)
        if rows is None:
            return [None] * len(keys)
        now = self._clock.now()
        return [None if isinstance(copy := rows.get(key), Entry) and copy.expired(now) else copy for key in keys]

    async def commit(self, write: Write) -> Outcome:
        """Decide and store in one step."""
        if write.request is not None and (known := self._recall(write.namespace, write.request)) is not None:
            if isinstance(known, Outcome):
                return replace(known, copies=(), replayed=True)
            if isinstance(known, dict):
                raise decision_from_record(known)
            raise request_id_reused(write.request)
        if write.deadline is not None and self._clock.monotonic() >= write.deadline:
            raise DeadlineExceeded("the deadline passed before the write began; nothing was written")
        outcome = self._apply(write)
        if write.request is not None:
            self._remember(write.namespace, write.request, Outcome(version=outcome.version, results=outcome.results))
        return outcome

    def _apply(self, write: Write) -> Outcome:
        now = self._clock.now()
        version = version_of(self._epoch, self._sequence + 1)
        current = {
            operation.key: self._namespace(write.scope(operation)).get(operation.key) for operation in write.operations
        }
        try:
            decided = decide(write, current, now=now, version=version)
        except DECISIONS as exc:
            if write.request is not None and not write.tentative:
                self._remember(write.namespace, write.request, decision_record(exc))
            raise
        stored = decided.stored
        grown = sum(size_of(copy) for copy in stored) - sum(size_of(current.get(copy.key)) for copy in stored)
        if grown > 0 and self.bytes_held + grown > self._bytes_max:
            raise storage_full(f"the memory store is full ({self._bytes_max} bytes)")
        if decided.draws:
            self._sequence += 1
        for copy in stored:
            self._put(copy)
        for key in decided.forgotten:
            self._forget(write.namespace, key)
        for copy in decided.copies:
            self._announce(copy, ChangeKind.PUT if isinstance(copy, Entry) else ChangeKind.DELETE)
        return Outcome(version=version if decided.draws else 0, results=decided.results, copies=decided.copies)

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        """Move ends."""
        return [self._touch(namespace, touch, announce) for touch in touches]

    def _touch(self, namespace: str, touch: Touch, announce: bool) -> Touched:
        now = self._clock.now()
        entry = live(self._rows.get(namespace, {}).get(touch.key), now)
        if entry is None:
            return Touched(found=False)
        end, ttl = touched_expire_time(entry, now, ttl_ms=touch.ttl_ms, extend_only=touch.extend_only)
        if (end, ttl) != (entry.expire_time, entry.ttl_ms):
            self._put(entry._replace(expire_time=end, ttl_ms=ttl))
            if announce:
                self._announce(entry, ChangeKind.TOUCH)
        return Touched(found=True, expire_time=end)

    async def scan(
        self,
        namespace: str,
        prefix: str,
        *,
        after: str | None,
        limit: int,
        bytes_max: int,
        keys_only: bool,
        deadline: float | None = None,  # noqa: ARG002  # no I/O that could take time
    ) -> Page:
        """Entries in key order."""
        rows = self._rows.get(namespace)
        if rows is None:
            return Page(entries=(), more=False)
        now = self._clock.now()
        begin, inclusive = (prefix, True) if after is None or after < prefix else (after, False)
        entries: list[Entry] = []
        size = 0
        for key in rows.irange(begin, prefix_end(prefix), inclusive=(inclusive, False)):
            entry = live(rows[key], now)
            if entry is None:
                continue
            size += 0 if keys_only else len(entry.value)
            if len(entries) == limit or (entries and size > bytes_max):
                return Page(entries=tuple(entries), more=True)
            entries.append(entry._replace(value=b"") if keys_only else entry)
        return Page(entries=tuple(entries), more=False)

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        """One batch of a deletion."""
        if request is not None and (known := self._recall(namespace, request)) is not None:
            if not isinstance(known, PrefixProgress):
                raise request_id_reused(request)
            progress = known
        if progress is None:
            progress = PrefixProgress(horizon=version_of(self._epoch, self._sequence), deleted_count=0, done=False)
        if progress.done:
            return progress
        now = self._clock.now()
        rows = self._namespace(namespace)
        within = rows.irange(prefix, prefix_end(prefix), inclusive=(True, False))
        doomed = (key for key in within if (entry := live(rows[key], now)) and entry.version <= progress.horizon)
        keys = list(islice(doomed, limit))
        version = version_of(self._epoch, self._sequence + 1)
        self._sequence += bool(keys)
        graves = tuple(Tombstone(namespace=namespace, key=key, version=version, delete_time=now) for key in keys)
        for grave in graves:
            self._put(grave)
            self._announce(grave, ChangeKind.DELETE)
        after = PrefixProgress(
            horizon=progress.horizon, deleted_count=progress.deleted_count + len(keys), done=len(keys) < limit
        )
        if request is not None:
            self._remember(namespace, request, after)
        return replace(after, tombstones=graves)

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        """Change rows after a cursor, which counts rows since the start."""
        if after is None:
            return ChangePage(changes=(), cursor=self._change_count)
        oldest = self._change_count - len(self._changes)
        # A cursor beyond the newest row is of another process, which is gone.
        gap = not oldest <= after <= self._change_count
        begin = oldest if gap else after
        rows = tuple(islice(self._changes, begin - oldest, begin - oldest + limit))
        end = begin + len(rows)
        return ChangePage(changes=rows, cursor=end, gap=gap, cursors=tuple(range(begin + 1, end + 1)))

    async def sweep(self, order: SweepOrder) -> Swept:
        """Clean what has ended."""
        now = self._clock.now()
        ended = list(islice(self._ended(now), order.limit))
        expired = tuple(self._expire(entry.namespace, entry.key, now) for entry in ended)
        tombstones = requests = 0
        while self._graves and tombstones < order.limit:
            if self._graves[0].delete_time + order.tombstone_retention_ms > now:
                break
            grave = self._graves.popleft()
            rows = self._namespace(grave.namespace)
            if rows.get(grave.key) is grave:
                del rows[grave.key]
                self.bytes_held -= size_of(grave)
                tombstones += 1
        while self._requests and requests < order.limit:
            at, oldest = next(iter(self._requests.items()))
            if oldest.time + order.request_retention_ms > now:
                break
            del self._requests[at]
            requests += 1
        return Swept(expired=expired, tombstones=tombstones, requests=requests)

    async def cache_generation(self, cache_identity: str) -> int:
        """Rises when another cache is seen."""
        if cache_identity != self._cache_identity:
            self._cache_identity = cache_identity
            self._generation += 1
        return self._generation

    async def census(self) -> Census:
        """What is held, to the entry."""
        return self._tally.census(self._ended(self._clock.now()))

    def _ended(self, now: int) -> Iterator[Entry]:
        """What has ended and is not swept yet."""
        for bucket in self._ends.irange(None, end_bucket_at(now)):
            for namespace, key in self._ends[bucket]:
                copy = self._rows[namespace][key]
                if isinstance(copy, Entry) and copy.expired(now):
                    yield copy

    def _expire(self, namespace: str, key: str, now: int) -> Tombstone:
        self._sequence += 1
        version = version_of(self._epoch, self._sequence)
        grave = Tombstone(namespace=namespace, key=key, version=version, delete_time=now)
        self._put(grave)
        self._announce(grave, ChangeKind.EXPIRE)
        return grave

    def _namespace(self, namespace: str) -> SortedDict[str, Copy]:
        rows = self._rows.get(namespace)
        if rows is None:
            rows = self._rows[namespace] = SortedDict()
        return rows

    def _put(self, copy: Copy) -> None:
        rows = self._namespace(copy.namespace)
        before = rows.get(copy.key)
        rows[copy.key] = copy
        self.bytes_held += size_of(copy) - size_of(before)
        self._tally.replace(before, copy)
        self._index_end(before, copy)
        if isinstance(copy, Tombstone):
            self._graves.append(copy)

    def _forget(self, namespace: str, key: str) -> None:
        before = self._namespace(namespace).pop(key, None)
        self.bytes_held -= size_of(before)
        self._tally.replace(before, None)
        if (bucket := end_bucket(before)) is not None:
            self._unindex_end(bucket, (namespace, key))

    def _unindex_end(self, bucket: int, at: tuple[str, str]) -> None:
        ends = self._ends[bucket]
        ends.pop(at, None)
        if not ends:
            del self._ends[bucket]

    def _index_end(self, before: Copy | None, after: Copy) -> None:
        old, new = end_bucket(before), end_bucket(after)
        if old == new:
            return
        at = (after.namespace, after.key)
        if old is not None:
            self._unindex_end(old, at)
        if new is not None:
            self._ends.setdefault(new, {})[at] = None

    def _announce(self, copy: Copy, kind: ChangeKind) -> None:
        self._change_count += 1
        self._changes.append(ChangeRow(namespace=copy.namespace, key=copy.key, version=copy.version, kind=kind))

    def _recall(self, namespace: str, request: WriteId) -> Outcome | PrefixProgress | dict[str, object] | None:
        known = self._requests.get((namespace, request.request_id))
        if known is None:
            return None
        if known.fingerprint != request.fingerprint:
            raise request_id_reused(request)
        return known.answer

    def _remember(self, namespace: str, request: WriteId, answer: Outcome | PrefixProgress | dict[str, object]) -> None:
        at = (namespace, request.request_id)
        self._requests[at] = _Remembered(request.fingerprint, self._clock.now(), answer)
        if len(self._requests) > self._requests_max:
            self._requests.popitem(last=False)
