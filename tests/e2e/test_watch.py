"""A hundred thousand changes, over one daemon and over two: each is told once, in order, whatever is cut or killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.watch.__main__ import daemons, report
from tests.watch.daemons import Cluster


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("store", "events", "seed"), [("postgres", 80_000, 1), ("sqlite", 20_000, 2)])
async def test_every_change_is_told_once_and_in_order(tmp_path: Path, store: str, events: int, seed: int) -> None:
    with daemons(store, tmp_path) as running:
        outcome = await Cluster(running, seed).run(events=events, seconds=0.0, kills=1)

    assert outcome.found == {}, report(outcome)
    assert outcome.events >= events
    assert outcome.errors["UNAVAILABLE"] > 0
    assert outcome.errors["cut"] > 0
