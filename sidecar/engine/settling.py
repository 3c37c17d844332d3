"""How a buffered write ends: applied, merged, or dead with a reason, each exactly once.

It is committed under its own request id, so a crash at any step, or the caller's own retry through another daemon, repeats
nothing: the authority answers what the id did. An Update is done again as it is. A Put is judged by `core.reconcile` on
the state that was read, and committed under a guard on it. Both are tentative: a refusal leaves the id free for the next
attempt. What is given up is at last refused under its id by the authority, so that nobody can apply it later.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from sidecar.core.errors import DECISIONS, Unavailable, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.journal import Buffering, Settlement
from sidecar.core.operations import Change, Put, Write
from sidecar.core.reconcile import Dead, reconcile
from sidecar.engine.buffering import Buffer
from sidecar.engine.namespaces import Namespace

RACES_MAX = 50
"""Attempts on a key that others write all the time."""
NEVER, NEVERS = 1 << 47, 1 << 20
"""Versions that no entry will ever have, from here on so many: a guard on one of them is always refused."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How one write ended, and what to bury it with; None: nothing is left of it here."""

    settlement: Settlement
    dead: Dead | None = None


class Settler:
    """Settles single writes; `age_ms_max`: those that waited longer are given up."""

    def __init__(self, buffer: Buffer, *, age_ms_max: int) -> None:
        self._learn = buffer.learn
        self._age_ms_max = age_ms_max

    async def settle(self, space: Namespace, write: Buffering, *, final: bool, overwrite: bool = False) -> Settled:
        """`final`: what is given up is refused for ever; `overwrite`: whatever is there. Raises Unavailable and the like."""
        reach("replay.commit.before")
        try:
            ended = await self._attempt(space, write, overwrite=overwrite)
        except DECISIONS as exc:
            ended = Dead(reason=exc.reason, message=exc.message)
        if isinstance(ended, Dead):
            return await self._give_up(space, write, ended, final=final)
        reach("replay.commit.after")
        return Settled(ended)

    async def _attempt(self, space: Namespace, write: Buffering, *, overwrite: bool) -> Settlement | Dead:
        if space.authority().authority.now() - write.time > self._age_ms_max:
            return Dead(reason="TOO_OLD", message=f"it waited for longer than {self._age_ms_max / 1000:g} s")
        if isinstance(write.operation, Put) and not overwrite:
            return await self._settle_put(space, write)
        await self._commit(space, write, write.operation, tentative=True)
        return Settlement.APPLIED

    async def _settle_put(self, space: Namespace, write: Buffering) -> Settlement | Dead:
        placement, policy = space.authority(), space.policy
        for _ in range(RACES_MAX):
            [lookup] = (await placement.get_strong(space.name, [write.operation.key], deadline=None)).lookups
            resolution = reconcile(
                policy.reconcile,
                write,
                lookup.copy,
                now=placement.authority.now(),
                sliding=policy.sliding,
                ttl_default_ms=policy.ttl_ms,
                value_bytes_max=policy.value_bytes_max,
            )
            if isinstance(resolution, Dead):
                return resolution
            try:
                await self._commit(space, write, resolution.put, tentative=True)
            except VersionConflict as exc:
                if exc.expected_version != resolution.put.expected_version:
                    raise  # not of this attempt: it is what the authority remembers of the request id
            else:
                return resolution.settlement
        raise Unavailable("others write this key all the time")

    async def _give_up(self, space: Namespace, write: Buffering, dead: Dead, *, final: bool) -> Settled:
        """Have the authority refuse it; if it was applied before we crashed, the authority says so.

        The caller may have repeated it through another daemon, which has it in its journal too. Who has it refused first
        buries it: the version that the refusal names tells who that was.
        """
        never = NEVER | crc32(b"%d %d" % (write.hlc, write.time)) % NEVERS
        refused = Put(key=write.operation.key, value=b"", expected_version=never)
        try:
            await self._commit(space, write, refused, tentative=not final)
        except VersionConflict as exc:
            ours = exc.expected_version == never or exc.expected_version < NEVER
            return Settled(Settlement.DEAD, dead if ours else None)
        except DECISIONS:
            return Settled(Settlement.DEAD, dead)
        return Settled(Settlement.APPLIED)

    async def _commit(self, space: Namespace, write: Buffering, operation: Put | Change, *, tentative: bool) -> None:
        outcome = await space.authority().commit(
            Write(
                namespace=space.name,
                operations=(operation,),
                ttl_default_ms=space.policy.ttl_ms,
                sliding=space.policy.sliding,
                value_bytes_max=space.policy.value_bytes_max,
                request=write.request,
                tentative=tentative,
                checkpoint_every=space.checkpoint_every,
            )
        )
        self._learn(outcome.copies)
