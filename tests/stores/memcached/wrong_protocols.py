"""Wrong caches: `MemcachedCache` with one step of the protocol done as it is often done."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.cache import Fill
from sidecar.core.entry import Copy, Entry
from sidecar.stores.memcached import MemcachedCache, items, protocol
from sidecar.stores.memcached.protocol import Command, Reply
from sidecar.stores.memcached.server import Server
from sidecar.stores.memcached.talk import Lease, Talk

MINUTE_S = 60


class _Wrong(MemcachedCache):
    """A cache that talks in its own way."""

    talks: type[Talk] = Talk

    async def _talk(self, server: Server, namespace: str, generation: int, now: int) -> Talk:
        right = await super()._talk(server, namespace, generation, now)
        return self.talks(
            connection=right.connection,
            keys=right.keys,
            lives=right.lives,
            namespace=namespace,
            generation=generation,
            now=now,
        )


class _BlindFill(Talk):
    async def fill(self, fills: Sequence[Fill]) -> int:
        sets = [_set(self, fill.key, fill.copy) for fill in fills]
        return sum(reply.code == protocol.DONE for reply in await self.connection.call(sets))


class FillWithoutCas(_Wrong):
    """Whoever had the lease puts what it read there, whatever has happened since."""

    talks = _BlindFill


class _VersionGuardedFill(Talk):
    async def fill(self, fills: Sequence[Fill]) -> int:
        stored = 0
        for fill in fills:
            name = self.keys.of(self.namespace, fill.key)
            (found,) = await self.connection.call([protocol.get(name)])
            item = items.read(found.value, self.namespace, fill.key)
            held = item.copy if isinstance(item, items.Held) else None
            if held is not None and (fill.copy is None or held.version >= fill.copy.version):
                continue
            value = _value(self, fill.key, fill.copy)
            if found.code == protocol.VALUE:
                swap = protocol.replace(name, value, cas=found.cas, ttl_s=MINUTE_S)
            else:
                swap = protocol.add(name, value, ttl_s=MINUTE_S)
            (reply,) = await self.connection.call([swap])
            stored += reply.code == protocol.DONE
        return stored


class FillGuardedByVersionOnly(_Wrong):
    """A fill lands unless something newer is there; what was evicted, or dropped for a deletion, guards nothing."""

    talks = _VersionGuardedFill


class _CreatingWriter(Talk):
    async def apply(self, copies: Sequence[Copy]) -> None:
        await super().apply(copies)
        adds = [
            protocol.add(self.keys.of(self.namespace, copy.key), _value(self, copy.key, copy), ttl_s=MINUTE_S)
            for copy in copies
            if isinstance(copy, Entry)
        ]
        await self.connection.call(adds)


class WriterCreates(_Wrong):
    """A writer leaves what it wrote where there is nothing."""

    talks = _CreatingWriter


class _BlindApply(Talk):
    def _step(self, copy: Copy, found: Reply) -> Command | None:
        step = super()._step(copy, found)
        return _set(self, copy.key, copy) if step is not None and step.verb == b"ms" else step


class ApplyWithoutCas(_Wrong):
    """A writer compares, and then sets: two writers at once may leave the older state."""

    talks = _BlindApply


class _ApplyToCopiesOnly(Talk):
    def _step(self, copy: Copy, found: Reply) -> Command | None:
        item = items.read(found.value, self.namespace, copy.key) if found.code == protocol.VALUE else None
        return None if isinstance(item, items.Placeholder) else super()._step(copy, found)


class WriterLeavesPlaceholders(_Wrong):
    """A write does not break the leases that are out."""

    talks = _ApplyToCopiesOnly


class _BlindClaim(Talk):
    async def fill(self, fills: Sequence[Fill]) -> int:
        renewed = []
        for fill in fills:
            lease = Lease.parse(fill.lease)
            name = self.keys.of(self.namespace, fill.key)
            (found,) = await self.connection.call([protocol.get(name)])
            item = items.read(found.value, self.namespace, fill.key)
            if lease is not None and isinstance(item, items.Placeholder):
                renewed.append(Fill(fill.key, fill.copy, str(lease._replace(cas=found.cas))))
        return await super().fill(renewed)


class FillUnderAnyLease(_Wrong):
    """There is a placeholder, whosever it is."""

    talks = _BlindClaim


WRONG = [
    FillWithoutCas,
    FillGuardedByVersionOnly,
    WriterCreates,
    ApplyWithoutCas,
    WriterLeavesPlaceholders,
    FillUnderAnyLease,
]


def _value(talk: Talk, key: str, copy: Copy | None) -> bytes:
    end = copy.expire_time if isinstance(copy, Entry) else talk.now + talk.lives.negative_ms
    return items.held(talk.namespace, key, copy, generation=talk.generation, end=end)


def _set(talk: Talk, key: str, copy: Copy | None) -> Command:
    return Command(b"ms", talk.keys.of(talk.namespace, key), b" c T%d" % MINUTE_S, _value(talk, key, copy))
