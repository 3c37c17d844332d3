"""The hot tier in Redis: `sidecar.core.cache` by a read and four small scripts, each on one key and one slot of a Cluster.

Instants are the authority's, compared with the `now` that callers give. Redis's own expiry only frees memory: it comes
after an instant, or at the end of a copy's life, which is bounded so that it is shorter than the time for which the
authority keeps change rows: a copy that missed a change, and a repairer that missed it too, end before it is forgotten.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Collection, Sequence
from itertools import count
from random import Random
from struct import Struct
from typing import Any, TypeVar

from sidecar.core.cache import CacheCapabilities, CacheUnavailable, Fill, Hit, Miss, Turn
from sidecar.core.entry import Copy, Entry
from sidecar.stores.redis import codec
from sidecar.stores.redis.client import Process, RedisClient
from sidecar.stores.redis.codec import Lease
from sidecar.stores.redis.errors import RedisRefused, RedisUnavailable
from sidecar.stores.redis.marks import Marks
from sidecar.stores.redis.script import Call, Script, load_script

SLACK_MS = 5_000
"""Redis keeps a slot so much longer than its instant says: its clock and the authority's are two."""
LIFE_JITTER = 0.1
"""Lives end up to this part earlier, so that what was filled together does not end together."""

_LEASE, _FILL, _APPLY = load_script("cache_lease"), load_script("cache_fill"), load_script("cache_apply")
_NEVER = 1 << 64
_U64 = Struct(">Q")

T = TypeVar("T")


class RedisCache:
    """A Cache that daemons share. Times are milliseconds of the authority's clock. The client is the caller's to close.

    A cached miss lives `negative_ms`; a lease that is not filled within `lease_ms` may be given to another. A copy stays
    at most `life_ms_max`; one of more than `value_bytes_max` is not kept: Redis hangs up on arguments above its
    proto-max-bulk-len (512 MB).
    """

    capabilities = CacheCapabilities(shared=True)

    def __init__(
        self,
        client: RedisClient,
        *,
        prefix: str = "",
        lease_ms: int = 3_000,
        negative_ms: int = 2_000,
        life_ms_max: int = 1_800_000,
        value_bytes_max: int = 1 << 25,
        random: Random | None = None,
    ) -> None:
        self._client = client
        self._names = codec.Names(prefix)
        self._lease_ms = lease_ms
        self._negative_ms = negative_ms
        self._life_ms_max = life_ms_max
        self._value_bytes_max = value_bytes_max
        self._random = random or Random()  # noqa: S311  # it spreads the ends of lives
        self._holder = secrets.token_hex(8)
        self._leases = count(1)
        self._marks = Marks(client, self._names)
        self._generation = -1
        # The primaries as they were named last, each with the least generation in which it is believed.
        self._known: dict[Process, int] | None = None

    # ---- readers

    async def get(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[Hit | Miss]:
        """A hit or a miss for each key; a missing key leaves a placeholder."""
        space = self._names.space(namespace)
        names = [space + key.encode() for key in keys]
        self._generation = max(self._generation, generation)
        slots, processes = await self._heard(self._client.read(names))
        if not self._believed(processes, generation):
            return [codec.TAKEN] * len(keys)
        try:
            answers, missing = codec.read_all(names, slots, namespace, keys, generation=generation, now=now)
            if missing:
                names, keys = [names[at] for at in missing], [keys[at] for at in missing]
                leased = await self._leased(names, namespace, keys, generation, now)
                for at, answer in zip(missing, leased, strict=True):
                    answers[at] = answer
        except codec.NotOurs as exc:
            # It may be another call's reply, so no connection is believed any more.
            self._client.disconnect()
            await self._delete([exc.name])
            raise CacheUnavailable(f"{exc}, and was dropped") from exc
        except TypeError as exc:
            self._client.disconnect()
            raise CacheUnavailable("Redis answered something else than what was asked for") from exc
        return answers

    async def _leased(
        self, names: Sequence[bytes], namespace: str, keys: Sequence[str], generation: int, now: int
    ) -> list[Hit | Miss]:
        """Leases of missing keys, or what others have done about them since."""
        leases, replies = await self._ask(names, generation, now, b"reader")
        slots = [reply if isinstance(reply, bytes) else None for reply in replies]
        answers, _ = codec.read_all(names, slots, namespace, keys, generation=generation, now=now)
        return [
            Miss(str(lease)) if reply == 1 else answer
            for lease, reply, answer in zip(leases, replies, answers, strict=True)
        ]

    async def _ask(
        self, names: Sequence[bytes], generation: int, now: int, role: bytes
    ) -> tuple[list[Lease], list[Any]]:
        """The leases that would be given, and what Redis says. Where its memory is full, nobody gets one."""
        leases = [Lease(generation, now + self._lease_ms, f"{self._holder}{next(self._leases):x}") for _ in names]
        epoch, life = _U64.pack(generation), self._lease_ms + SLACK_MS
        calls: list[Call] = [
            ((name,), (epoch, now, lease.placeholder(name), life, role))
            for name, lease in zip(names, leases, strict=True)
        ]
        replies = await self._run_many(_LEASE, calls)
        return leases, _checked([0 if _is_refused(reply, "OOM") else reply for reply in replies])

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        """Store what still has its placeholder."""
        space = self._names.space(namespace)
        calls: list[Call] = []
        for fill in fills:
            name = space + fill.key.encode()
            lease = Lease.parse(fill.lease)
            # Whether its placeholder is still there, the script finds out.
            if lease is not None and lease.generation == generation and now < lease.deadline:
                slot = self._slot(name, fill.copy, generation, now + self._negative_ms)
                calls.append(((name,), (lease.placeholder(name), slot, self._fill_life(fill.copy, now))))
        return _checked(await self._run_many(_FILL, calls)).count(1)

    async def release(self, namespace: str, leases: Sequence[tuple[str, str]]) -> None:
        """Give leases back."""
        space = self._names.space(namespace)
        calls: list[Call] = []
        for key, text in leases:
            name, lease = space + key.encode(), Lease.parse(text)
            if lease is not None:
                calls.append(((name,), (lease.placeholder(name), b"", 0)))
        _checked(await self._run_many(_FILL, calls))

    # ---- writers

    async def lease(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[str | None]:
        """A lease for each key that has no copy."""
        space = self._names.space(namespace)
        leases, replies = await self._ask([space + key.encode() for key in keys], generation, now, b"writer")
        return [str(lease) if reply == 1 else None for lease, reply in zip(leases, replies, strict=True)]

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        """Replace older copies, drop placeholders and cached misses, create nothing."""
        space, epoch = self._names.space(namespace), _U64.pack(generation)
        calls: list[Call] = []
        for copy in copies:
            name = space + copy.key.encode()
            slot = self._slot(name, copy, generation, 0) if isinstance(copy, Entry) else b""
            calls.append(((name,), (epoch, _U64.pack(copy.version), slot, self._apply_life(copy))))
        _checked(await self._run_many(_APPLY, calls))

    async def invalidate(self, namespace: str, keys: Sequence[str]) -> None:
        """Forget keys."""
        space = self._names.space(namespace)
        await self._delete([space + key.encode() for key in keys])

    # ---- the cache as a whole

    async def identity(self) -> str:
        """Changes when a primary is another process, was promoted, or lost the marker that we left there."""
        name, processes = await self._heard(self._marks.identity())
        if self._known is None:
            self._known = dict.fromkeys(processes, 0)
        else:
            self._known = {process: self._known.get(process, self._generation + 1) for process in processes}
        return name

    def _believed(self, processes: Collection[Process], generation: int) -> bool:
        """Whether what these answer can be told: one that we meet anew, as after a failover, may lack the last states,
        until its name has made a generation in which all that it brought along is of another one.
        """
        known = self._known
        return known is None or all(generation >= known.get(process, _NEVER) for process in processes)

    async def claim_repair(self, owner: str, *, generation: int, begin: int | None, now: int) -> Turn | None:
        """The turn, if nobody else has it now."""
        return await self._heard(self._marks.claim(owner, generation=generation, begin=begin, now=now))

    async def renew_repair(self, owner: str, *, generation: int, cursor: int, now: int) -> bool:
        """Keep a cursor and a turn."""
        return await self._heard(self._marks.renew(owner, generation=generation, cursor=cursor, now=now))

    async def close(self) -> None:
        """Nothing is held: the client is its owner's. Idempotent."""

    # ---- helpers

    def _slot(self, name: bytes, copy: Copy | None, generation: int, end: int) -> bytes:
        """What is stored for a copy; nothing for one that is too large."""
        if isinstance(copy, Entry) and len(copy.value) > self._value_bytes_max:
            return b""
        return codec.encode(name, copy, generation=generation, end=end)

    def _fill_life(self, copy: Copy | None, now: int) -> int:
        if not isinstance(copy, Entry):
            return self._negative_ms + SLACK_MS
        return self._life(None if copy.expire_time is None else max(0, copy.expire_time - now))

    def _apply_life(self, copy: Copy) -> int:
        # Writers don't say what time it is: a copy that was just written has most of its ttl before it.
        return self._life(copy.ttl_ms if isinstance(copy, Entry) else 0)

    def _life(self, remaining_ms: int | None) -> int:
        life = max(1, int(self._life_ms_max * (1 - LIFE_JITTER * self._random.random())))
        return life if remaining_ms is None else min(life, remaining_ms + SLACK_MS)

    async def _run_many(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        return await self._heard(self._client.run_many(script, calls))

    async def _delete(self, names: Sequence[bytes]) -> None:
        await self._heard(self._client.delete(names))

    async def _heard(self, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except (RedisUnavailable, RedisRefused) as exc:
            raise CacheUnavailable(str(exc)) from exc


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, RedisRefused):
            raise CacheUnavailable(str(reply)) from reply
    return replies


def _is_refused(reply: object, code: str) -> bool:
    return isinstance(reply, RedisRefused) and reply.code == code
