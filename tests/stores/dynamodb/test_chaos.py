"""Daemons whose network loses, repeats, delays and refuses at random: whatever is told, the sums are exact."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from random import Random

import pytest

from sidecar.core.errors import LimitExceeded, OutcomeUnknown, StoreUnavailable
from sidecar.core.operations import Change, Increment
from sidecar.core.store import ChangeRow, Outcome
from sidecar.runtime.ports import SystemClock
from sidecar.stores.dynamodb import DynamoStore
from tests.stores.dynamodb.conftest import Opener, value
from tests.stores.dynamodb.faults import FaultProxy, answers, cuts, fails_late, loses_reply, races
from tests.support.factories import request, write

DAEMONS, WORKERS, TURNS, KEYS = 3, 5, 6, 3
FAULTS = [cuts, loses_reply, races, fails_late("InternalServerError"), answers("ThrottlingException")]
SHARE = 0.1


class FastClock(SystemClock):
    """Waits that take seconds are over in milliseconds."""

    def monotonic(self) -> float:
        return super().monotonic() * 50


async def add(store: DynamoStore, key: str, request_id: str) -> Outcome:
    """Until it is known to be done, as a client does who has an id."""
    operation = Change(key=key, change=Increment(delta=1), create=True)
    while True:
        try:
            return await store.commit(write(operation, request=request(request_id)))
        except (StoreUnavailable, OutcomeUnknown, LimitExceeded):
            await asyncio.sleep(0)


async def follow(store: DynamoStore, cursor: int, count: int) -> list[ChangeRow]:
    told: list[ChangeRow] = []
    while len(told) < count:
        page = await store.changes(after=cursor, limit=11)
        assert not page.gap
        told += page.changes
        cursor = page.cursor
        await asyncio.sleep(0)
    assert (await store.changes(after=cursor, limit=11)).changes == ()
    return told


@pytest.mark.parametrize("seed", range(4))
async def test_every_request_counts_once_and_is_told_once(opener: Opener, proxy: FaultProxy, seed: int) -> None:
    random = Random(seed)
    stores = [await opener(endpoint_url=proxy.endpoint_url, clock=FastClock()) for _ in range(DAEMONS)]
    reader = await opener(clock=FastClock())
    cursor = (await reader.changes(after=None, limit=1)).cursor
    proxy.chance = lambda _: random.choice(FAULTS) if random.random() < SHARE else None

    async def work(daemon: int, worker: int) -> list[Outcome]:
        return [
            await add(stores[daemon], f"{(worker + turn) % KEYS}", f"{daemon} {worker} {turn}") for turn in range(TURNS)
        ]

    working = asyncio.gather(*[work(daemon, worker) for daemon in range(DAEMONS) for worker in range(WORKERS)])
    told, outcomes = await asyncio.gather(follow(reader, cursor, DAEMONS * WORKERS * TURNS), working)

    versions = [outcome.version for each in outcomes for outcome in each]
    assert sorted(row.version for row in told) == sorted(versions)
    assert len(set(versions)) == len(versions)
    values = [int(await value(reader, f"{key}") or b"") for key in range(KEYS)]
    assert sum(values) == DAEMONS * WORKERS * TURNS
    for key in range(KEYS):
        of_key = [row.version for row in told if row.key == f"{key}"]
        assert len(of_key) == values[key]
        assert all(before < after for before, after in pairwise(of_key))
