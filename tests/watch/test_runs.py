"""Watchers over every store that tells changes, judged by what has to hold for all of them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.adapters import FEED_STORES
from tests.contract.harnesses import StoreUnderTest
from tests.support.clock import ManualClock
from tests.watch.runs import Runner
from tests.watch.shuffled import ShuffledStore

SEEDS = range(20)


@pytest.fixture(params=FEED_STORES, ids=lambda harness: harness.name)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    async with request.param.opened(tmp_path) as subject:
        yield subject


@pytest.mark.parametrize("seed", range(2))
async def test_a_history_over_a_store_holds(store: StoreUnderTest, seed: int) -> None:
    run = await Runner(store.store, store.clock, seed, writes=80, advance=store.advance).go()

    assert run.found == {}
    assert len(run.committed.values) > 50


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_history_holds_where_changes_come_late_and_in_another_order(seed: int) -> None:
    clock = ManualClock()
    store = ShuffledStore(clock, random.Random(seed))

    run = await Runner(store, clock, seed, writes=400).go()

    assert run.found == {}
    assert sum(len(chain.told) for chain in run.chains) > 500
