"""Who kills and stops those that deliver: at moments that are awaited, of a seed, and said afterwards.

An owner is harmed when it has just delivered something, so that there is something on its way. One that is stopped goes
on when another has delivered in a lane of its own: then two believe that they own it.
"""

from __future__ import annotations

import signal
from collections import Counter
from random import Random

from tests.outbox.crew import Crew, Slot, pause

KILLED, STOPPED, DRAINED, WRITER = "killed", "stopped", "drained", "writer killed"


class Nemesis:
    """`done` counts what was done; of it, killed and stopped owners are what a run is asked for."""

    def __init__(self, crew: Crew, *, lease_s: float, seed: int) -> None:
        self._crew = crew
        self._lease_s = lease_s
        self._random = Random(f"nemesis/{seed}")
        self.done: Counter[str] = Counter()

    @property
    def harmed(self) -> int:
        """Owners that were killed or stopped."""
        return self.done[KILLED] + self.done[STOPPED]

    def run(self, kills: int, messages: int) -> None:
        """Spread over the messages' arrival."""
        recorder = self._crew.recorder
        while (harmed := self.harmed) < kills:
            due = messages * harmed // kills
            recorder.wait_for_count(due)
            self._strike()

    def _strike(self) -> None:
        kind, relays, writers = self._random.random(), self._crew.relays, self._crew.writers
        relay = self._random.choice(relays)
        if kind < 0.06 and writers:
            self._kill(self._random.choice(writers), WRITER)
        elif kind < 0.1:
            relay.drain()
            relay.revive()
            self.done[DRAINED] += 1
        elif kind < 0.6:
            self._await_delivery(relay)
            self._kill(relay, KILLED)
        else:
            self._await_delivery(relay)
            self._stop(relay, [other for other in relays if other is not relay])

    def _kill(self, slot: Slot, what: str) -> None:
        slot.kill()
        slot.revive()
        self.done[what] += 1

    def _stop(self, relay: Slot, others: list[Slot]) -> None:
        """Beyond its lease; sometimes another is killed before it goes on."""
        relay.process.signal(signal.SIGSTOP)
        try:
            if others:
                self._await_successor(relay)
            else:
                pause(self._lease_s * 1.5)
            if others and self._random.random() < 0.2:
                self._kill(self._random.choice(others), KILLED)
            assert relay.process.stopped(), "somebody let it go on"
        finally:
            relay.process.signal(signal.SIGCONT)
        self.done[STOPPED] += 1

    def _await_successor(self, relay: Slot) -> None:
        recorder = self._crew.recorder
        lanes = [lane for lane, name in recorder.lane_owners.items() if name == relay.name]
        taken = recorder.wait(lambda: not lanes or any(recorder.lane_owners[lane] != relay.name for lane in lanes))
        assert taken, f"nobody delivers the lanes {lanes} of {relay.name}, which is stopped"

    def _await_delivery(self, relay: Slot) -> None:
        recorder = self._crew.recorder
        before = recorder.by_owner[relay.name]
        delivered = recorder.wait(lambda: recorder.by_owner[relay.name] > before)
        assert delivered, f"{relay.name} delivers nothing: {relay.said()}"
