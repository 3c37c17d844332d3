"""A run: writers, relays that are killed and stopped, and the audit of every message."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from sidecar.engine.outbox.config import OutboxConfig
from sidecar.engine.outbox.letters import DeadLetters
from tests.outbox import journal, stored
from tests.outbox.audit import Verdict, audit
from tests.outbox.crew import Brake, Crew, wait_until
from tests.outbox.nemesis import Nemesis
from tests.outbox.nodes import Node, opened
from tests.outbox.recorder import Recorder
from tests.outbox.writing import NAMESPACE, Load

WAITING_MAX = 2_000
"""Messages that wait before writers do."""
STALL_S = 90.0
"""No message is delivered later than this after the one before."""

QUICK = OutboxConfig(lease_s=0.75, in_flight_max=8, retry_delay_s=0.05)
"""What is lost with its owner is taken over soon, and little of it is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run is. `rate`: messages a second, of all writers. SQLite has one daemon, which writes and delivers."""

    store: str
    messages: int
    kills: int
    seed: int = 1
    rate: float = 1_000.0
    writers: int = 2
    relays: int = 3
    relay: OutboxConfig = QUICK
    trouble: bool = True

    def nodes(self, url: str, directory: Path, recorder: Path) -> list[Node]:
        """The processes."""
        alone = self.store == stored.SQLITE
        load = Load(rate=self.rate if alone else self.rate / self.writers, trouble=self.trouble)
        node = Node(url=url, directory=directory, recorder=recorder, seed=self.seed)
        if alone:
            return [replace(node, load=load, relay=self.relay)]
        return [replace(node, load=load)] * self.writers + [replace(node, relay=self.relay)] * self.relays


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The verdict, what was done to whom, and what the processes complained about."""

    verdict: Verdict
    done: Counter[str]
    said: str
    seconds: float

    def __str__(self) -> str:
        done = ", ".join(f"{count} {what}" for what, count in sorted(self.done.items())) or "nobody harmed"
        said = f"\nSAID {self.said[-2000:]}" if self.said else ""
        return f"{self.verdict}\n{done}; {self.seconds:.0f} s, {self.verdict.delivered / self.seconds:.0f} messages a second{said}"


def run(settings: Settings, directory: Path) -> Report:
    """Until so many messages were delivered and so many owners harmed; then until nothing waits."""
    began = time.monotonic()
    with stored.database(settings.store, directory) as url, Recorder(directory / "recorder") as recorder:
        nodes = settings.nodes(url, directory, recorder.path)
        with Crew(recorder, nodes) as crew:
            crew.wait_ready()
            nemesis = Nemesis(crew, lease_s=settings.relay.lease_s, seed=settings.seed)
            with Brake(directory, lambda: stored.waiting(url), WAITING_MAX):
                nemesis.run(settings.kills, settings.messages)
                recorder.wait_for_count(settings.messages)
            crew.finish_writing()
            drain(url, recorder)
            crew.end()
            said = crew.said()
        seconds = time.monotonic() - began
        letters = asyncio.run(dead_letters(url))
        verdict = audit(journal.read(directory), recorder.delivered, letters=letters, requests=stored.remembered(url))
        if held := stored.parked(url):
            verdict.find("held up", f"{held} keys")
    return Report(verdict=verdict, done=nemesis.done, said=said, seconds=seconds)


def drain(url: str, recorder: Recorder) -> None:
    """Until nothing waits."""
    while count := stored.waiting(url):
        before = recorder.count
        wait_until(
            lambda before=before: recorder.count > before or not stored.waiting(url),  # type: ignore[misc]
            f"{count} messages wait, and nothing is delivered",
            STALL_S,
        )


async def dead_letters(url: str) -> list[tuple[str, str]]:
    """Payload and id of each message that was given up on."""
    letters: list[tuple[str, str]] = []
    async with opened(url) as placement:
        dead, after = DeadLetters(placement.ledger, placement.news), ""
        while True:
            page = await dead.list(NAMESPACE, after=after)
            letters += [(letter.message.payload.decode(), letter.message.id) for letter in page.letters]
            if not (after := page.after):
                return letters
