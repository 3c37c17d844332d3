"""What is said to one server about the keys of one call, on one connection.

One connection, because a CAS unique is compared by the process that gave it. Of several keys each step is one write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from sidecar.core.cache import CacheUnavailable, Fill, Hit, Miss
from sidecar.core.entry import Copy, Entry
from sidecar.stores.memcached import items, protocol
from sidecar.stores.memcached.connection import Connection
from sidecar.stores.memcached.items import Held, Keys, Placeholder
from sidecar.stores.memcached.protocol import Command, Reply

ROUNDS_MAX = 4
"""Attempts to compare and swap what others change all the time; then it is deleted, which is always right."""
APPLIED_AT_ONCE_MAX = 64
"""States that are compared with what is held at the same time: it is in our memory then."""
ITEM_OVERHEAD_BYTES = 96
"""What an item of memcached 1.6 costs beside its key and value, at most."""
JITTER = 0.1
"""Part of its life by which a copy may leave early, so that what came at once does not leave at once."""


class Lease(NamedTuple):
    """The right to fill a placeholder: the item with this CAS unique in this process."""

    cas: int
    deadline: int
    generation: int
    process: str

    def __str__(self) -> str:
        return f"{self.cas}:{self.deadline}:{self.generation}:{self.process}"

    @classmethod
    def parse(cls, text: str) -> Lease | None:
        """Inverse of `str`; None: no lease of ours."""
        *numbers, process = text.split(":", 3)
        if len(numbers) != 3 or not all(number.isdecimal() and number.isascii() for number in numbers):
            return None
        cas, deadline, generation = map(int, numbers)
        return cls(cas, deadline, generation, process)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    """How long things stay, in milliseconds."""

    lease_ms: int
    negative_ms: int
    copy_ms_max: int


class _Claim(NamedTuple):
    """A key that its asker may load: there is nothing, or something dead with this CAS unique."""

    place: int
    key: str
    item: bytes
    cas: int | None


@dataclass(slots=True, kw_only=True)
class Talk:
    """`now` of a call that has none is the latest that was heard: it only decides when memory is freed."""

    connection: Connection
    keys: Keys
    lives: Lives
    namespace: str
    generation: int
    now: int

    async def look_up(self, keys: Sequence[str], serves: Callable[[Held], bool]) -> list[Hit | Miss]:
        """Hits, and misses with a lease where nothing is there that `serves` or is leased."""
        names = [self.keys.of(self.namespace, key) for key in keys]
        replies = await self.connection.call([protocol.get(name) for name in names])
        answers: list[Hit | Miss] = []
        claims: list[_Claim] = []
        for place, (key, name, reply) in enumerate(zip(keys, names, replies, strict=True)):
            answers.append(Miss(None))
            item = self._read(reply, key)
            if isinstance(item, Held) and self._lives(item.generation, item.end) and serves(item):
                answers[place] = Hit(item.copy)
            elif isinstance(item, Placeholder) and self._lives(item.generation, item.deadline):
                pass
            elif reply.code == protocol.VALUE:
                claims.append(_Claim(place, key, name, reply.cas))
            elif reply.code == protocol.MISSING:
                claims.append(_Claim(place, key, name, None))
        if claims:
            for claim, lease in zip(claims, await self._claim(claims), strict=True):
                answers[claim.place] = Miss(lease)
        return answers

    async def _claim(self, claims: Sequence[_Claim]) -> list[str | None]:
        """A placeholder for each; None where another was faster."""
        deadline = self.now + self.lives.lease_ms
        commands = []
        for claim in claims:
            value = items.placeholder(self.namespace, claim.key, generation=self.generation, deadline=deadline)
            seconds = ttl_s(self.lives.lease_ms)
            if claim.cas is None:
                commands.append(protocol.add(claim.item, value, ttl_s=seconds))
            else:
                commands.append(protocol.replace(claim.item, value, cas=claim.cas, ttl_s=seconds))
        process = self.connection.process
        return [
            str(Lease(reply.cas, deadline, self.generation, process)) if reply.code == protocol.DONE else None
            for reply in await self.connection.call(commands)
        ]

    async def fill(self, fills: Sequence[Fill]) -> int:
        """Swap placeholders for what was loaded; the number stored."""
        swaps: list[Command] = []
        for fill in fills:
            lease = Lease.parse(fill.lease)
            if lease is not None and self._holds(lease):
                end = fill.copy.expire_time if isinstance(fill.copy, Entry) else self.now + self.lives.negative_ms
                swaps.append(self._swap(fill.key, fill.copy, lease.cas, end))
        replies = await self.connection.call(swaps)
        return sum(
            reply.code == protocol.DONE and swap.verb == b"ms" for swap, reply in zip(swaps, replies, strict=True)
        )

    async def apply(self, copies: Sequence[Copy]) -> None:
        """Tell committed states, one a key."""
        for begin in range(0, len(copies), APPLIED_AT_ONCE_MAX):
            await self._apply(copies[begin : begin + APPLIED_AT_ONCE_MAX])

    async def _apply(self, copies: Sequence[Copy]) -> None:
        left = copies
        for _ in range(ROUNDS_MAX):
            names = [self.keys.of(self.namespace, copy.key) for copy in left]
            found = await self.connection.call([protocol.peek(name) for name in names])
            steps = [self._step(copy, reply) for copy, reply in zip(left, found, strict=True)]
            swaps = [step for step in steps if step is not None]
            replies = iter(await self.connection.call(swaps))
            left = [
                copy
                for copy, step in zip(left, steps, strict=True)
                if step is not None and next(replies).code not in (protocol.DONE, protocol.NOT_FOUND)
            ]
            if not left:
                return
        await self.delete([copy.key for copy in left])

    def _step(self, copy: Copy, found: Reply) -> Command | None:
        """What an item becomes when its key has a new state."""
        if found.code == protocol.MISSING:
            return None
        name = self.keys.of(self.namespace, copy.key)
        if found.code != protocol.VALUE:
            return protocol.delete(name)
        item = self._read(found, copy.key)
        if isinstance(item, Held) and item.copy is not None and item.generation == self.generation:
            if item.copy.version >= copy.version:
                return None
            if isinstance(copy, Entry):
                return self._swap(copy.key, copy, found.cas, copy.expire_time)
        return protocol.delete(name, cas=found.cas)

    async def delete(self, keys: Sequence[str]) -> None:
        """Forget keys, whatever is there."""
        names = [self.keys.of(self.namespace, key) for key in keys]
        for reply in await self.connection.call([protocol.delete(name) for name in names]):
            if reply.code == protocol.SERVER_ERROR:
                raise CacheUnavailable(f"memcached {self.connection.name} refuses to delete an item")

    async def release(self, leases: Sequence[tuple[str, str]]) -> None:
        """Drop placeholders."""
        drops = []
        for key, text in leases:
            lease = Lease.parse(text)
            if lease is not None and lease.process == self.connection.process:
                drops.append(protocol.delete(self.keys.of(self.namespace, key), cas=lease.cas))
        await self.connection.call(drops)

    def _swap(self, key: str, copy: Copy | None, cas: int, end: int | None) -> Command:
        """The command that puts a copy in the place of an item, or deletes that if the copy is too large."""
        name = self.keys.of(self.namespace, key)
        value = items.held(self.namespace, key, copy, generation=self.generation, end=end)
        if len(name) + len(value) + ITEM_OVERHEAD_BYTES > self.connection.item_bytes_max:
            return protocol.delete(name, cas=cas)
        life_ms = int(self.lives.copy_ms_max * (1 - JITTER * crc32(name) / 2**32))
        if end is not None:
            life_ms = min(life_ms, end - self.now)
        return protocol.replace(name, value, cas=cas, ttl_s=ttl_s(life_ms))

    def _read(self, reply: Reply, key: str) -> Placeholder | Held | None:
        return items.read(reply.value, self.namespace, key) if reply.code == protocol.VALUE else None

    def _lives(self, generation: int, end: int | None) -> bool:
        return generation == self.generation and (end is None or self.now < end)

    def _holds(self, lease: Lease) -> bool:
        return self._lives(lease.generation, lease.deadline) and lease.process == self.connection.process


def ttl_s(milliseconds: int) -> int:
    """The time after which memcached may free an item that is needed so long."""
    # A second more: its clock ticks once a second, and a ttl of 1 may be over at once. 0 would be for ever.
    return max(0, -(-milliseconds // 1000)) + 1
