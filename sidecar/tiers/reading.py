"""Reads through the cache: what is missing there is read from the authority once, and filled under the miss's lease."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from operator import ge
from typing import NamedTuple

from sidecar.core.cache import Fill, Hit, Miss
from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import DeadlineExceeded, SidecarError
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.ports import Ports
from sidecar.tiers.cached import CacheSide, Leases
from sidecar.tiers.flights import Flight, Flights

Ask = Callable[[str, Sequence[str], "float | None"], Awaitable["list[Copy | None]"]]
"""Reads keys of a namespace from the authority, by a deadline."""


class Lookup(NamedTuple):
    """A key's state, the tier it came from, and whether a newer one may exist that could not be asked for.

    A tier of NONE: nobody could be asked. A tuple whose rest is worked out when it is asked for: a batch makes hundreds.
    """

    copy: Copy | None
    tier: Tier
    stale_possible: bool = False

    @property
    def entry(self) -> Entry | None:
        """What a reader sees; None: a miss, or nothing at all where `mode` is PASSTHROUGH."""
        return self.copy if isinstance(self.copy, Entry) else None

    @property
    def mode(self) -> ServingMode:
        """The guarantee that it carries."""
        if self.tier is Tier.NONE:
            return ServingMode.PASSTHROUGH
        return ServingMode.DEGRADED if self.stale_possible else ServingMode.NORMAL


Early = Callable[["Sequence[Lookup | None]"], None]
"""Told what is known of some keys already, while the others (None) are read: a hit need not wait for a miss."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer for each key, and what the cache is to be told afterwards.

    `woken`: archived entries that were read, in full, which are to come back to the authority.
    """

    lookups: Sequence[Lookup]
    fills: tuple[Fill, ...] = ()
    repairs: tuple[Copy, ...] = ()
    woken: tuple[Entry, ...] = ()


@dataclass(slots=True)
class _Missing:
    """A key that the cache could not answer; `flight`: another's read of it that may be joined."""

    index: int
    key: str
    lease: str | None
    outdated: bool
    flight: Flight | None


class ReadThrough:
    """Reads of one authority through one cache."""

    def __init__(self, cache: CacheSide, ask: Ask, *, tier: Tier, ports: Ports) -> None:
        self._cache = cache
        self._ask = ask
        self._tier = tier
        self._flights = Flights(ports)

    async def get(
        self,
        namespace: str,
        keys: Sequence[str],
        floors: Sequence[int],
        *,
        now: int,
        stale_possible: bool,
        deadline: float | None,
        early: Early | None = None,
    ) -> Found:
        """Copies at least as new as their floors; `stale_possible` is said of those that the cache answers."""
        held = await self._cache.look_up(namespace, keys, now=now)
        if set(map(type, held)) == {Hit}:
            # A batch that the cache has: written for speed, as the loop below says it.
            copies: list[Copy | None] = [hit[0] for hit in held]  # type: ignore[index]  # all are hits
            if not any(floors) or all(map(ge, map(_version, copies), floors)):
                self._cache.stats.looked_up(len(keys), len(keys))
                new, hot = tuple.__new__, Tier.HOT
                return Found([new(Lookup, (copy, hot, stale_possible)) for copy in copies])
        answers = [
            Lookup(found.copy, Tier.HOT, stale_possible)
            if isinstance(found, Hit) and _version(found.copy) >= floor
            else None
            for found, floor in zip(held, floors, strict=True)
        ]
        missing = [
            self._missing(namespace, index, keys[index], held[index])
            for index, answer in enumerate(answers)
            if answer is None
        ]
        self._cache.stats.looked_up(len(keys) - len(missing), len(keys))
        if not missing:
            return Found(answers)  # type: ignore[arg-type]  # nothing is missing
        if early is not None and len(missing) < len(keys):
            early(answers)
        loaded = await self._load(namespace, missing, floors, now, deadline)
        for miss in missing:
            answers[miss.index] = Lookup(loaded[miss.key], self._tier)
        return Found(
            answers,  # type: ignore[arg-type]  # _load has answered what was missing
            fills=tuple(Fill(miss.key, loaded[miss.key], miss.lease) for miss in missing if miss.lease is not None),
            repairs=tuple(copy for miss in missing if miss.outdated and (copy := loaded[miss.key]) is not None),
        )

    def _missing(self, namespace: str, index: int, key: str, found: Hit | Miss) -> _Missing:
        if isinstance(found, Hit):
            return _Missing(index, key, None, True, None)
        return _Missing(index, key, found.lease, False, None if found.lease else self._flights.of(namespace, key))

    async def get_cached(self, namespace: str, keys: Sequence[str], floors: Sequence[int], *, now: int) -> Found:
        """Only what the cache has, while the authority is away; what it lacks has no tier."""
        found = await self._cache.look_up(namespace, keys, now=now)
        leases = {
            key: miss.lease for key, miss in zip(keys, found, strict=True) if isinstance(miss, Miss) and miss.lease
        }
        await self._cache.release(namespace, leases)
        return Found(
            [
                Lookup(None, Tier.NONE, stale_possible=True)
                if isinstance(result, Miss) or _version(result.copy) < floor
                else Lookup(result.copy, Tier.HOT, stale_possible=True)
                for result, floor in zip(found, floors, strict=True)
            ]
        )

    async def _load(
        self, namespace: str, missing: list[_Missing], floors: Sequence[int], now: int, deadline: float | None
    ) -> dict[str, Copy | None]:
        """Lead a read of what nobody reads, join those under way, and ask again for what they were too early for."""
        leases = {miss.key: miss.lease for miss in missing if miss.lease is not None}
        own = sorted({miss.key for miss in missing if miss.flight is None})
        copies = await self._lead(namespace, own, leases, deadline) if own else {}
        late: dict[str, None] = {}
        for miss in missing:
            if miss.flight is None:
                continue
            await miss.flight.signal.wait()
            # The leader's deadline was its own: who joined asks again, by theirs.
            if miss.flight.error is not None and not isinstance(miss.flight.error, DeadlineExceeded):
                raise miss.flight.error
            if _serves(miss.flight, floors[miss.index], now):
                copies.setdefault(miss.key, miss.flight.copy)
            else:
                late[miss.key] = None
        if late:
            copies.update(zip(late, await self._ask(namespace, list(late), deadline), strict=True))
        return copies

    async def _lead(
        self, namespace: str, keys: list[str], leases: Leases, deadline: float | None
    ) -> dict[str, Copy | None]:
        try:
            return await self._fly(namespace, keys, deadline)
        except SidecarError:
            await self._cache.release(namespace, leases)
            raise

    async def _fly(self, namespace: str, keys: list[str], deadline: float | None) -> dict[str, Copy | None]:
        """Read from the authority, joined by who comes meanwhile. Ends in the step that the read ends in."""
        led = [key for key in keys if self._flights.of(namespace, key) is None]
        self._flights.lead(namespace, led)
        error: SidecarError | None = None
        try:
            copies = dict(zip(keys, await self._ask(namespace, keys, deadline), strict=True))
            for key in led:
                self._flights.land(namespace, key, copies[key])
        except SidecarError as exc:
            error = exc
            raise
        finally:
            self._flights.end(namespace, led, error)
        return copies


def with_near(held: Sequence[Entry | None], found: Found, *, stale_possible: bool) -> Found:
    """The answers in the order that was asked in: from near, and from where the others were found."""
    others = iter(found.lookups)
    answers = [
        next(others) if entry is None else Lookup(entry, Tier.NEAR, stale_possible=stale_possible) for entry in held
    ]
    return Found(answers, fills=found.fills, repairs=found.repairs)


def with_own(held: Sequence[Entry | None], found: Found) -> Found:
    """What nobody could be asked for, as near has it: a newer one may exist."""
    lookups = [
        Lookup(entry, Tier.NEAR, stale_possible=True) if lookup.tier is Tier.NONE and entry else lookup
        for entry, lookup in zip(held, found.lookups, strict=True)
    ]
    return Found(lookups)


def _serves(flight: Flight, floor: int, now: int) -> bool:
    """Whether another's read answers ours: it began before, and may have missed the write that our floor names, or found
    an entry that has ended since.
    """
    copy = flight.copy
    return flight.landed and _version(copy) >= floor and not (isinstance(copy, Entry) and copy.expired(now))


def _version(copy: Copy | None) -> int:
    return 0 if copy is None else copy.version
