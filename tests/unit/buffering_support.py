"""Daemons that share an authority, each with a journal of its own: the engine alone, on a clock that the test moves."""

from __future__ import annotations

from typing import Any

from sidecar.core.entry import Copy
from sidecar.core.errors import OutcomeUnknown, StoreUnavailable
from sidecar.core.limits import Limits
from sidecar.core.modes import Durability, Tier
from sidecar.core.operations import Append, Change, Increment, Operation, Put, Write, WriteId
from sidecar.core.policy import OnOutage, Policy, PolicyTable, Reconcile
from sidecar.core.store import Outcome
from sidecar.engine.buffering import Buffer
from sidecar.engine.engine import Engine
from sidecar.engine.replay import Replay
from sidecar.engine.replies import Written
from sidecar.stores.journal import MemoryJournal
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.placement import Placement
from sidecar.tiers.reading import Lookup
from tests.support.clock import ManualClock
from tests.support.ports import ManualPorts
from tests.support.switched import VERBS

JOURNAL_BYTES = 1 << 20
POLICIES = PolicyTable({policy.value: Policy(on_outage=OnOutage.BUFFER, reconcile=policy) for policy in Reconcile})
REJECT, LAST, MERGE = (policy.value for policy in Reconcile)


class Known(dict[tuple[str, str], Copy]):
    """What a daemon has seen; forgets nothing."""

    def put(self, at: tuple[str, str], held: Copy) -> None:
        self[at] = held


class Link:
    """The way to the shared store: may be cut, or lose the replies of commits."""

    def __init__(self, shared: MemoryStore) -> None:
        self.cut = False
        self.loses_replies = 0
        self.shared = shared

    def __getattr__(self, name: str) -> Any:
        if self.cut and name in VERBS:
            raise StoreUnavailable("cut")
        return getattr(self.shared, name)

    async def commit(self, write: Write) -> Outcome:
        if self.cut:
            raise StoreUnavailable("cut")
        outcome = await self.shared.commit(write)
        if self.loses_replies:
            self.loses_replies -= 1
            raise OutcomeUnknown("the reply was lost")
        return outcome


class Sidecar:
    """One daemon's engine."""

    def __init__(self, shared: MemoryStore, clock: ManualClock, journal: MemoryJournal | None = None) -> None:
        self.link = Link(shared)
        self.journal = journal or MemoryJournal(bytes_max=JOURNAL_BYTES)
        self.ports = ManualPorts(clock)
        self._shared, self._clock = shared, clock

    async def start(self) -> Sidecar:
        await self.journal.open()
        buffer = Buffer(self.journal, Known(), self.ports)
        buffer.load()
        self.placement = Placement(self.link, tier=Tier.WARM, ports=self.ports)
        self.engine = Engine(policies=POLICIES, limits=Limits(), hot=None, warm=self.placement, buffer=buffer)
        return self

    async def crashed(self, *, kept: int = 0) -> Sidecar:
        """Another incarnation, which has what this one's journal had made durable."""
        return await Sidecar(self._shared, self._clock, self.journal.crashed(kept=kept)).start()

    @property
    def replay(self) -> Replay:
        assert self.engine.buffer is not None
        return self.engine.buffer

    def cut(self) -> None:
        """The authority goes away."""
        self.link.cut = True

    async def heal(self) -> None:
        """It is back, and the breaker has noticed."""
        self.link.cut = False
        while not self.placement.guard.passes:
            self._clock.advance(100)
            await self.placement.guard.probe()

    async def settle(self) -> None:
        """Heal, and replay all."""
        await self.heal()
        while await self.replay.one():
            pass
        assert self.replay.depth == 0

    async def write(self, namespace: str, operation: Operation, *, request_id: str = "") -> Written:
        request = WriteId(request_id=request_id, fingerprint=request_id.encode()) if request_id else None
        return await self.engine.writes.write(namespace, (operation,), request=request, needs_authority=False)

    async def put(self, namespace: str, value: bytes, *, request_id: str = "", key: str = "key") -> Durability:
        return (await self.write(namespace, Put(key=key, value=value), request_id=request_id)).durability

    async def read(self, namespace: str, *, strong: bool = False, key: str = "key") -> Lookup:
        read = await self.engine.reads.get(namespace, (key,), floors=(0,), strong=strong, deadline=None)
        return read.lookups[0]

    async def value(self, namespace: str, *, strong: bool = False, key: str = "key") -> bytes | None:
        entry = (await self.read(namespace, strong=strong, key=key)).entry
        return None if entry is None else entry.value

    def dead_reasons(self) -> list[str]:
        return [dead.reason for dead in self.replay.dead()]


def appending(*items: object, key: str = "key") -> Change:
    return Change(key=key, change=Append(items=items), create=True, return_value=True)


def adding(delta: int, key: str = "key") -> Change:
    return Change(key=key, change=Increment(delta=delta), create=True)
