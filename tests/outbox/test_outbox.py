"""Every message is delivered, and only those, and each key in order, while whoever delivers them is killed and stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.outbox import runs, stored
from tests.outbox.runs import Settings

SHORT = {
    stored.POSTGRES: Settings(store=stored.POSTGRES, messages=60_000, kills=60, rate=1_200.0),
    stored.SQLITE: Settings(store=stored.SQLITE, messages=40_000, kills=40, rate=1_000.0),
}
"""A hundred owners and 100,000 messages together. `python -m tests.outbox run` does as much as one likes."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("store", stored.STORES)
def test_every_message_is_delivered_while_its_owners_are_killed(store: str, tmp_path: Path) -> None:
    settings = SHORT[store]

    report = runs.run(settings, tmp_path)

    assert not report.verdict.wrong, str(report)
    assert not report.said
    assert report.verdict.delivered >= settings.messages * 0.98
    assert report.done["killed"] + report.done["stopped"] >= settings.kills
    assert report.verdict.dead
    assert report.verdict.unknown
