"""Jobs whose every effect is counted in the store itself, and daemons that do them over one store."""

from __future__ import annotations

import asyncio
from typing import Any

from sidecar.core.cleaning import Step
from sidecar.core.errors import SidecarError
from sidecar.core.ledger import LEDGER
from sidecar.core.modes import Tier
from sidecar.core.operations import Change, Check, Increment, Put
from sidecar.core.store import Store
from sidecar.engine.cleaning.tally import Tally
from sidecar.engine.cleaning.worker import Worker
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.guard import Guard
from sidecar.tiers.ledger import Ledger
from sidecar.tiers.placement import Placement
from tests.support.clock import ManualClock
from tests.support.ports import ManualPorts

STEP = 3
"""Things that a job of a test looks at in a step, so that passes have many."""
THINGS = "x/"
DONE = "n/"
JOB = "dust"


class Dust:
    """Counts each thing once a pass, in the write that carries the fence. What has another value is passed over.

    Held, a step has read and not written yet; `error` is raised by the next.
    """

    def __init__(self, ledger: Ledger, *, name: str = JOB) -> None:
        self.name = name
        self.steps: list[str] = []
        self.error: SidecarError | None = None
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self._ledger = ledger

    def hold(self) -> None:
        """The next step waits before its writes."""
        self.go_on.clear()

    async def step(self, cursor: str, *, limit: int, fence: tuple[Check, ...], dry_run: bool) -> Step:
        """Some of them."""
        assert limit > STEP
        if not dry_run:
            self.steps.append(cursor)
        if self.error is not None:
            raise self.error
        page = await self._ledger.scan(THINGS, after=cursor or None, limit=STEP)
        dusty = [row.key for row in page.entries if row.value == b"dusty"]
        if not dry_run:
            self.reached.set()
            await self.go_on.wait()
            for key in dusty:
                done = Change(key=DONE + key, change=Increment(delta=1), create=True)
                await self._ledger.commit([done, *fence])
        counts = {"dust": len(dusty)} if dusty else {}
        return Step(cursor=page.entries[-1].key if page.more else "", counts=counts)


class Member:
    """One daemon's cleaning of a store that it shares."""

    def __init__(self, store: Store, clock: ManualClock, **options: Any) -> None:
        self.ports = ManualPorts(clock)
        guard = Guard(Tier.WARM, ports=self.ports, probe=lambda: store.get(LEDGER, ["probe"]), slow_s=1.0)
        self.ledger = Ledger(store, guard)
        self.tally = Tally()
        self.job = Dust(self.ledger)
        self.worker = Worker(self.job, self.ledger, tier=Tier.WARM, ports=self.ports, tally=self.tally, **options)

    async def rounds(self) -> int:
        """Until nothing is left to do now; how many said that more is."""
        count = 0
        while await self.worker.round():
            count += 1
        return count


def memory(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock=clock)


def placed(store: Store, clock: ManualClock) -> Placement:
    return Placement(store, tier=Tier.WARM, ports=ManualPorts(clock))


async def litter(ledger: Ledger, count: int, *, clean: int = 0) -> None:
    """Things to do, and things to look at only, after them."""
    for number in range(count + clean):
        value = b"dusty" if number < count else b"clean"
        await ledger.commit([Put(key=f"{THINGS}{number:04}", value=value)])


async def done(ledger: Ledger) -> list[int]:
    """How often each thing was done that was done at all."""
    return [int(row.value) for row in (await ledger.scan(DONE, limit=10_000)).entries]


async def contents(store: Store, *namespaces: str) -> list[Any]:
    """Everything that a store tells, and how much it has changed."""
    rows = [
        (await store.scan(name, "", after=None, limit=10_000, bytes_max=1 << 30, keys_only=False)).entries
        for name in (LEDGER, *namespaces)
    ]
    return [rows, (await store.changes(after=None, limit=1)).cursor]
