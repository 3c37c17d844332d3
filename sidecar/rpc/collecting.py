"""CollectGarbage: a collection in a task of the daemon's own, which ends between two steps when its caller is gone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import aclosing

from sidecar.core.errors import Draining
from sidecar.core.modes import Tier
from sidecar.engine.cleaning.cleaner import Cleaner
from sidecar.engine.cleaning.progress import Progress
from sidecar.rpc.calls import Admission, Context
from sidecar.rpc.convert import wire
from statesidecar.v1 import admin_service_pb2 as pb

IDLE_TIMES = 1.0
"""After a step, as long a pause: somebody waits for the collection, and others have work too."""


class Collections:
    """What the RPC needs of a daemon that cleans."""

    def __init__(self, cleaner: Cleaner, admission: Admission) -> None:
        self._cleaner = cleaner
        self._admission = admission

    async def tell(self, context: Context, *, dry_run: bool) -> None:
        """Collect, and tell the caller how far it is. Raises DRAINING and QUEUE_FULL; returns when all is told."""
        self._admission.enter()
        try:
            await _Collection(self._cleaner, self._admission, dry_run=dry_run).tell(context)
        finally:
            self._admission.leave()


class _Collection:
    """One call. A caller that reads slowly hears less often, and of everything in the end."""

    def __init__(self, cleaner: Cleaner, admission: Admission, *, dry_run: bool) -> None:
        self._cleaner = cleaner
        self._admission = admission
        self._dry_run = dry_run
        self._order = [(part.tier, part.name) for part in cleaner.parts]
        self._latest: dict[tuple[Tier, str], Progress] = {}
        self._untold: set[tuple[Tier, str]] = set()
        self._wake = asyncio.Event()
        self._given_up = asyncio.Event()

    async def tell(self, context: Context) -> None:
        task = asyncio.get_running_loop().create_task(self._work())
        task.add_done_callback(lambda _: self._wake.set())
        try:
            while not task.done() or self._untold:
                await self._wake.wait()
                self._wake.clear()
                untold, self._untold = self._untold, set()
                for at in sorted(untold, key=self._order.index):
                    await context.write(pb.CollectGarbageResponse(progress=self._progress(self._latest[at])))
            if not task.result():
                raise Draining("the daemon is stopping: what was cleaned stays so", retry_after_s=0.5)
            await context.write(pb.CollectGarbageResponse(summary=self._summary()))
        finally:
            self._given_up.set()
            await asyncio.wait({task})

    async def _work(self) -> bool:
        """Whether it came to the end."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        async with aclosing(self._cleaner.collect(dry_run=self._dry_run)) as passing:
            async for progress in passing:
                at = (progress.tier, progress.job)
                self._latest[at] = progress
                self._untold.add(at)
                self._wake.set()
                await self._pause((clock() - began_s) * IDLE_TIMES)
                if self._given_up.is_set() or self._admission.draining:
                    return False
                began_s = clock()
        return True

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._given_up.wait()
        except TimeoutError:
            pass

    def _progress(self, progress: Progress) -> pb.CollectionProgress:
        error = progress.error
        return pb.CollectionProgress(
            tier=wire(progress.tier),
            job=progress.job,
            state=wire(progress.state),
            counts={kind: count for kind, count in progress.counts.items() if count},
            remaining_jobs=len(self._order) - 1 - self._order.index((progress.tier, progress.job)),
            reason="" if error is None else error.reason,
            message="" if error is None else error.message,
        )

    def _summary(self) -> pb.CollectionSummary:
        ended = [self._latest[at] for at in self._order]
        return pb.CollectionSummary(
            jobs=[self._progress(progress) for progress in ended],
            counts=_total(progress.counts for progress in ended),
        )


def _total(counted: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for counts in counted:
        total.update(counts)
    return +total
