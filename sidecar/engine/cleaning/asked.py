"""Work that somebody asks for and waits for: one daemon at a time does it, and whoever is asked next goes on where it was."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Generic, TypeVar

from sidecar.core.errors import SidecarError, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.engine.cleaning.owners import Turn, look
from sidecar.engine.cleaning.progress import State
from sidecar.tiers.placement import Placement

LEASE_MS = 3_000
"""Shorter than of other jobs: somebody waits for this one, and goes on with it when its daemon has died."""
WAIT_S = 2 * LEASE_MS / 1000
"""How long another daemon's turn is waited for: a dead one's is over by then."""
LOOK_AGAIN_S = 0.5

P = TypeVar("P")


class AskedFor(ABC, Generic[P]):
    """One call. `run` it once. Of a dry run, nobody has the turn."""

    def __init__(self, placement: Placement, job: str, *, dry_run: bool) -> None:
        self._placement = placement
        self._job = job
        self._dry_run = dry_run
        self._ports = placement.ports

    @abstractmethod
    def _now(self, state: State) -> P:
        """The progress up to now, in another state."""

    @abstractmethod
    def _passes(self, turn: Turn | None) -> AsyncGenerator[P, None]:
        """All of it, from where the last call ended; the turn is finished before it ends."""

    async def run(self) -> AsyncGenerator[P, None]:
        """Its progress after each page; the last has ended. Whoever gives it up closes it, and others go on there.

        Raises StoreUnavailable, ColdUnavailable, StoreCorrupt and what else the authority raises.
        """
        turn: Turn | None = None
        try:
            if not self._dry_run:
                end_s = self._ports.clock.monotonic() + WAIT_S
                while (turn := await self._claim()) is None:
                    if self._ports.clock.monotonic() >= end_s:
                        yield self._now(State.BUSY)
                        return
                    yield self._now(State.WAITING)
                    await self._ports.sleep(LOOK_AGAIN_S)
            async for progress in self._passes(turn):
                yield progress
            turn = None
        except VersionConflict as exc:
            if turn is None or not turn.lost_by(exc):
                raise
            turn = None
            yield self._now(State.BUSY)
        finally:
            if turn is not None:
                with suppress(SidecarError):  # it ends by itself
                    await turn.release()

    async def _claim(self) -> Turn | None:
        claim = await look(self._placement.ledger, self._job)
        turn = None if claim.held else await claim.take(self._ports.token(), LEASE_MS)
        reach("asked.claim.after")
        return turn
