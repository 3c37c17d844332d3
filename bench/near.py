"""Hits of the near cache in the client, beside a dictionary's: what a read costs that asks nobody.

The time is that of a call in a loop of nothing else, by both shells. `python -m bench.near` measures this alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from bench.processes import daemon
from bench.racing import Block, Call, Race, Side, Size, Target, race
from bench.stage import KEYS, KILOBYTE, each, value
from statesidecar import AsyncStateClient, StateClient, Tier
from statesidecar.near import NearCache

NAMESPACE = "model"
HIT_US_MAX = 10.0
LOOP = 100
"""Hits of the blocking client that are one call of the measurement: it awaits, which would cost more than a hit."""
WARMING_MAX = 200
NEAR = {NAMESPACE: NearCache(max_age_s=3600.0)}
ASYNC, BLOCKING, DICTIONARY = "AsyncStateClient", "StateClient", "a dictionary"


def _mean_us(side: str, calls: int) -> Callable[[Mapping[str, Block]], float]:
    return lambda blocks: 1e6 / blocks[side].per_s / calls


def _hits(client: StateClient) -> Call:
    get = client.get

    async def hits() -> None:
        for key in KEYS[:LOOP]:
            get(NAMESPACE, key)

    return hits


def _looks(known: Mapping[tuple[str, str], bytes]) -> Call:
    async def looks() -> None:
        for key in KEYS[:LOOP]:
            known[NAMESPACE, key]

    return looks


async def _measure(target: str, size: Size) -> list[Race]:
    content = value(KILOBYTE)
    async with AsyncStateClient(target, near=NEAR) as client:
        with StateClient(target, near=NEAR) as blocking:
            await asyncio.gather(*(client.set(NAMESPACE, key, content) for key in KEYS))
            for _ in range(WARMING_MAX):
                reads = [*await asyncio.gather(*(client.get(NAMESPACE, key) for key in KEYS))]
                reads += [blocking.get(NAMESPACE, key) for key in KEYS[:LOOP]]
                if all(read.served_by is Tier.NEAR for read in reads):
                    break
                await asyncio.sleep(0.05)
            else:
                raise RuntimeError("the near caches keep nothing")
            sides = [
                Side(name=ASYNC, call_of=each(KEYS, lambda key: client.get(NAMESPACE, key))),
                Side(name=BLOCKING, call_of=lambda _: _hits(blocking)),
                Side(name=DICTIONARY, call_of=lambda _: _looks({(NAMESPACE, key): content for key in KEYS})),
            ]
            targets = [
                Target(title=f"{ASYNC}, µs of a hit", value=_mean_us(ASYNC, 1), at_most=HIT_US_MAX),
                Target(title=f"{BLOCKING}, µs of a hit", value=_mean_us(BLOCKING, LOOP), at_most=HIT_US_MAX),
                Target(title=f"{DICTIONARY}, µs of a look", value=_mean_us(DICTIONARY, LOOP)),
            ]
            title = f"near cache, 1 KB ({BLOCKING} and {DICTIONARY}: {LOOP} a call)"
            return [await race(title, sides, targets, callers=1, size=size)]


def measure(progress: Callable[[str], None], size: Size) -> list[Race]:
    """On a daemon of its own, whose watch goes on."""
    progress("near cache")
    with daemon() as running:
        return size.run(_measure(running.target, size))


if __name__ == "__main__":
    from bench.alone import run

    run(measure)
