"""The hot tier in the daemon's own memory: bounded by bytes, least recently used first out.

Nothing here awaits, so each method is atomic on the event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from sidecar.core.cache import REPAIR_TURN_MS, CacheCapabilities, Fill, Hit, Miss, Turn
from sidecar.core.entry import Copy, Entry

SLOT_OVERHEAD_BYTES = 700
"""What an entry costs beside its value: objects, dictionary slots, key. Measured with CPython 3.11, rounded up."""


@dataclass(slots=True)
class _Placeholder:
    lease: str
    deadline: int
    generation: int


@dataclass(slots=True)
class _Held:
    hit: Hit
    generation: int
    expire_time: int | None
    size: int


@dataclass(slots=True)
class _RepairTurn:
    owner: str
    cursor: int
    deadline: int


class MemoryCache:
    """A Cache in this process. Times are milliseconds of the authority's clock.

    A cached miss lives `negative_ms`; a lease that is not filled within `lease_ms` may be given to another.
    """

    def __init__(
        self,
        *,
        bytes_max: int,
        identity: str = "",
        shared: bool = False,
        lease_ms: int = 3_000,
        negative_ms: int = 2_000,
    ) -> None:
        self.capabilities = CacheCapabilities(shared=shared)
        self.bytes_held = 0
        self._bytes_max = bytes_max
        self._identity = identity
        self._lease_ms = lease_ms
        self._negative_ms = negative_ms
        self._slots: OrderedDict[tuple[str, str], _Held | _Placeholder] = OrderedDict()
        self._leases = count(1)
        self._turns: dict[int, _RepairTurn] = {}

    async def identity(self) -> str:
        """Given at construction: a cache of this process begins empty with it."""
        return self._identity

    async def get(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[Hit | Miss]:
        """A hit or a miss for each key; a missing key leaves a placeholder."""
        return [self._get((namespace, key), generation, now) for key in keys]

    def _get(self, at: tuple[str, str], generation: int, now: int) -> Hit | Miss:
        slot = self._slots.get(at)
        if type(slot) is _Held:
            if slot.generation == generation and (slot.expire_time is None or now < slot.expire_time):
                self._slots.move_to_end(at)
                return slot.hit
            self._drop(at)
        elif type(slot) is _Placeholder and now < slot.deadline and slot.generation == generation:
            return Miss(None)
        lease = f"{self._identity}{next(self._leases)}"
        self._store(at, _Placeholder(lease, now + self._lease_ms, generation))
        return Miss(lease)

    async def lease(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[str | None]:
        """A lease for each key that has no copy."""
        leases: list[str | None] = []
        for key in keys:
            found = self._get((namespace, key), generation, now)
            if isinstance(found, Hit) and found.copy is None:
                self._drop((namespace, key))
                found = self._get((namespace, key), generation, now)
            leases.append(None if isinstance(found, Hit) else found.lease)
        return leases

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        """Store what still has its placeholder."""
        stored = 0
        for fill in fills:
            at = (namespace, fill.key)
            slot = self._slots.get(at)
            if (
                isinstance(slot, _Placeholder)
                and slot.lease == fill.lease
                and slot.generation == generation
                and now < slot.deadline
            ):
                end = fill.copy.expire_time if isinstance(fill.copy, Entry) else now + self._negative_ms
                self._store(at, _Held(Hit(fill.copy), generation, end, _size(at, fill.copy)))
                stored += 1
        return stored

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        """Replace older copies, drop placeholders and cached misses, create nothing."""
        for copy in copies:
            at = (namespace, copy.key)
            slot = self._slots.get(at)
            if isinstance(slot, _Placeholder):
                self._drop(at)
            elif isinstance(slot, _Held):
                held = slot.hit.copy
                if held is None or slot.generation != generation:
                    self._drop(at)
                elif held.version < copy.version:
                    if isinstance(copy, Entry):
                        self._store(at, _Held(Hit(copy), generation, copy.expire_time, _size(at, copy)))
                    else:
                        self._drop(at)

    async def invalidate(self, namespace: str, keys: Sequence[str]) -> None:
        """Forget keys."""
        for key in keys:
            self._drop((namespace, key))

    async def release(self, namespace: str, leases: Sequence[tuple[str, str]]) -> None:
        """Give leases back."""
        for key, lease in leases:
            slot = self._slots.get((namespace, key))
            if isinstance(slot, _Placeholder) and slot.lease == lease:
                self._drop((namespace, key))

    async def claim_repair(self, owner: str, *, generation: int, begin: int | None, now: int) -> Turn | None:
        """The turn, if nobody else has it now. The turns of generations that are over are forgotten."""
        turn = self._turns.get(generation)
        if turn is None:
            if begin is None:
                return Turn(None)
            self._turns = {known: kept for known, kept in self._turns.items() if known > generation}
            turn = self._turns[generation] = _RepairTurn(owner, begin, now)
        elif turn.owner != owner and now < turn.deadline:
            return None
        turn.owner, turn.deadline = owner, now + REPAIR_TURN_MS
        return Turn(turn.cursor)

    async def renew_repair(self, owner: str, *, generation: int, cursor: int, now: int) -> bool:
        """Keep a cursor and a turn."""
        turn = self._turns.get(generation)
        if turn is None or turn.owner != owner:
            return False
        turn.cursor, turn.deadline = cursor, now + REPAIR_TURN_MS
        return True

    async def close(self) -> None:
        """Nothing to let go."""

    def clear(self) -> None:
        """Forget everything, as a flush does."""
        self._slots.clear()
        self._turns.clear()
        self.bytes_held = 0

    def __len__(self) -> int:
        return len(self._slots)

    def _store(self, at: tuple[str, str], slot: _Held | _Placeholder) -> None:
        self._drop(at)
        self._slots[at] = slot
        self.bytes_held += _slot_size(slot)
        while self.bytes_held > self._bytes_max:
            _, evicted = self._slots.popitem(last=False)
            self.bytes_held -= _slot_size(evicted)

    def _drop(self, at: tuple[str, str]) -> None:
        slot = self._slots.pop(at, None)
        if slot is not None:
            self.bytes_held -= _slot_size(slot)


def _size(at: tuple[str, str], copy: Copy | None) -> int:
    value = len(copy.value) if isinstance(copy, Entry) else 0
    return SLOT_OVERHEAD_BYTES + 4 * len(at[1]) + value


def _slot_size(slot: _Held | _Placeholder) -> int:
    return slot.size if isinstance(slot, _Held) else SLOT_OVERHEAD_BYTES
