"""The hot tier in memcached servers, by meta commands: `sidecar.core.cache` with compare-and-swap for every change.

| step | commands |
| --- | --- |
| a hit | `mg` |
| a lease | `mg`, then `ms` in mode add, or over what was found dead by its CAS unique: a placeholder |
| fill, release | `ms`, `md` by the placeholder's CAS unique |
| apply | `mg`, then `ms` or `md` by the CAS unique of what was compared; nothing where there was nothing |

A CAS unique is given once by a process, to one state of one item, and a lease names all three: key, CAS unique, process.
So what a lease fills is that very placeholder, also after restarts, which begin to count again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b

from sidecar.core.cache import REPAIR_TURN_MS, CacheCapabilities, CacheUnavailable, Fill, Hit, Miss, Turn
from sidecar.core.entry import Copy
from sidecar.core.limits import DAY_MS
from sidecar.core.ports import Clock
from sidecar.stores.memcached import turns
from sidecar.stores.memcached.items import Held, Keys
from sidecar.stores.memcached.ring import Ring
from sidecar.stores.memcached.server import Server
from sidecar.stores.memcached.talk import Lives, Talk, ttl_s
from sidecar.stores.memcached.target import MemcachedTarget

LIFE_MS_MAX = 29 * DAY_MS
"""Above 30 days memcached takes a duration for an instant."""

Work = Callable[[Server, Sequence[int]], Awaitable[None]]
"""What is done at one server for its share of a call's keys, given by their places."""


class MemcachedCache:
    """A Cache that daemons share. Times are milliseconds of the authority's clock, `timeout_s` seconds.

    A cached miss lives `negative_ms`; a lease that is not filled within `lease_ms` may be given to another. A copy stays
    at most `life_ms_max`. Keys of a server that is away are misses without lease; what is to be told to it fails.
    """

    capabilities = CacheCapabilities(shared=True)

    def __init__(
        self,
        target: MemcachedTarget,
        *,
        clock: Clock,
        prefix: str = "",
        lease_ms: int = 3_000,
        negative_ms: int = 2_000,
        life_ms_max: int = 1_800_000,
        timeout_s: float = 1.0,
    ) -> None:
        assert max(lease_ms, negative_ms, life_ms_max) <= LIFE_MS_MAX, "memcached's durations end at 30 days"
        self._lives = Lives(lease_ms=lease_ms, negative_ms=negative_ms, copy_ms_max=life_ms_max)
        self._turn_ttl_s = ttl_s(max(life_ms_max, negative_ms, REPAIR_TURN_MS))
        self._keys = Keys(prefix)
        self._generation = 0
        self._now = 0
        self._servers = [
            Server(
                address,
                connections_max=target.connections,
                timeout_s=timeout_s,
                marker=self._keys.marker,
                clock=clock,
                latest=lambda: self._generation,
            )
            for address in target.servers
        ]
        self._ring = Ring([server.name for server in self._servers])

    async def identity(self) -> str:
        """Changes when a server is another process or lost its items, and when the servers are others.

        A server that is away counts as it was seen last. Raises CacheUnavailable if it was never seen.
        """
        seen = await asyncio.gather(*(server.identify() for server in self._servers))
        named = sorted(zip([server.name for server in self._servers], seen, strict=True))
        return blake2b(repr(named).encode(), digest_size=16).hexdigest()

    async def get(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[Hit | Miss]:
        """A hit or a miss for each key; a missing key leaves a placeholder."""
        return await self._look_up(namespace, keys, generation, now, _anything)

    async def lease(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[str | None]:
        """A lease for each key that has no copy."""
        found = await self._look_up(namespace, keys, generation, now, _a_copy)
        return [answer.lease if isinstance(answer, Miss) else None for answer in found]

    async def _look_up(
        self, namespace: str, keys: Sequence[str], generation: int, now: int, serves: Callable[[Held], bool]
    ) -> list[Hit | Miss]:
        answers: list[Hit | Miss] = [Miss(None)] * len(keys)
        self._heard(generation, now)

        async def work(server: Server, places: Sequence[int]) -> None:
            talk = await self._talk(server, namespace, generation, now)
            if generation >= server.generation_min:
                for place, answer in zip(
                    places, await talk.look_up([keys[place] for place in places], serves), strict=True
                ):
                    answers[place] = answer

        await self._wherever_possible(namespace, keys, work)
        return answers

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        """Store what still has its placeholder."""
        stored = 0
        self._heard(generation, now)

        async def work(server: Server, places: Sequence[int]) -> None:
            nonlocal stored
            talk = await self._talk(server, namespace, generation, now)
            count = await talk.fill([fills[place] for place in places])
            stored += count

        await self._wherever_possible(namespace, [fill.key for fill in fills], work)
        return stored

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        """Replace older copies, drop placeholders and cached misses, create nothing."""
        newest: dict[str, Copy] = {}
        for copy in copies:
            if copy.key not in newest or newest[copy.key].version < copy.version:
                newest[copy.key] = copy
        told = list(newest.values())
        self._heard(generation, self._now)

        async def work(server: Server, places: Sequence[int]) -> None:
            talk = await self._talk(server, namespace, generation, self._now)
            await talk.apply([told[place] for place in places])

        await self._everywhere(namespace, list(newest), work)

    async def invalidate(self, namespace: str, keys: Sequence[str]) -> None:
        """Forget keys."""

        async def work(server: Server, places: Sequence[int]) -> None:
            talk = await self._talk(server, namespace, self._generation, self._now)
            await talk.delete([keys[place] for place in places])

        await self._everywhere(namespace, keys, work)

    async def release(self, namespace: str, leases: Sequence[tuple[str, str]]) -> None:
        """Give leases back."""

        async def work(server: Server, places: Sequence[int]) -> None:
            talk = await self._talk(server, namespace, self._generation, self._now)
            await talk.release([leases[place] for place in places])

        await self._wherever_possible(namespace, [key for key, _ in leases], work)

    async def claim_repair(self, owner: str, *, generation: int, begin: int | None, now: int) -> Turn | None:
        """The turn, if nobody else has it now."""
        item = self._keys.turn(generation)
        connection = await self._at(item).connection()
        return await turns.claim(connection, item, owner, begin=begin, now=now, ttl_s=self._turn_ttl_s)

    async def renew_repair(self, owner: str, *, generation: int, cursor: int, now: int) -> bool:
        """Keep a cursor and a turn."""
        item = self._keys.turn(generation)
        connection = await self._at(item).connection()
        return await turns.renew(connection, item, owner, cursor=cursor, now=now, ttl_s=self._turn_ttl_s)

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*(server.close() for server in self._servers))

    def _at(self, item: bytes) -> Server:
        return self._servers[self._ring.index(item)]

    def _heard(self, generation: int, now: int) -> None:
        self._generation = max(self._generation, generation)
        self._now = now

    async def _talk(self, server: Server, namespace: str, generation: int, now: int) -> Talk:
        return Talk(
            connection=await server.connection(),
            keys=self._keys,
            lives=self._lives,
            namespace=namespace,
            generation=generation,
            now=now,
        )

    async def _everywhere(self, namespace: str, keys: Sequence[str], work: Work) -> None:
        """Do the work at every server that has keys of these. Raises CacheUnavailable if one did not hear it."""
        for failure in await self._tried(namespace, keys, work):
            if failure is not None:
                raise failure

    async def _wherever_possible(self, namespace: str, keys: Sequence[str], work: Work) -> None:
        """Do the work at the servers that are there. Raises CacheUnavailable if none of these keys' is, nor any other.

        A key of a server that is away says nothing of the whole: its failures would open the breaker before all of them.
        """
        failures = await self._tried(namespace, keys, work)
        told = [failure for failure in failures if failure is not None]
        others_there = len(self._servers) > 1 and any(server.connected for server in self._servers)
        if told and len(told) == len(failures) and not others_there:
            raise told[0]

    async def _tried(self, namespace: str, keys: Sequence[str], work: Work) -> list[CacheUnavailable | None]:
        """What came of each share."""
        if len(self._servers) == 1:
            return [await _outcome(work(self._servers[0], range(len(keys))))]
        shares: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            shares.setdefault(self._ring.index(self._keys.of(namespace, key)), []).append(place)
        works = [_outcome(work(self._servers[at], places)) for at, places in shares.items()]
        return [await works[0]] if len(works) == 1 else await asyncio.gather(*works)


async def _outcome(work: Awaitable[None]) -> CacheUnavailable | None:
    try:
        await work
    except CacheUnavailable as exc:
        return exc
    return None


def _anything(_: Held) -> bool:
    return True


def _a_copy(held: Held) -> bool:
    return held.copy is not None
