"""What was cleaned since the start. Written by the event loop; the probes' thread reads copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.core.modes import Tier

EXPIRED, TOMBSTONES, REQUEST_IDS, CHANGES = ("expired", "tombstones", "request_ids", "changes")
"""What the stores' own sweeps clean."""
KINDS = (
    *(EXPIRED, TOMBSTONES, REQUEST_IDS, CHANGES),
    *("settled", "checkpoints", "contents", "archived", "blobs", "kept", "orphans"),
)
"""What is told from the start, also where there was none of it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What a job did here lately. `pass_time`: when its latest whole pass ended, None: none did. `behind`: more is left."""

    tier: Tier
    job: str
    pass_time: int | None
    behind: bool


class Tally:
    """Counts by kind, and each job's latest pass."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self._jobs: dict[tuple[Tier, str], Cleaned] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """Things cleaned, by kind."""
        return dict(self._counts)

    @property
    def jobs(self) -> list[Cleaned]:
        """Every job that has begun."""
        return list(self._jobs.values())

    def add(self, counts: Mapping[str, int]) -> None:
        """A step's."""
        self._counts.update(counts)

    def worked(self, tier: Tier, job: str, *, now: int, more: bool) -> None:
        """A step ended, and with it the pass unless more is left."""
        before = self._jobs.get((tier, job))
        pass_time = (None if before is None else before.pass_time) if more else now
        self._jobs[tier, job] = Cleaned(tier=tier, job=job, pass_time=pass_time, behind=more)
