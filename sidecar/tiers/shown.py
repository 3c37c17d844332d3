"""What readers are shown of what was found: every value in full, wherever it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sidecar.core.cache import Fill
from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import ColdUnavailable, InvalidRequest, StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.ports import Clock
from sidecar.tiers.cold import Cold, is_away, pointer_at
from sidecar.tiers.reading import Early, Found, Lookup

WAKING_BYTES_MAX = 32 << 20
WAKING_S = 30.0
"""Who was to bring a value back and has not by then has probably forgotten it."""
NOBODY = Lookup(None, Tier.NONE, stale_possible=True)


@dataclass(frozen=True, slots=True)
class Shown:
    """What was found, with values; `outdated`: keys whose cached copies point to what is gone."""

    found: Found
    outdated: tuple[str, ...] = ()


def whole(early: Early) -> Early:
    """Tells of those only whose values are not in the cold tier."""

    def tell(lookups: Sequence[Lookup | None]) -> None:
        early([None if lookup is None or _points(lookup.copy) else lookup for lookup in lookups])

    return tell


def _points(copy: Copy | None) -> bool:
    return isinstance(copy, Entry) and pointer_at(copy) is not None


class Waking:
    """Which archived values are on their way back: each by one reader, and all of them a bounded number of bytes."""

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._under_way: dict[tuple[str, str], tuple[float, int]] = {}
        self._bytes = 0

    def begin(self, entry: Entry) -> bool:
        """Whether the caller is to bring it back, and then to say that it is `done`."""
        now = self._monotonic()
        for at, (begun_s, _) in list(self._under_way.items()):
            if now - begun_s < WAKING_S:
                break
            self._end(at)
        at = (entry.namespace, entry.key)
        if at in self._under_way or self._bytes + len(entry.value) > WAKING_BYTES_MAX:
            return False
        self._under_way[at] = (now, len(entry.value))
        self._bytes += len(entry.value)
        return True

    def done(self, entry: Entry) -> None:
        """It is back, or it won't come."""
        self._end((entry.namespace, entry.key))

    def _end(self, at: tuple[str, str]) -> None:
        _, size = self._under_way.pop(at, (0.0, 0))
        self._bytes -= size


async def shown(cold: Cold, waking: Waking, found: Found, *, partial: bool, bytes_max: int | None) -> Shown:
    """Load the values of what was found. `partial`: what can't be read now has no tier; else it is an error.

    Raises DataLoss, InvalidRequest (RESPONSE_TOO_LARGE, before anything is loaded), ColdUnavailable, StoreUnavailable.
    """
    away = [index for index, lookup in enumerate(found.lookups) if is_away(lookup.copy)]
    if not away:
        return Shown(found)
    if bytes_max is not None and len(found.lookups) > 1:
        _check_bytes(found.lookups, bytes_max)
    lookups = list(found.lookups)
    states: dict[str, Copy | None] = {}
    outdated: dict[str, None] = {}
    woken: list[Entry] = []
    for index in away:
        lookup = lookups[index]
        entry = lookup.copy
        assert isinstance(entry, Entry), "it is away"
        if entry.key not in states:
            try:
                states[entry.key], moved = await cold.settled(entry)
            except (ColdUnavailable, StoreUnavailable):
                if not partial:
                    raise
                lookups[index] = NOBODY
                continue
            state = states[entry.key]
            if moved:
                outdated[entry.key] = None
            elif isinstance(state, Entry) and pointer_at(entry).archived and waking.begin(state):
                woken.append(state)
        lookups[index] = Lookup(states[entry.key], Tier.COLD, lookup.stale_possible)
    changed = Found(
        lookups, fills=_fills(found.fills, states), repairs=_full(found.repairs, states), woken=tuple(woken)
    )
    return Shown(changed, tuple(outdated))


async def shown_entries(cold: Cold, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Entries with their values; one that was deleted meanwhile is left out, one that was overwritten is as it is now."""
    states = [(await cold.settled(entry)).state if is_away(entry) else entry for entry in entries]
    return tuple(state for state in states if isinstance(state, Entry))


def size_of(entry: Entry) -> int:
    """How many bytes its value has, wherever that is. Raises DataLoss."""
    return pointer_at(entry).size if is_away(entry) else len(entry.value)


def _check_bytes(lookups: Sequence[Lookup], bytes_max: int) -> None:
    size = sum(size_of(lookup.copy) for lookup in lookups if isinstance(lookup.copy, Entry))
    if size > bytes_max:
        raise InvalidRequest(
            f"the values have {size} bytes together, at most {bytes_max} fit one response; ask for fewer keys",
            reason="RESPONSE_TOO_LARGE",
            field="keys",
        )


def _fills(fills: Sequence[Fill], states: Mapping[str, Copy | None]) -> tuple[Fill, ...]:
    """Large values stay pointers; archived ones are filled in full, and not at all if they could not be read."""
    kept = (fill if fill.copy is None else replace(fill, copy=_kept(fill.copy, states)) for fill in fills)
    return tuple(fill for fill, before in zip(kept, fills, strict=True) if (fill.copy is None) == (before.copy is None))


def _full(copies: Sequence[Copy], states: Mapping[str, Copy | None]) -> tuple[Copy, ...]:
    return tuple(kept for copy in copies if (kept := _kept(copy, states)) is not None)


def _kept(copy: Copy, states: Mapping[str, Copy | None]) -> Copy | None:
    """What a cache is to hold of a state; None: nothing."""
    if not isinstance(copy, Entry) or not is_away(copy):
        return copy
    state = states.get(copy.key)
    if state is None or state.version != copy.version:
        return None
    return state if pointer_at(copy).archived else copy
