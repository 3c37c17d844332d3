"""The race in short, and its power: our protocol leaves nothing stale, and each planted one does. `make race` runs long."""

from __future__ import annotations

import pytest

from tests.race.caches import CACHES, PROTOCOLS, connector
from tests.race.harness import Figures, Race

FILLS = 3_000
FILLS_MAX = 30_000
"""Before a planted protocol counts as not found."""


async def race(cache: str, protocol: str, fills: int) -> Figures:
    with connector(cache, protocol) as connect:
        return await Race(connect, seed=1).run(fills)


@pytest.mark.parametrize("cache", sorted(CACHES))
async def test_no_fill_is_stale(cache: str) -> None:
    figures = await race(cache, "ours", FILLS)

    assert (figures.stale, figures.unrepaired) == (0, 0), figures.examples
    assert figures.deaths > 0
    assert 0.15 <= figures.evictions / (figures.reads + figures.writes) <= 0.4


@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - {"ours"}))
@pytest.mark.parametrize("cache", ["memory", "valkey", "memcached"])
async def test_a_planted_protocol_is_found_stale(cache: str, protocol: str) -> None:
    fills = FILLS
    while not (await race(cache, protocol, fills)).stale:
        fills *= 2
        assert fills < FILLS_MAX, f"{protocol} was not found"
