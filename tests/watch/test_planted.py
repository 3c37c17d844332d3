"""Each planted defect is caught, by the validators that are there for it."""

from __future__ import annotations

import random
from functools import partial

import pytest

from tests.support.clock import ManualClock
from tests.watch.planted import PLANTED, OrderedByVersion, Planted
from tests.watch.runs import RING_ROWS, Runner
from tests.watch.shuffled import ShuffledStore

SEEDS_MAX = 20


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.wrong.__name__)
async def test_a_planted_defect_is_caught(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = planted.plant(monkeypatch)
    make = feed if feed is OrderedByVersion else partial(feed, ring_rows=RING_ROWS)
    noticed: set[str] = set()
    for seed in range(SEEDS_MAX):
        clock = ManualClock()
        runner = Runner(ShuffledStore(clock, random.Random(seed)), clock, seed, writes=200, feed=make)
        noticed |= set((await runner.go()).found)
        if planted.caught_by <= noticed:
            return

    assert planted.caught_by <= noticed
