"""Copies of one namespace's entries in this process. Without I/O: the shells read, and follow the daemon's Watch.

Four rules keep them true, and the last holds when all others fail:

- What the daemon tells to be changed is forgotten, and so is what this client writes.
- A copy whose key was changed while it was read is not kept: the read may have been before the commit.
- The daemon says something at least each second. Is it silent for longer, or the stream ended, then changes may have been
  missed: nothing is returned, and all is forgotten before anything is kept again.
- A copy is read from the authority, so it was the newest state when the read was begun, and `max_age_s` later it isn't
  returned any more. Other tiers' copies may be older than they know.

The second read of a key is what brings a copy, so that keys that are read once cost the authority nothing; and the two
after a change, so that keys that are changed more often than read don't, either.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from statesidecar._floors import Floors
from statesidecar.near import NearCache
from statesidecar.types import Consistency, Entry, GetResult, ServingMode, Tier

SUSPECT_S: Final = 2.5
"""A response is due each second: after so many without one, changes may have been missed."""
FAILED_S: Final = 1.0
"""After a read of the authority that failed none is made for a copy's sake for so long."""
STRIPES: Final = 1024
"""Counters of changes, shared by the keys of a hash: a false alarm costs a copy, and their number is bounded."""
ASKED_MAX: Final = 20_000
"""Keys that are known to have been read before."""
OVERHEAD_BYTES: Final = 768
"""What a copy takes besides key, value and labels: the objects around them."""
_SPARED_MAX: Final = 64
_LABEL_BYTES: Final = 128


class Held:
    """An entry, the monotonic second before which it was read, and what it was asked for with."""

    __slots__ = ("bytes", "entry", "era", "expire_s", "read_s", "schema", "used", "version")

    def __init__(self, entry: Entry, read_s: float, schema: int, era: int) -> None:
        self.entry = entry
        self.era = era
        self.version = entry.version
        self.read_s = read_s
        self.schema = schema
        self.expire_s = math.inf if entry.expire_time is None else entry.expire_time.timestamp()
        self.used = False
        labels = sum(len(name) + len(value) + _LABEL_BYTES for name, value in entry.labels.items())
        self.bytes = OVERHEAD_BYTES + len(entry.key) + len(entry.value) + labels


class Reading(NamedTuple):
    """A read of the authority under way: when it began, and how often its key's stripe had been changed by then."""

    key: str
    schema: int
    begin_s: float
    era: int
    changes: int


class Near:
    """The copies of one namespace. Thread-safe; a hit takes no lock."""

    def __init__(
        self,
        namespace: str,
        settings: NearCache,
        floors: Floors,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`wall` tells Unix seconds: an entry that has ended isn't returned."""
        self.namespace = namespace
        self.hits = 0
        self.watched = False
        self.stop: Callable[[], Any] = _nothing
        """Ends the watch; the shell's. An asyncio client's answers what is to be awaited."""
        self._max_age_s = settings.max_age_s
        self._bytes_max = settings.bytes_max
        self._floor = floors.get
        self._observe = floors.observe
        self._clock = clock
        self._wall = wall
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._closed = False
        self.reset()
        _ALL.add(self)

    def reset(self) -> None:
        """As new: in a forked child nobody watches, and no other thread holds the lock or will release it."""
        self._lock = threading.RLock()  # A collector that runs within it may end the watch of a dropped client
        self.watched = False
        self.stop = _nothing
        self.bytes_held = 0
        self._held = OrderedDict()
        self._era = 0
        self._heard_s = -math.inf
        self._failed_s = -math.inf
        self._changes = [0] * STRIPES
        self._asked: set[str] = set()
        self._asked_before: set[str] = set()

    def __len__(self) -> int:
        return len(self._held)

    # ---- reads

    def hit(
        self, key: str, consistency: Consistency, min_version: int | None, max_schema_version: int
    ) -> GetResult | None:
        """A copy that may answer such a read, if there is one. Arguments as of `get`."""
        held = self._held.get(key)
        if held is None or consistency == _STRONG:
            return None
        now_s = self._clock()
        age_s = now_s - held.read_s
        if (
            now_s - self._heard_s > SUSPECT_S
            or held.era != self._era  # In this order: who is heard again has forgotten all before
            or age_s >= self._max_age_s
            or held.schema != max_schema_version
            or held.version < (self._floor(self.namespace, key) if min_version is None else min_version)
            or held.expire_s <= self._wall()
        ):
            return None
        held.used = True
        self.hits += 1
        entry = held.entry
        return GetResult(
            entry=entry if not entry.labels else _copied(entry),
            mode=_NORMAL,
            served_by=_NEAR,
            stale_possible=False,
            max_age_s=age_s,
        )

    def reading(self, key: str, max_schema_version: int) -> Reading | None:
        """Says that a key is read. Given a reading, it is to be asked of the authority, and brought to `keep`."""
        with self._lock:
            now_s = self._clock()
            if not self._asked_already(key) or not self._trusted(now_s) or now_s - self._failed_s < FAILED_S:
                return None
            return Reading(key, max_schema_version, now_s, self._era, self._changes[_stripe(key)])

    def keep(self, reading: Reading, result: GetResult) -> None:
        """Holds what the authority answered, unless it may have been changed meanwhile."""
        entry = result.entry
        if entry is None or result.mode is not _NORMAL or result.stale_possible:
            return
        held = Held(entry, reading.begin_s, reading.schema, reading.era)
        with self._lock:
            self._drop(reading.key)
            whole = reading.era == self._era and reading.changes == self._changes[_stripe(reading.key)]
            if not whole or self._closed or held.bytes > self._bytes_max or not self._trusted(self._clock()):
                return
            self._held[reading.key] = held
            self.bytes_held += held.bytes
            self._evict()

    def failed(self) -> None:
        """The authority could not be asked: others need not try for a while."""
        self._failed_s = self._clock()

    # ---- what makes copies old

    def begin(self) -> bool:
        """Whether the caller is the one to begin the watch."""
        with self._lock:
            begins = not (self.watched or self._closed)
            self.watched = True
            return begins

    def heard(self) -> None:
        """The daemon says that all that was changed so far has been told, by what came before this."""
        with self._lock:
            now_s = self._clock()
            if not self._trusted(now_s):
                self._forget_all()
            self._heard_s = now_s

    def broke(self) -> None:
        """The stream has ended."""
        with self._lock:
            self._heard_s = -math.inf
            self._forget_all()

    def changed(self, key: str, version: int) -> None:
        """The daemon tells of a change. `version` 0: this client made it, and knows its version, or doesn't."""
        with self._lock:
            self._changes[_stripe(key)] += 1
            self._drop(key)
            if version:
                self._asked.discard(key)
                self._asked_before.discard(key)
        if version and self._floor(self.namespace, key):  # Whoever never read it has no need of a floor
            self._observe(self.namespace, key, version)

    def changed_any(self) -> None:
        """This client has changed keys, and doesn't know which."""
        with self._lock:
            self._forget_all()

    def close(self) -> Any:
        """Nothing is returned or kept any more. Answers what `stop` does."""
        with self._lock:
            self._closed = True
            self._forget_all()
        return self.stop()

    # ---- under the lock

    def _trusted(self, now_s: float) -> bool:
        return now_s - self._heard_s <= SUSPECT_S

    def _forget_all(self) -> None:
        self._era += 1
        self._held.clear()
        self.bytes_held = 0

    def _drop(self, key: str) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self.bytes_held -= held.bytes

    def _evict(self) -> None:
        """The oldest goes; one that was returned since it was last in question has another round."""
        spared = 0
        while self.bytes_held > self._bytes_max:
            key, held = self._held.popitem(last=False)
            if held.used and spared < _SPARED_MAX:
                held.used = False
                self._held[key] = held
                spared += 1
            else:
                self.bytes_held -= held.bytes

    def _asked_already(self, key: str) -> bool:
        if key in self._asked:
            return True
        known = key in self._asked_before
        self._asked.add(key)
        if len(self._asked) > ASKED_MAX // 2:
            self._asked, self._asked_before = set(), self._asked
        return known


def nears(settings: Mapping[str, NearCache] | None, floors: Floors) -> dict[str, Near]:
    """Of a client, by namespace."""
    return {namespace: Near(namespace, asked, floors) for namespace, asked in (settings or {}).items()}


def _stripe(key: str) -> int:
    return hash(key) % STRIPES


def _copied(entry: Entry) -> Entry:
    # Labels are a plain dict: a caller who changes them must not change the copy.
    return replace(entry, labels=dict(entry.labels))


def _nothing() -> None:
    return


def _reset_all() -> None:
    for near in _ALL:
        near.reset()


_STRONG: Final = Consistency.STRONG
_NORMAL: Final = ServingMode.NORMAL
_NEAR: Final = Tier.NEAR
_ALL: Final[weakref.WeakSet[Near]] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
