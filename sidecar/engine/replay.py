"""Buffered writes on their way to the authority, key by key in their order: applied, merged, or dead with a reason.

Each is committed under its own request id, so a crash at any step, or the caller's own retry through another daemon,
repeats nothing: the authority answers what the id did. A Put is judged by `core.reconcile` on the state that was read and
committed under a guard on it; that is tentative, so a lost race leaves the id free for the next attempt. A write that is
given up is first refused under its id by the authority, so that nobody can apply it later; then it is buried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sidecar.core.errors import (
    DECISIONS,
    DeadlineExceeded,
    Decision,
    LimitExceeded,
    OutcomeUnknown,
    Unavailable,
    VersionConflict,
)
from sidecar.core.failpoints import reach
from sidecar.core.journal import Buffering, DeadWrite, Settlement
from sidecar.core.operations import Change, Put, Write, WriteId
from sidecar.core.ports import Signal
from sidecar.core.reconcile import Dead, reconcile
from sidecar.engine.buffering import Buffer
from sidecar.engine.namespaces import Namespace, Namespaces
from sidecar.engine.pending import At
from sidecar.tiers.placement import Placement

RACES_MAX = 50
"""Attempts on a key that others write all the time."""
PATIENCE = 64
"""Writes of its key that a writer waits for at most, before its own is kept behind those that are left."""
NEVER = 1 << 47
"""A version that no entry will ever have, of the oldest epoch: a guard on it is always refused."""

_NOT_NOW = (Unavailable, LimitExceeded, OutcomeUnknown, DeadlineExceeded)


@dataclass(frozen=True, slots=True)
class _Settled:
    """How one write ended: `refused` None, or why it is dead."""

    settlement: Settlement
    refused: Dead | None = None


class Replay:
    """Settles what is buffered. Any number of callers may run `one` at the same time: a key is settled by one of them."""

    def __init__(self, buffer: Buffer, namespaces: Namespaces, *, age_ms_max: int) -> None:
        self.settled: Counter[Settlement] = Counter()
        """What became of writes since the start."""
        self._buffer = buffer
        self._pending = buffer.pending
        self._signal = buffer.signal
        self._signals: dict[At, Signal] = {}
        self._journal = buffer.journal
        self._namespaces = namespaces
        self._age_ms_max = age_ms_max

    # ---- figures

    @property
    def depth(self) -> int:
        """Writes that wait."""
        return len(self._pending)

    @property
    def bytes_held(self) -> int:
        """What the journal holds, dead writes included."""
        return self._journal.bytes_held

    @property
    def oldest_time(self) -> int | None:
        """When the oldest that waits was acknowledged, in milliseconds."""
        oldest = self._pending.oldest()
        return None if oldest is None else oldest.write.time

    # ---- settling

    async def one(self) -> bool:
        """Settle the writes of a key, if its authority may be asked; whether there may be more to do."""
        at = self._pending.claim()
        if at is None:
            return False
        try:
            if not self._namespaces.of(at[0]).authority().guard.passes:
                return False
            await self._settle_key(at)
        except _NOT_NOW:
            return False  # told by the tier's own figures; it is tried again
        finally:
            self._let_go(at)
        return True

    async def drain(self, namespace: str, keys: Sequence[str]) -> None:
        """Settle what waits for these keys, before a call that needs the authority's state. Raises Unavailable."""
        for key in keys:
            at = (namespace, key)
            while self._pending.of(at) is not None:
                if self._pending.claim(at) is None:
                    await self._progress(at)
                    continue
                try:
                    await self._settle_key(at)
                finally:
                    self._let_go(at)

    async def catch_up(self, namespace: str, key: str) -> None:
        """Have a writer of a key let those before it be settled, if they can be, for a while.

        So who writes a key all the time does not fill the journal faster than it empties.
        """
        at = (namespace, key)
        guard = self._namespaces.of(namespace).authority().guard
        for _ in range(PATIENCE):
            if self._pending.of(at) is None or not guard.passes:
                return
            if self._pending.claim(at) is None:
                await self._progress(at)
                continue
            try:
                await self._settle_key(at, most=PATIENCE)
            except _NOT_NOW:
                pass
            finally:
                self._let_go(at)
            return

    async def _progress(self, at: At) -> None:
        """Until something was settled of a key that another settles, or that one stops."""
        await self._signals.setdefault(at, self._signal()).wait()

    def _let_go(self, at: At) -> None:
        self._pending.let_go(at)
        self._tell(at)

    def _tell(self, at: At) -> None:
        if (signal := self._signals.pop(at, None)) is not None:
            signal.set()

    async def _settle_key(self, at: At, *, most: int = 1 << 62) -> None:
        space = self._namespaces.of(at[0])
        while most and (waiting := self._pending.of(at)) is not None:
            most -= 1
            buffered = waiting.writes[0]
            settled = await self._settle(space, buffered.write, final=True)
            reach("replay.settle.before")
            if settled.refused is None:
                await self._journal.settle(buffered.sequence, settled.settlement)
            else:
                await self._journal.bury(
                    buffered.sequence,
                    reason=settled.refused.reason,
                    message=settled.refused.message,
                    now=space.authority().authority.now(),
                )
            reach("replay.settle.after")
            self.settled[settled.settlement] += 1
            self._pending.settled(buffered)
            self._tell(at)

    async def _settle(self, space: Namespace, write: Buffering, *, final: bool, overwrite: bool = False) -> _Settled:
        """Commit it or give it up; `final`: what is given up is refused by the authority for ever."""
        placement = space.authority()
        reach("replay.commit.before")
        try:
            if placement.authority.now() - write.time > self._age_ms_max:
                dead = Dead(reason="TOO_OLD", message=f"it waited for longer than {self._age_ms_max / 1000:g} s")
                return await self._give_up(space, write, dead, final=final)
            if isinstance(write.operation, Change) or overwrite:
                await self._commit(space, write, write.operation, tentative=not final)
                return _Settled(Settlement.APPLIED)
            return await self._settle_put(space, placement, write, final=final)
        except DECISIONS as exc:
            return _Settled(Settlement.DEAD, _dead(exc))
        finally:
            reach("replay.commit.after")

    async def _settle_put(self, space: Namespace, placement: Placement, write: Buffering, *, final: bool) -> _Settled:
        policy, key = space.policy, write.operation.key
        for _ in range(RACES_MAX):
            [lookup] = (await placement.get_strong(space.name, [key], deadline=None)).lookups
            now = placement.authority.now()
            resolution = reconcile(
                policy.reconcile,
                write,
                lookup.copy,
                now=now,
                sliding=policy.sliding,
                ttl_default_ms=policy.ttl_ms,
                value_bytes_max=policy.value_bytes_max,
            )
            if isinstance(resolution, Dead):
                return await self._give_up(space, write, resolution, final=final)
            try:
                await self._commit(space, write, resolution.put, tentative=True)
            except VersionConflict:
                continue
            return _Settled(resolution.settlement)
        raise Unavailable("others write this key all the time")

    async def _give_up(self, space: Namespace, write: Buffering, dead: Dead, *, final: bool) -> _Settled:
        """Have the authority refuse it; if it was applied before we crashed, the authority says so."""
        refused = (
            Put(key=write.operation.key, value=b"", expected_version=NEVER)
            if isinstance(write.operation, Change)
            else replace(write.operation, expected_version=NEVER)
        )
        try:
            await self._commit(space, write, refused, tentative=not final)
        except DECISIONS:
            return _Settled(Settlement.DEAD, dead)
        return _Settled(Settlement.APPLIED)

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
            )
        )
        self._buffer.learn(outcome.copies)

    # ---- dead writes

    def dead(self) -> Sequence[DeadWrite]:
        """Writes that were given up, oldest first."""
        return self._journal.dead()

    async def redrive(self, sequences: Sequence[int], *, overwrite: bool) -> int:
        """Try dead writes again, as new ones; `overwrite`: whatever is there now. How many are not dead any more.

        Raises Unavailable. One that is refused again stays dead.
        """
        count = 0
        for dead in self._chosen(sequences):
            write = dead.buffered.write
            space = self._namespaces.of(write.namespace)
            again = f"{write.request.request_id}/{'overwrites' if overwrite else 'again'}"
            write = replace(
                write,
                request=WriteId(request_id=again, fingerprint=b""),
                time=space.authority().authority.now(),
            )
            settled = await self._settle(space, write, final=False, overwrite=overwrite)
            if settled.refused is None:
                await self._journal.remove(dead.buffered.sequence)
                count += 1
        return count

    async def discard(self, sequences: Sequence[int]) -> int:
        """Forget dead writes; how many there were."""
        chosen = self._chosen(sequences)
        for dead in chosen:
            await self._journal.remove(dead.buffered.sequence)
        return len(chosen)

    def _chosen(self, sequences: Sequence[int]) -> list[DeadWrite]:
        wanted = set(sequences)
        return [dead for dead in self._journal.dead() if dead.buffered.sequence in wanted]


def _dead(refusal: Decision) -> Dead:
    return Dead(reason=refusal.reason, message=refusal.message)
