"""How long a message takes from its commit to its arrival, at a moderate rate and with nobody harmed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.outbox import journal, stored
from tests.outbox.audit import audit
from tests.outbox.crew import Crew
from tests.outbox.recorder import Delivered, Recorder
from tests.outbox.runs import Settings, drain

P99_MAX_MS = 250.0
WARM_UP = 0.1
"""The share of messages that were there while relays started and shared the lanes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """In ms, from commit to arrival."""

    store: str
    rate: float
    count: int
    p50: float
    p99: float
    longest: float

    def __str__(self) -> str:
        return (
            f"{self.store}: {self.count} messages, {self.rate:.0f} a second: commit to delivery "
            f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, at most {self.longest:.0f} ms"
        )


def run(settings: Settings, directory: Path) -> Figures:
    """Until so many messages were delivered."""
    with stored.database(settings.store, directory) as url, Recorder(directory / "recorder") as recorder:
        with Crew(recorder, settings.nodes(url, directory, recorder.path)) as crew:
            recorder.wait_for_count(settings.messages)
            crew.finish_writing()
            drain(url, recorder)
            crew.end()
        verdict = audit(journal.read(directory), recorder.delivered)
    assert not verdict.wrong, str(verdict)
    assert not verdict.duplicates, str(verdict)
    return figures(settings, recorder.delivered[int(len(recorder.delivered) * WARM_UP) :])


def figures(settings: Settings, delivered: list[Delivered]) -> Figures:
    """Of the deliveries of a run."""
    latencies = sorted(one.arrival_ns / 1e6 - one.commit_time for one in delivered)
    return Figures(
        store=settings.store,
        rate=settings.rate,
        count=len(latencies),
        p50=latencies[len(latencies) // 2],
        p99=latencies[int(len(latencies) * 0.99)],
        longest=latencies[-1],
    )
