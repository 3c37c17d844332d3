"""A hundred vectors of 128 float32 into one numpy array, beside MGET by redis-py and numpy.frombuffer.

`python -m bench.vectors` measures this alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.racing import Call, Race, Side, Size, p50_to, race
from bench.stage import BLOCKING, MEMORY, REDIS, Servers, clients, servers
from statesidecar import AsyncStateClient, Tier

DIM, COUNT = 128, 100
NAMESPACE = "default"
KEYS = [f"vector-{number:03}" for number in range(COUNT)]
WARMING_MAX = 100


async def _fill(client: AsyncStateClient, made: np.ndarray) -> None:
    for key, row in zip(KEYS, made, strict=True):
        await client.set_vector(NAMESPACE, key, row)
    for _ in range(WARMING_MAX):
        reads = await client.batch_get(NAMESPACE, KEYS)
        if all(read.served_by is Tier.HOT for read in reads):
            return
        await asyncio.sleep(0.05)
    raise RuntimeError("the vectors did not get to the hot tier")


async def _measure(started: Servers, size: Size) -> list[Race]:
    made = np.random.default_rng(1).random((COUNT, DIM), dtype=np.float32)
    async with clients(started) as at:
        bare = at.blocking

        async def mget() -> np.ndarray:
            found: Any = bare.mget(KEYS)
            return np.stack([np.frombuffer(one, dtype="<f4") for one in found])

        sides = []
        for name, client, running in at.ours():
            await _fill(client, made)
            found = await client.vectors(NAMESPACE, KEYS)
            assert np.array_equal(found.array, made)
            assert not found.missing.any()
            sides.append(at.side(name, running, _reader(client)))
        bare.mset({key: row.tobytes() for key, row in zip(KEYS, made, strict=True)})
        assert np.array_equal(await mget(), made)
        sides.append(Side(name=BLOCKING, call_of=lambda _: mget, pids=[started.valkey.process.pid]))
        targets = [p50_to(MEMORY, BLOCKING, at_most=1.5), p50_to(REDIS, BLOCKING)]
        return [await race(f"{COUNT} x {DIM} float32 to numpy", sides, targets, callers=1, size=size)]


def _reader(client: AsyncStateClient) -> Callable[[int], Call]:
    return lambda _: lambda: client.vectors(NAMESPACE, KEYS)


def measure(progress: Callable[[str], None], size: Size) -> list[Race]:
    """On servers of its own."""
    progress("vectors")
    with servers() as started:
        return size.run(_measure(started, size))


if __name__ == "__main__":
    from bench.alone import run

    run(measure)
