"""Three relays over one store, in thousands of interleavings with pauses, deaths, lost requests and lost replies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.outbox_support import first_deliveries, rows
from tests.unit.outbox_world import CONFIG, POISON, World

SEEDS = 24
STEPS = 3_000


async def check(world: World) -> None:
    """What was committed came, first in version order of its key, or is a dead letter."""
    taken = {one.message.id for one in world.log if one.receipt is None}
    dead = await world.dead()
    assert await rows(world.placement, "x/") == []
    assert taken | dead == world.writer.ids
    assert all(one.message.id in world.writer.ids for one in world.log), "nothing goes out that was not committed"
    for key, ids in first_deliveries(world.log).items():
        assert ids == sorted(ids), key


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_nothing_is_lost_and_each_key_is_in_order_whatever_happens(seed: int) -> None:
    world = World(seed)

    await world.run(STEPS)

    await check(world)
    assert len(world.writer.ids) > 300
    assert world.deaths > 0
    poisonous = {one.message.key for one in world.log if one.receipt is not None}
    assert poisonous <= set(POISON)


@pytest.mark.parametrize("seed", range(6))
async def test_without_trouble_everything_goes_out_once(seed: int) -> None:
    # A lease that nobody outlives, however slow the nemesis lets it be.
    world = World(seed, trouble=0.0, config=replace(CONFIG, lease_s=1_000.0))

    await world.run(STEPS)

    await check(world)
    taken = [one.message.id for one in world.log if one.receipt is None]
    assert len(taken) == len(set(taken))
    assert max(one.attempt for one in world.log) <= CONFIG.attempts_max
