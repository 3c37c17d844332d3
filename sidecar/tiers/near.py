"""Near: copies in this process, before the shared cache. A hit costs no round trip; how old it may be is bounded thrice.

- Whoever commits announces the keys on the hot tier's channel; every daemon forgets them.
- The channel is trusted only while our own heartbeat comes back on it in time. Later, or after it broke, nothing is
  answered from here, and what was held is forgotten: announcements may have been missed.
- No copy is older than its namespace's `max_age`, counted from before it was read. (Writers may die before announcing;
  the repairer announces for them.)

A copy that was being read while its key was announced is not kept: the read may have been before the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from sidecar.core.entry import Copy, Entry
from sidecar.core.ports import Clock
from sidecar.tiers.announcements import Announced, Announcements
from sidecar.tiers.stats import TierStats

HEARTBEAT_S = 0.25
"""How often the channel is tried."""
SUSPECT_S = 1.0
"""A heartbeat that is this late makes the channel suspect."""
STRIPES = 4_096
"""Counters of announcements, shared by the keys of a hash: a false alarm costs a copy, and their number is bounded."""

At = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Held:
    """An entry, the monotonic second before which it was read, and how often all had been forgotten by then."""

    entry: Entry
    read_s: float
    era: int


class Holder(Protocol):
    """A bounded map that may forget anything at any time."""

    @property
    def bytes_held(self) -> int:
        """What it holds now."""
        ...

    def __len__(self) -> int:
        """How many it holds now."""
        ...

    def get(self, at: At) -> Held | None:
        """What is held."""
        ...

    def put(self, at: At, held: Held) -> None:
        """Hold, or not."""
        ...

    def drop(self, at: At) -> None:
        """Forget one."""
        ...

    def clear(self) -> None:
        """Forget all."""
        ...


class Near:
    """The near tier of one placement. `max_age_ms` says of a namespace how old a copy may get, None: it has none here."""

    def __init__(self, holder: Holder, *, clock: Clock, max_age_ms: Callable[[str], int | None]) -> None:
        self.stats = TierStats()
        self.announcements = Announcements()
        self._holder = holder
        self._monotonic = clock.monotonic
        self._max_age_ms = max_age_ms
        self._announced = [0] * STRIPES
        self._era = 0
        self._heard_s: float | None = None

    @property
    def trusted(self) -> bool:
        """Whether the channel was heard in time."""
        return self._heard_s is not None and self._monotonic() - self._heard_s < SUSPECT_S

    @property
    def bytes_held(self) -> int:
        """What the copies take."""
        return self._holder.bytes_held

    def __len__(self) -> int:
        return len(self._holder)

    def serves(self, namespace: str) -> bool:
        """Whether the namespace has copies here."""
        return self._max_age_ms(namespace) is not None

    # ---- the channel

    def heartbeat(self, sent_s: float) -> None:
        """Our own heartbeat came back, which was sent at this monotonic second on the present subscription."""
        if not self.trusted:
            self.forget_all()
        self._heard_s = sent_s

    def broke(self) -> None:
        """The subscription ended: announcements may be missed from now on."""
        self._heard_s = None
        self.forget_all()

    def heard(self, announced: Announced, token: str) -> None:
        """A message on the channel; `token` is what our own heartbeats carry."""
        if announced.everything:
            self.forget_all()
        for namespace, key in announced.changed:
            self.forget(namespace, [key])
        if announced.heartbeat is not None and announced.heartbeat[0] == token:
            self.heartbeat(announced.heartbeat[1])

    def changed(self, namespace: str, keys: Sequence[str]) -> None:
        """We changed these, or learnt that they were changed: forget them, and say so on the channel."""
        if self.serves(namespace):
            self.forget(namespace, keys)
            self.announcements.add(namespace, keys)

    def forget(self, namespace: str, keys: Sequence[str]) -> None:
        """These were changed."""
        for key in keys:
            self._announced[_stripe(namespace, key)] += 1
            self._holder.drop((namespace, key))

    def forget_all(self) -> None:
        """Anything may have changed."""
        self._era += 1
        self._holder.clear()

    # ---- reads

    def look_up(
        self, namespace: str, keys: Sequence[str], floors: Sequence[int], *, now: int, counted: bool = True
    ) -> list[Entry | None]:
        """For each key an entry that is at least its floor, not ended and not too old; `trusted` is the caller's to ask.

        `counted`: False for a read that was counted when it looked here before.
        """
        oldest_s = self._monotonic() - (self._max_age_ms(namespace) or 0) / 1000
        found: list[Entry | None] = []
        for key, floor in zip(keys, floors, strict=True):
            held = self._holder.get((namespace, key))
            good = (
                held is not None
                and held.era == self._era
                and held.read_s > oldest_s
                and held.entry.version >= floor
                and not held.entry.expired(now)
            )
            found.append(held.entry if held is not None and good else None)
        if counted:
            self.stats.looked_up(sum(entry is not None for entry in found), len(keys))
        return found

    def reading(self, namespace: str, keys: Sequence[str]) -> Reading:
        """Say that these are about to be read from elsewhere."""
        marks = {key: self._announced[_stripe(namespace, key)] for key in keys}
        return Reading(namespace, self._monotonic(), self._era, marks)

    def keep(self, reading: Reading, copies: Sequence[Copy | None]) -> None:
        """Hold what was read, but for what was announced meanwhile."""
        if not self.trusted:
            return
        for copy in copies:
            if not isinstance(copy, Entry):
                continue
            announced = self._announced[_stripe(reading.namespace, copy.key)] != reading.marks.get(copy.key)
            if announced or reading.era != self._era:
                self.stats.fills_refused += 1
            else:
                self._holder.put((reading.namespace, copy.key), Held(copy, reading.begin_s, self._era))


@dataclass(frozen=True, slots=True)
class Reading:
    """A read under way: when it began, and how often each of its keys' stripes had been announced."""

    namespace: str
    begin_s: float
    era: int
    marks: dict[str, int]


def _stripe(namespace: str, key: str) -> int:
    return crc32(key.encode(), crc32(namespace.encode())) % STRIPES
