"""The job that moves values to the cold tier which nobody has used for long.

The value stays what it is, under its version, so nobody is told; caches go on with the copies they have. A reader who
finds it in cold brings it back (`Placement.wake`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from sidecar.core.cleaning import Step
from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.ledger import SEPARATOR
from sidecar.core.marks import BLOB, WOKEN
from sidecar.core.operations import Check, Relocate, Write
from sidecar.core.policy import HOUR_MS
from sidecar.tiers.cold import UNBOUNDED, Cold, is_away
from sidecar.tiers.placement import Placement

VALUE_BYTES_MIN = 512
"""What is smaller costs more as an object than as a row."""
LEFT_MS_MIN = HOUR_MS
"""What ends sooner isn't worth the way."""
PAGE_BYTES_MAX = 1 << 20


class Archive:
    """`namespaces` says which of them archive, and after how many milliseconds of idleness."""

    name = "archive"

    def __init__(self, placement: Placement, cold: Cold, namespaces: Callable[[], Mapping[str, int]]) -> None:
        self._placement = placement
        self._cold = cold
        self._namespaces = namespaces

    async def step(self, cursor: str, *, limit: int, fence: tuple[Check, ...], dry_run: bool) -> Step:
        """Look at some entries; move the values of those that are idle."""
        idle_ms = self._namespaces()
        namespace, _, after = cursor.partition(SEPARATOR)
        if namespace not in idle_ms:
            namespace, after = min((name for name in idle_ms if name > namespace), default=""), ""
        if not namespace:
            return Step(cursor="")
        page = await self._placement.scan(
            namespace, "", after=after or None, limit=limit, bytes_max=PAGE_BYTES_MAX, keys_only=True, deadline=None
        )
        counts: Counter[str] = Counter()
        for entry in page.entries:
            if self._is_idle(entry, idle_ms[namespace]):
                counts[await self._archive(entry, fence, dry_run=dry_run)] += 1
        following = namespace + SEPARATOR + page.entries[-1].key if page.more else self._next(idle_ms, namespace)
        return Step(cursor=following, counts={kind: count for kind, count in counts.items() if kind})

    def _next(self, idle_ms: Mapping[str, int], namespace: str) -> str:
        following = min((name for name in idle_ms if name > namespace), default="")
        return following and following + SEPARATOR

    def _is_idle(self, entry: Entry, idle_ms: int) -> bool:
        now = self._placement.authority.now()
        if is_away(entry) or (entry.expire_time is not None and entry.expire_time - now < LEFT_MS_MIN):
            return False
        return now - max(entry.update_time, int(entry.labels.get(WOKEN, "0"))) > idle_ms

    async def _archive(self, found: Entry, fence: tuple[Check, ...], *, dry_run: bool) -> str:
        """What it is counted as; empty: nothing was done."""
        try:
            [row] = await self._placement.rows(found.namespace, [found.key])
        except DataLoss:
            return "corrupt"
        if not isinstance(row, Entry) or row.version != found.version or is_away(row):
            return ""
        if any(check.key == row.key for check in fence):
            return ""  # a write names each key once, whosever it is
        if len(row.value) < VALUE_BYTES_MIN:
            return ""
        if dry_run:
            return "archived"
        # In the ledger the fence is a key like others; in a caller's namespace it has to be said whose key it is.
        fence = tuple(replace(check, ledger=True) for check in fence)
        pointer, check = await self._cold.put(
            row.namespace, row.key, row.value, schema=row.schema_version, archived=True, fence=fence
        )
        away = Relocate(
            key=row.key,
            expected_version=row.version,
            value=b"",
            marks={BLOB: pointer.text},
            expected_schema=row.schema_version,
        )
        reach("archive.relocate.before")
        try:
            await self._placement.relocate(
                Write(namespace=row.namespace, operations=(away, check, *fence), value_bytes_max=UNBOUNDED)
            )
        except VersionConflict as exc:
            if exc.key not in (row.key, check.key):
                raise  # the fence: the job is another's by now
            return ""
        reach("archive.relocate.after")
        return "archived"
