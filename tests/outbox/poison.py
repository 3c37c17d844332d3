"""What one key whose messages are always refused costs the others: their throughput with it and without, in turns.

Each round has a store of its own with the same messages in it, and measures how quickly one relay delivers those of the
other keys, from the first to the last.
"""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.core.errors import StoreUnavailable
from sidecar.core.operations import Put, Write
from sidecar.core.outbox import Message
from sidecar.core.policy import VALUE_BYTES_MAX
from sidecar.core.store import Store
from sidecar.engine.outbox.config import OutboxConfig
from tests.outbox import stored
from tests.outbox.crew import Crew
from tests.outbox.nodes import Node, opened
from tests.outbox.recorder import PLAIN, POISON, Recorder
from tests.outbox.writing import NAMESPACE

KEYS = 200
PER_WRITE = 8
COST_MAX = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Messages a second of the other keys, a round each; `refusals`: of the poisonous key, in each round with it."""

    plain: list[float] = field(default_factory=list)
    poisoned: list[float] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """The share that is lost, by the medians."""
        return 1 - statistics.median(self.poisoned) / statistics.median(self.plain)

    def __str__(self) -> str:
        plain, poisoned = statistics.median(self.plain), statistics.median(self.poisoned)
        spread = " ".join(f"{rate:.0f}" for rate in sorted(self.plain))
        spread_poisoned = " ".join(f"{rate:.0f}" for rate in sorted(self.poisoned))
        return (
            f"other keys: {plain:.0f} messages a second, {poisoned:.0f} with a poisonous key: {self.cost:+.1%} lost; "
            f"without {spread}; with {spread_poisoned}; refused a round: {statistics.median(self.refusals):.0f}"
        )


def run(store: str, directory: Path, *, messages: int, rounds: int) -> Figures:
    """Rounds of both kinds in turns; which is first changes, too."""
    figures = Figures()
    for number in range(rounds):
        for topic in (PLAIN, POISON) if number % 2 else (POISON, PLAIN):
            place = directory / f"{number}-{topic}"
            place.mkdir()
            rate, refused = _round(store, place, topic, messages)
            if topic == POISON:
                figures.poisoned.append(rate)
                figures.refusals.append(refused)
            else:
                figures.plain.append(rate)
    return figures


def _round(store: str, directory: Path, topic: str, messages: int) -> tuple[float, int]:
    with stored.database(store, directory) as url, Recorder(directory / "recorder") as recorder:
        asyncio.run(_fill(url, topic, messages))
        others = messages - messages // KEYS
        # As it is by default, so that what is refused is tried again as it would be.
        node = Node(url=url, directory=directory, recorder=recorder.path, seed=1, relay=OutboxConfig())
        with Crew(recorder, [node]):
            recorder.wait_for_count(others if topic == POISON else messages)
        arrivals = [one.arrival_ns for one in recorder.delivered if one.key != "key/0"]
    refused = recorder.refusals.total()
    assert len(arrivals) == others, f"{len(arrivals)} of {others} messages were delivered"
    assert bool(refused) == (topic == POISON), f"{refused} were refused"
    return others / (arrivals[-1] - arrivals[0]) * 1e9, refused


async def _fill(url: str, topic: str, messages: int) -> None:
    """As many messages of each key; those of the first have the topic."""
    async with opened(url) as placement:
        assert messages % (KEYS * PER_WRITE) == 0, f"{messages} is no multiple of {KEYS * PER_WRITE}"
        for _ in range(messages // (KEYS * PER_WRITE)):
            await asyncio.gather(
                *[_commit(placement.authority, _write(f"key/{key}", PLAIN if key else topic)) for key in range(KEYS)]
            )


async def _commit(store: Store, write: Write) -> None:
    """Again while a busy machine has no turn for it: then nothing was written."""
    while True:
        try:
            await store.commit(write)
        except StoreUnavailable:
            continue
        return


def _write(key: str, topic: str) -> Write:
    outbox = tuple(Message(topic=topic, payload=f"{key}.{index}".encode()) for index in range(PER_WRITE))
    put = Put(key=key, value=b"value")
    return Write(namespace=NAMESPACE, operations=(put,), value_bytes_max=VALUE_BYTES_MAX, outbox=outbox)
