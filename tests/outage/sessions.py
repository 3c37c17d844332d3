"""Sixteen sessions that append to one conversation while PostgreSQL goes and comes back: every acknowledged turn, once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass

from statesidecar import Consistency, StateClient, StateSidecarError
from tests.chaos.deployment import Deployment

SESSIONS = 16
CALL_S = 2.0
PATIENCE_S = 300.0
KEY = "conversation"
_PAUSE = threading.Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Acknowledged turns by durability, and those that are in the final state not once."""

    acknowledged: Counter[str]
    failed: int
    wrong: list[str]

    def __str__(self) -> str:
        told = ", ".join(f"{count} {durability}" for durability, count in sorted(self.acknowledged.items()))
        return f"{SESSIONS} sessions, one conversation: {told}, {self.failed} refused; {len(self.wrong)} turns not there once"


class _Session(threading.Thread):
    """Even ones append where the data is; odd ones load, change and save, and merge when they lose."""

    def __init__(self, number: int, target: str, stopping: threading.Event) -> None:
        super().__init__(name=f"session-{number}")
        self.acknowledged: list[tuple[str, str]] = []
        self.failed = 0
        self._number = number
        self._target = target
        self._stopping = stopping

    def run(self) -> None:
        with StateClient(self._target, timeout_s=CALL_S) as client:
            turn = 0
            while not self._stopping.is_set():
                turn += 1
                item = f"{self._number}-{turn}"
                try:
                    told = self._append(client, item) if self._number % 2 == 0 else self._save(client, item)
                except StateSidecarError:
                    self.failed += 1  # not acknowledged: it may be there or not
                    continue
                self.acknowledged.append((item, told))

    def _append(self, client: StateClient, item: str) -> str:
        return client.append("chat", KEY, [item], create=True).durability.name

    def _save(self, client: StateClient, item: str) -> str:
        with client.session("chat", KEY, default=list, on_conflict="merge") as session:
            session.state.append(item)
        return session.durability.name


def run(deployment: Deployment, *, seconds: float) -> Verdict:
    """A third of the time there, a third away, a third there again."""
    stopping = threading.Event()
    sessions = [_Session(number, deployment.targets()[number % 3], stopping) for number in range(SESSIONS)]
    for session in sessions:
        session.start()
    _PAUSE.wait(seconds / 3)
    for proxy in deployment.to_postgres:
        proxy.refuse()
    _PAUSE.wait(seconds / 3)
    for proxy in deployment.to_postgres:
        proxy.accept()
    _PAUSE.wait(seconds / 3)
    stopping.set()
    for session in sessions:
        session.join()
    end = time.monotonic() + PATIENCE_S
    while any(daemon.status().journal_depth for daemon in deployment.daemons):
        assert time.monotonic() < end, "a journal is not settled"
        _PAUSE.wait(0.1)
    with StateClient(deployment.targets()[0]) as client:
        entry = client.get("chat", KEY, consistency=Consistency.STRONG).entry
    assert entry is not None
    turns = Counter(json.loads(entry.value))
    told = [one for session in sessions for one in session.acknowledged]
    return Verdict(
        acknowledged=Counter(durability for _, durability in told),
        failed=sum(session.failed for session in sessions),
        wrong=[item for item, _ in told if turns[item] != 1] + [item for item, count in turns.items() if count > 1],
    )
