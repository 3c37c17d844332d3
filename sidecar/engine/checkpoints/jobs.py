"""Background jobs about checkpoints, one of each for each placement. All can be done twice, and be left at any point."""

from __future__ import annotations

from collections import Counter

from sidecar.core import ledger as names
from sidecar.core.checkpoints import Record
from sidecar.core.cleaning import Step
from sidecar.core.entry import Entry
from sidecar.core.errors import ColdUnavailable, DataLoss
from sidecar.core.operations import Check
from sidecar.core.policy import CheckpointPolicy
from sidecar.engine.checkpoints.checkpoints import Checkpoints
from sidecar.engine.checkpoints.records import Held, Scope, held, scope_of
from sidecar.engine.checkpoints.removing import beyond, remove, remove_content
from sidecar.engine.checkpoints.settling import settle, waiting_of
from sidecar.tiers.placement import Placement

SETTLED, REMOVED, CONTENTS = "settled", "checkpoints", "contents"
"""What is counted."""


class Settle:
    """Stores automatic checkpoints that wait by what changed, in the order of their ids; those that nobody keeps are removed."""

    name = "settle"

    def __init__(self, checkpoints: Checkpoints, placement: Placement) -> None:
        self._checkpoints = checkpoints
        self._home = checkpoints.home(placement)

    async def step(self, cursor: str, *, limit: int, fence: tuple[Check, ...], dry_run: bool) -> Step:
        """Settle the next `limit` that wait. What can't be read stays as it is, and so does its key while cold is away."""
        page = await self._home.ledger.scan(names.WAITING, after=cursor or None, limit=limit, keys_only=dry_run)
        following = page.entries[-1].key if page.more else ""
        if dry_run:
            return Step(cursor=following, counts={SETTLED: len(page.entries)})
        counts: Counter[str] = Counter()
        unwanted: dict[Scope, list[str]] = {}
        blocked: set[Scope] = set()
        for row in page.entries:
            namespace, checkpoint = waiting_of(row)
            scope = await self._scope(namespace, checkpoint)
            if scope is None:
                continue
            if scope not in unwanted:
                unwanted[scope] = await beyond(self._home, scope, keep=self._checkpoints.policy(namespace).keep)
                for each in unwanted[scope][:limit]:
                    counts[REMOVED] += await remove(self._home, namespace, each, fence=fence)
            if checkpoint not in unwanted[scope] and scope not in blocked:
                try:
                    counts[SETTLED] += await settle(self._home, row, fence=fence)
                except ColdUnavailable:
                    blocked.add(scope)  # those after it are stored by what changed since it
                except DataLoss:
                    continue  # told to whoever reads it
        return Step(cursor=following, counts=counts)

    async def _scope(self, namespace: str, checkpoint: str) -> Scope | None:
        """What the checkpoint is of; itself, if there is no record. None: its record can't be read."""
        try:
            found = await self._home.records.find(namespace, checkpoint)
        except DataLoss:
            return None
        return Scope(namespace, checkpoint) if found is None else scope_of(found.record)


class Retention:
    """Removes what the policies of namespaces keep no longer: automatic ones beyond `keep` of a key, and all above `max_age`."""

    name = "retention"

    def __init__(self, checkpoints: Checkpoints, placement: Placement) -> None:
        self._checkpoints = checkpoints
        self._home = checkpoints.home(placement)

    async def step(self, cursor: str, *, limit: int, fence: tuple[Check, ...], dry_run: bool) -> Step:
        """Look at the next `limit` records."""
        page = await self._home.ledger.scan(names.CHECKPOINTS, after=cursor or None, limit=limit)
        following = page.entries[-1].key if page.more else ""
        now = self._home.ledger.now()
        unwanted: dict[Scope, list[str]] = {}
        counts: Counter[str] = Counter()
        for record in [found.record for row in page.entries if (found := _readable(row)) is not None]:
            policy = self._checkpoints.policy(record.namespace)
            if not _too_old(record, policy, now):
                scope = scope_of(record)
                if record.automatic and scope not in unwanted:
                    unwanted[scope] = await beyond(self._home, scope, keep=policy.keep)
                if record.checkpoint_id not in unwanted.get(scope, ()):
                    continue
            counts[REMOVED] += dry_run or await remove(self._home, record.namespace, record.checkpoint_id, fence=fence)
        return Step(cursor=following, counts=counts)


class Contents:
    """Removes contents that nothing refers to. Their blobs are then nobody's, and collected as such."""

    name = "contents"

    def __init__(self, checkpoints: Checkpoints, placement: Placement) -> None:
        self._home = checkpoints.home(placement)

    async def step(self, cursor: str, *, limit: int, fence: tuple[Check, ...], dry_run: bool) -> Step:
        """Look at the next `limit` counters."""
        page = await self._home.ledger.scan(names.REFERENCES, after=cursor or None, limit=limit)
        following = page.entries[-1].key if page.more else ""
        removed = 0
        for row in page.entries:
            if row.value == b"0":
                removed += 1 if dry_run else await remove_content(self._home, row, fence=fence, limit=limit)
        return Step(cursor=following, counts={CONTENTS: removed})


def _too_old(record: Record, policy: CheckpointPolicy, now: int) -> bool:
    return policy.max_age_ms is not None and record.create_time + policy.max_age_ms <= now


def _readable(row: Entry) -> Held | None:
    """None: a record that doesn't verify is told to whoever asks for it, and stays."""
    namespace, _, inverted = row.key.removeprefix(names.CHECKPOINTS).partition(names.SEPARATOR)
    try:
        return held(row, namespace, names.inverted(inverted))
    except DataLoss:
        return None
