"""The daemon's cleaning: what is cleaned behind each placement, how often, and with how much of the time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from sidecar.core.cleaning import Job
from sidecar.core.errors import SidecarError
from sidecar.core.ports import Ports
from sidecar.core.store import SweepOrder
from sidecar.engine.cleaning.cleaner import Cleaner
from sidecar.engine.cleaning.progress import Part
from sidecar.engine.cleaning.sweeper import SWEEP, Sweeper
from sidecar.engine.cleaning.tally import Tally
from sidecar.engine.cleaning.worker import Worker
from sidecar.runtime.settings import Settings
from sidecar.runtime.tasks import Rounds
from sidecar.tiers.placement import Placement

SWEEP_BATCH = 100
SWEEP_BATCH_EMBEDDED = 25
"""Of a store in this process: what it decodes and encodes holds the interpreter's lock, and whoever Gets waits for that."""
DUTY = {"settle": 0.5}
"""The share of the time that a job may take while it is behind. What waits to be settled is written all the time."""
DUTY_OF_OTHERS = 0.1
INTERVALS_S = {"settle": 1.0, "retention": 600.0, "orphans": 6 * 3600.0}
"""From the end of a pass to the next."""
INTERVAL_S_OF_OTHERS = 60.0
RELEASE_S = 1.0
"""What a stop spends on telling others that they may go on; they find out by themselves within a lease."""


class Cleaning:
    """The rounds of every part. `start` once, then `stop`."""

    def __init__(self, cleaner: Cleaner, settings: Settings) -> None:
        self.cleaner = cleaner
        self._rounds = [
            Rounds(
                f"{part.name} of the {part.tier.name.lower()} tier",
                part.round,
                interval_s=interval_s(part.name, settings),
                duty=partial(_duty, part),
                # A start is for serving, first.
                delay_s=0.0 if part.name == SWEEP else settings.cleaning_interval_s,
            )
            for part in cleaner.parts
        ]

    def start(self) -> None:
        """Begin."""
        for rounds in self._rounds:
            rounds.start()

    async def stop(self) -> None:
        """Finish the steps under way, and let other daemons go on where they ended. Idempotent."""
        for rounds in self._rounds:
            await rounds.stop()
        with contextlib.suppress(TimeoutError, SidecarError):
            async with asyncio.timeout(RELEASE_S):
                for part in self.cleaner.parts:
                    await part.release()


def _duty(part: Part) -> float:
    return part.duty


def interval_s(part: str, settings: Settings) -> float:
    """From the end of a pass of a part to the next."""
    if part == SWEEP:
        return settings.sweep_interval_s
    return max(INTERVALS_S.get(part, INTERVAL_S_OF_OTHERS), settings.cleaning_interval_s)


def cleaner(settings: Settings, ports: Ports, placed: Sequence[tuple[Placement, Sequence[Job]]]) -> Cleaner:
    """Everything that is cleaned: each placement's jobs, in their order, then its authority's own sweep."""
    tally = Tally()
    order = SweepOrder(
        limit=SWEEP_BATCH_EMBEDDED,
        tombstone_retention_ms=int(settings.tombstone_retention_s * 1000),
        request_retention_ms=int(settings.request_id_retention_s * 1000),
    )
    parts: list[Part] = []
    for placement, jobs in placed:
        # What the others leave to nobody is for the collection of blobs, in the same pass.
        ordered = sorted(jobs, key=lambda job: job.name == "blobs")
        parts += [
            Worker(
                job,
                placement.ledger,
                tier=placement.tier,
                ports=ports,
                tally=tally,
                # Somewhat less than its rounds wait, or a clock that is set right would make it miss one.
                interval_ms=int(interval_s(job.name, settings) * 900),
                duty=DUTY.get(job.name, DUTY_OF_OTHERS),
            )
            for job in ordered
        ]
        limit = SWEEP_BATCH if placement.authority.capabilities.shared else SWEEP_BATCH_EMBEDDED
        parts.append(Sweeper(placement, replace(order, limit=limit), ports=ports, tally=tally))
    return Cleaner(parts, tally)
