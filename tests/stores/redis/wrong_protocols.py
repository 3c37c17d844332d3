"""Wrong caches: `RedisCache` with one step of the protocol done as it is often done.

Measured elsewhere under forced eviction: fills without a guard left 88 to 95 stale of 2,600, those guarded by version
27 of 9,708, leases with writers that create 6 of 7,906; the protocol as it is none of 9,428.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.cache import Fill
from sidecar.core.entry import Copy, Entry
from sidecar.stores.redis.cache import RedisCache
from sidecar.stores.redis.script import Script, load_script

LIFE_MS = 60_000

_SET = Script("set", b"redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1")
_SET_IF_NEWER = Script(
    "set_if_newer",
    b"""
    local held = redis.call('GETRANGE', KEYS[1], 0, 29)
    local kind = string.sub(held, 6, 6)
    if kind == 'E' or kind == 'T' then
      local high, low = struct.unpack('>I4I4', held, 15)
      local new_high, new_low = struct.unpack('>I4I4', ARGV[1], 15)
      if high > new_high or (high == new_high and low >= new_low) then
        return 0
      end
    end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 1
    """,
)
_SET_IF_ABSENT = Script("set_if_absent", b"redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') return 1")
_FILL_ANY_PLACEHOLDER = Script(
    "fill_any_placeholder",
    b"""
    if redis.call('GETRANGE', KEYS[1], 5, 5) ~= 'P' then
      return 0
    end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 1
    """,
)


class _Wrong(RedisCache):
    """Fills by a script of its own, without leases."""

    fill_script: Script

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        calls = []
        for fill in fills:
            name = self._names.space(namespace) + fill.key.encode()
            calls.append(((name,), (self._slot(name, fill.copy, generation, now + self._negative_ms), LIFE_MS)))
        return (await self._client.run_many(self.fill_script, calls)).count(1)


class UnguardedCache(_Wrong):
    """Whoever has read puts it there."""

    fill_script = _SET


class VersionGuardedCache(_Wrong):
    """A fill lands unless something newer is there; what was evicted, or dropped for a deletion, guards nothing."""

    fill_script = _SET_IF_NEWER


class AnyLeaseCache(_Wrong):
    """There is a placeholder, whosever it is."""

    fill_script = _FILL_ANY_PLACEHOLDER


class CreatingCache(RedisCache):
    """A writer leaves what it wrote where there is nothing."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        await super().apply(namespace, copies, generation=generation)
        space = self._names.space(namespace)
        entries = [(space + copy.key.encode(), copy) for copy in copies if isinstance(copy, Entry)]
        slots = [((name,), (self._slot(name, copy, generation, 0), LIFE_MS)) for name, copy in entries]
        await self._client.run_many(_SET_IF_ABSENT, slots)


class PlaceholdersLeftCache(RedisCache):
    """A write does not break the leases that are out."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        space = self._names.space(namespace)
        held = await self._client.mget([space + copy.key.encode() for copy in copies])
        rest = [copy for copy, slot in zip(copies, held, strict=True) if slot is None or slot[5:6] != b"P"]
        await super().apply(namespace, rest, generation=generation)


class DoubleVersionsCache(RedisCache):
    """Versions are compared as Lua's numbers, which are doubles."""

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        halves = b"""
  local high, low = struct.unpack('>I4I4', held, 15)
  local new_high, new_low = struct.unpack('>I4I4', ARGV[2])"""
        wrong = b"""
  local high, low = struct.unpack('>I8', held, 15), 0
  local new_high, new_low = struct.unpack('>I8', ARGV[2]), 0"""
        right = load_script("cache_apply").source
        assert halves in right
        space = self._names.space(namespace)
        calls = []
        for copy in copies:
            name = space + copy.key.encode()
            slot = self._slot(name, copy, generation, 0) if isinstance(copy, Entry) else b""
            epoch, version = (number.to_bytes(8, "big") for number in (generation, copy.version))
            calls.append(((name,), (epoch, version, slot, LIFE_MS)))
        await self._client.run_many(Script("apply_doubles", right.replace(halves, wrong)), calls)


WRONG = [UnguardedCache, VersionGuardedCache, AnyLeaseCache, CreatingCache, PlaceholdersLeftCache]
"""Those that leave stale copies."""
