"""Keys that are held up: a message of theirs was refused, and the later ones wait for it.

A row of the ledger says so, `y/<namespace>␟<order>/<id>`, so that whoever takes the lane over knows how often the message
was tried, and waits as long.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from sidecar.core.entry import Entry
from sidecar.core.ledger import PARKED, SEPARATOR
from sidecar.core.operations import Put

DELAY_S_MAX = 60.0
ORDERS_MAX = 1_000
"""Of a lane of a namespace: then nothing new of it is tried, so that what is kept of it has a bound."""
REASON_CHARS_MAX = 1_024

At = tuple[str, str]
"""A namespace and an order."""


def parked_of(namespace: str) -> str:
    """The prefix of what is held up of a namespace."""
    return f"{PARKED}{namespace}{SEPARATOR}"


def parked_key(namespace: str, order: str, message: str) -> str:
    """The row that says why a message holds up its key."""
    return f"{parked_of(namespace)}{order}/{message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A message that was refused. `attempts`: how often; `until`: by the authority's clock; `id` empty: no one message."""

    namespace: str
    order: str
    id: str
    topic: str
    attempts: int
    until: int
    reason: str

    @property
    def at(self) -> At:
        """Its key's place."""
        return self.namespace, self.order

    @property
    def key(self) -> str:
        """Its row."""
        return parked_key(self.namespace, self.order, self.id)

    def put(self) -> Put:
        """What stores it."""
        told = {name: value for name, value in asdict(self).items() if name in ("topic", "attempts", "until", "reason")}
        return Put(key=self.key, value=json.dumps(told).encode())

    @classmethod
    def decode(cls, row: Entry) -> Parked:
        """What a row says. One that can't be read says that the message was tried once, and may be tried again now."""
        namespace, _, rest = row.key.removeprefix(PARKED).partition(SEPARATOR)
        order, _, message = rest.partition("/")
        try:
            told: dict[str, Any] = json.loads(row.value)
            return cls(namespace=namespace, order=order, id=message, **told)
        except (ValueError, TypeError):
            return cls(namespace=namespace, order=order, id=message, topic="", attempts=1, until=0, reason="")


def delay_s(attempts: int, first_s: float, chance: float) -> float:
    """How long a message rests after so many refusals: doubled with each, and up to a quarter less, by chance."""
    whole: float = min(first_s * 2.0 ** min(attempts - 1, 30), DELAY_S_MAX)
    return whole * (1 - 0.25 * chance)


class Parking:
    """What is held up in our lanes."""

    def __init__(self) -> None:
        self._parked: dict[At, Parked] = {}
        self._ends: list[tuple[int, At]] = []
        self._counts: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._parked)

    def __contains__(self, at: At) -> bool:
        return at in self._parked

    @property
    def next_end(self) -> int | None:
        """When one may be tried again."""
        self._tidy()
        return self._ends[0][0] if self._ends else None

    def full(self, namespace: str, lane: str) -> bool:
        """Whether nothing new of a lane is to be tried."""
        return self._counts[namespace, lane] >= ORDERS_MAX

    def add(self, parked: Parked) -> None:
        """Hold a key up. The longest of several rules."""
        before = self._parked.get(parked.at)
        if before is None:
            self._counts[parked.namespace, parked.order[0]] += 1
        elif before.until >= parked.until:
            return
        self._parked[parked.at] = parked
        heapq.heappush(self._ends, (parked.until, parked.at))

    def due(self, now: int) -> Parked | None:
        """One that may be tried again, and is not held up any more. One more than two longest delays ahead was written by
        a clock that was wrong.
        """
        self._tidy()
        if not self._ends or 0 < self._ends[0][0] - now <= 2_000 * DELAY_S_MAX:
            return None
        return self._remove(heapq.heappop(self._ends)[1])

    def drop(self, lane: str) -> None:
        """A lane is another's."""
        for at in [at for at in self._parked if at[1][0] == lane]:
            self._remove(at)

    def _remove(self, at: At) -> Parked:
        parked = self._parked.pop(at)
        place = (parked.namespace, parked.order[0])
        self._counts[place] -= 1
        if not self._counts[place]:
            del self._counts[place]
        return parked

    def _tidy(self) -> None:
        """Ends that are not those of what is parked now are nobody's."""
        while self._ends:
            until, at = self._ends[0]
            parked = self._parked.get(at)
            if parked is not None and parked.until == until:
                return
            heapq.heappop(self._ends)
