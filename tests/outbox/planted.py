"""The wrong pollers, run and audited as the relay is: each has to be found, and the right one has to pass."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from tests.outbox import journal, stored
from tests.outbox.audit import Verdict, audit
from tests.outbox.crew import Crew, pause
from tests.outbox.nodes import Node
from tests.outbox.pollers import (
    LEASE_S,
    CursorPoller,
    LeasingPoller,
    Poller,
    SkippingPoller,
    TransactionOrderPoller,
    UnfencedPoller,
    poll,
    prepare,
)
from tests.outbox.processes import Process
from tests.outbox.recorder import Recorder
from tests.outbox.writing import Load

WRITERS = 4
FEW, MANY = 20, 2_000
"""Keys: writers wait for each other's, or seldom do and commit side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planting:
    """Which pollers, how many, whether the first is stopped beyond its lease, and what the audit has to call it.

    `rate`: messages a second of each writer.
    """

    kind: type[Poller]
    pollers: int
    keys: int = FEW
    rate: float = 1_000.0
    stops: bool = False
    found: str = ""


RIGHT = Planting(kind=LeasingPoller, pollers=2, rate=300.0, stops=True)
PLANTED = {
    "cursor": Planting(kind=CursorPoller, pollers=1, keys=MANY, rate=500.0, found="lost"),
    "transaction-order": Planting(kind=TransactionOrderPoller, pollers=1, found="inversions"),
    "skip-locked": Planting(kind=SkippingPoller, pollers=4, found="inversions"),
    "unfenced": Planting(kind=UnfencedPoller, pollers=2, rate=300.0, stops=True, found="duplicates"),
}


def run(planting: Planting, directory: Path, *, messages: int, seed: int) -> Verdict:
    """Until so many messages were delivered; the verdict."""
    with stored.database(stored.POSTGRES, directory) as url, Recorder(directory / "recorder") as recorder:
        load = Load(rate=planting.rate, keys=planting.keys)
        writer = Node(url=url, directory=directory, recorder=recorder.path, seed=seed, load=load)
        with Crew(recorder, [writer] * WRITERS) as writers:
            writers.wait_ready()
            prepare(url)
            pollers = {
                name: Process(name, directory / f"log-{name}", poll, planting.kind, name, url, recorder.path)
                for name in [f"poller-{number}" for number in range(planting.pollers)]
            }
            try:
                if planting.stops:
                    recorder.wait_for_count(messages // 8)
                    _stop_beyond_lease(recorder, pollers)
                    messages *= 2  # so that what follows weighs more than what was on its way
                recorder.wait_for_count(messages)
                writers.finish_writing()
                for poller in pollers.values():
                    poller.signal(signal.SIGTERM)
                ended = [poller.ended() for poller in pollers.values()]
                assert not any(ended), [poller.said() for poller in pollers.values()]
            finally:
                for poller in pollers.values():
                    poller.kill()
        return audit(journal.read(directory), recorder.delivered)


def _stop_beyond_lease(recorder: Recorder, pollers: dict[str, Process]) -> None:
    """The one that delivers, until another does and has gone on for a while."""
    owner = recorder.delivered[-1].owner
    pollers[owner].signal(signal.SIGSTOP)
    try:
        others = recorder.count - recorder.by_owner[owner]
        assert recorder.wait(lambda: recorder.count - recorder.by_owner[owner] > others), "nobody took over"
        pause(LEASE_S / 4)
    finally:
        pollers[owner].signal(signal.SIGCONT)
