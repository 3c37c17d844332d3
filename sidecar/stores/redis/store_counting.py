"""How much the store holds: Redis knows the numbers of keys, and some of each namespace are looked at for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sidecar.core.ledger import LEDGER
from sidecar.core.observed import Census, Held
from sidecar.stores.redis.script import load_script
from sidecar.stores.redis.store_calls import Calls
from sidecar.stores.redis.store_rows import Shard

SAMPLE_MAX = 100
"""Entries of a namespace that are looked at; what has fewer is counted to the byte."""
VISITS_MAX = 200
"""Entries that one script looks at, and then the rest of the last namespace: all other callers wait meanwhile."""
_CENSUS = load_script("store_common", "store_census")
_LEDGER = LEDGER.encode()


class _Found(NamedTuple):
    """Of a namespace."""

    namespace: bytes
    entries: int
    looked_at: int
    live: int
    size: int


async def census(calls: Calls, shards: Iterable[Shard]) -> Census:
    """What is live. A namespace is all in one shard."""
    held: dict[str, Held] = {}
    estimated = False
    for shard in shards:
        lower = b"-"
        while lower:
            _, lower, told = await calls.read(_CENSUS, shard.keys, lower, SAMPLE_MAX, VISITS_MAX)
            for one in _found(told):
                scale = one.entries / one.looked_at
                estimated = estimated or scale > 1
                if one.live and one.namespace != _LEDGER:
                    name = one.namespace.decode(errors="replace")
                    held[name] = Held(round(one.live * scale), round(one.size * scale))
    return Census(held=held, estimated=estimated)


def _found(told: list[bytes | int]) -> Iterator[_Found]:
    for begin in range(0, len(told), 5):
        yield _Found(*told[begin : begin + 5])  # type: ignore[arg-type]  # as the script answers
