"""A store's own sweep as a part of the cleaning: expired entries, tombstones, request ids, change rows.

It needs no owner: every step is one commit of the store's, and what two daemons sweep at once is swept once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import replace

from sidecar.core.errors import SidecarError
from sidecar.core.modes import Tier
from sidecar.core.ports import Ports
from sidecar.core.store import SweepOrder, Swept
from sidecar.engine.cleaning.progress import Progress, State
from sidecar.engine.cleaning.tally import CHANGES, EXPIRED, REQUEST_IDS, TOMBSTONES, Tally
from sidecar.tiers.placement import Placement

SWEEP = "sweep"
DUTY = 0.05
"""Of a sweep that is behind: a hundred thousand entries that end at once are gone in two minutes, and nobody notices."""
PATIENCE_S = 180.0
"""Who is behind for longer is not catching up, because more ends all the time: then the sweeps take more room."""
HASTE_EVERY_S = 60.0
HASTE_MAX = 8


class Sweeper:
    """Sweeps one placement's authority."""

    name = SWEEP

    def __init__(self, placement: Placement, order: SweepOrder, *, ports: Ports, tally: Tally) -> None:
        """`order.limit` is that of a sweep in no haste."""
        self._placement = placement
        self._order = order
        self._monotonic = ports.clock.monotonic
        self._tally = tally
        self._behind_s: float | None = None
        """Since when more is left after each sweep."""

    @property
    def tier(self) -> Tier:
        """The authority's."""
        return self._placement.tier

    @property
    def haste(self) -> int:
        """How many times as much as usual a sweep does: 1, doubled with every minute for which it has been behind."""
        if self._behind_s is None or (late_s := self._monotonic() - self._behind_s - PATIENCE_S) <= 0:
            return 1
        return int(min(2 ** (1 + late_s // HASTE_EVERY_S), HASTE_MAX))

    @property
    def duty(self) -> float:
        """More in haste."""
        return DUTY * self.haste

    async def round(self) -> bool:
        """One batch of each kind. Whether more is left."""
        more, _ = await self._sweep()
        return more

    async def release(self) -> None:
        """There is nothing to give up."""

    async def collect(self, *, dry_run: bool) -> AsyncGenerator[Progress, None]:
        """All that is to be swept now. No store can count it without doing it."""
        if dry_run:
            yield Progress(tier=self.tier, job=self.name, state=State.NOT_COUNTED)
            return
        counts: Counter[str] = Counter()
        more = True
        while more:
            try:
                more, swept = await self._sweep()
            except SidecarError as exc:
                yield Progress(tier=self.tier, job=self.name, state=State.FAILED, counts=dict(counts), error=exc)
                return
            counts.update(counts_of(swept))
            state = State.RUNNING if more else State.DONE
            yield Progress(tier=self.tier, job=self.name, state=state, counts=dict(counts))

    async def _sweep(self) -> tuple[bool, Swept]:
        order = replace(self._order, limit=self._order.limit * self.haste)
        swept = await self._placement.sweep(order)
        more = swept.reached(order.limit)
        if not more:
            self._behind_s = None
        elif self._behind_s is None:
            self._behind_s = self._monotonic()
        self._tally.add(counts_of(swept))
        self._tally.worked(self.tier, self.name, now=self._placement.authority.now(), more=more)
        return more, swept


def counts_of(swept: Swept) -> dict[str, int]:
    """What a sweep cleaned, by kind."""
    return {
        EXPIRED: len(swept.expired),
        TOMBSTONES: swept.tombstones,
        REQUEST_IDS: swept.requests,
        CHANGES: swept.changes,
    }
