"""What AWS's library looks for, and short times for what a test waits out."""

from __future__ import annotations

import pytest

from servers.ministack import CREDENTIALS
from sidecar.sinks.kafka import producer


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(producer, "TIMEOUT_S", 3.0)
    monkeypatch.setattr(producer, "ASK_S", 2.0)
