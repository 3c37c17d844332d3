"""The other programmes in short: whole daemons, a poisonous key, latencies. Their figures are for a machine that is idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.engine.outbox.config import OutboxConfig
from tests.outbox import daemons, latency, poison, stored
from tests.outbox.runs import Settings


@pytest.mark.timeout(240)
def test_whole_daemons_deliver_everything_while_they_are_killed(tmp_path: Path) -> None:
    verdict, done = daemons.run(tmp_path, messages=4_000, kills=3, seed=1)

    assert not verdict.wrong, str(verdict)
    assert verdict.delivered >= 3_900
    assert done.total() == 3


@pytest.mark.parametrize("store", stored.STORES)
def test_a_poisonous_key_holds_up_no_other(store: str, tmp_path: Path) -> None:
    figures = poison.run(store, tmp_path, messages=3_200, rounds=1)

    assert len(figures.plain) == len(figures.poisoned) == 1
    assert figures.refusals[0] > 0


@pytest.mark.parametrize("store", stored.STORES)
def test_undisturbed_nothing_comes_twice(store: str, tmp_path: Path) -> None:
    quiet = Settings(store=store, messages=600, kills=0, rate=200.0, relay=OutboxConfig(), trouble=False)

    figures = latency.run(quiet, tmp_path)

    assert figures.count >= 500
    assert 0 <= figures.p50 <= figures.p99
