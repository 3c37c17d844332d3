"""The outbox's delivery: who delivers, what is next, what became of it. `core/outbox.py` says how messages are stored."""

from __future__ import annotations

from sidecar.engine.outbox.census import Census, Waiting
from sidecar.engine.outbox.config import OutboxConfig
from sidecar.engine.outbox.letters import DeadLetter, DeadLetters, LetterPage
from sidecar.engine.outbox.outlets import Outlet, Source
from sidecar.engine.outbox.relay import Relay, RelayFigures

__all__ = [
    "Census",
    "DeadLetter",
    "DeadLetters",
    "LetterPage",
    "OutboxConfig",
    "Outlet",
    "Relay",
    "RelayFigures",
    "Source",
    "Waiting",
]
