"""Buffered writes on their way to the authority: which is settled when, and what the journal hears of it.

The writes of a key are settled in their order, by one caller at a time; `settling` says how. Nothing here is to be
cancelled but who only waits: what was settled in the journal has to be settled here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sidecar.core.errors import DeadlineExceeded, LimitExceeded, OutcomeUnknown, StoreUnavailable, Unavailable
from sidecar.core.failpoints import reach
from sidecar.core.journal import DeadWrite, Settlement
from sidecar.core.operations import WriteId
from sidecar.core.ports import Signal
from sidecar.engine.buffering import Buffer
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.pending import At
from sidecar.engine.settling import Settler
from sidecar.tiers.guard import Guard

PATIENCE = 64
"""Writes of a key that are settled in one go, and that a writer waits for before its own is kept behind the others."""

_NOT_NOW = (Unavailable, LimitExceeded, OutcomeUnknown, DeadlineExceeded)


class Replay:
    """Settles what is buffered. Any number of callers may run `one` at the same time: a key is settled by one of them."""

    def __init__(self, buffer: Buffer, namespaces: Namespaces, *, age_ms_max: int) -> None:
        self.settled: Counter[Settlement] = Counter()
        """What became of writes since the start."""
        self._pending = buffer.pending
        self._signal = buffer.signal
        self._signals: dict[At, Signal] = {}
        self._wanted: dict[At, None] = {}
        self._journal = buffer.journal
        self._namespaces = namespaces
        self._settler = Settler(buffer, age_ms_max=age_ms_max)

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
        at = self._claim()
        if at is None:
            return False
        try:
            if not self._guard(at).passes:
                return False
            await self._settle_key(at, most=PATIENCE)  # a stop waits for it
        except _NOT_NOW:
            return False  # told by the tier's own figures; it is tried again
        finally:
            self._let_go(at)
        return True

    async def drain(self, namespace: str, keys: Sequence[str]) -> None:
        """Settle what waits for these keys, before a write that needs the authority's state. Raises Unavailable."""
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

    async def drained(self, namespace: str, keys: Sequence[str]) -> None:
        """Wait until nothing waits for these keys: for readers, who may go away at any time. Raises Unavailable."""
        for key in keys:
            at = (namespace, key)
            while self._pending.of(at) is not None:
                if not self._guard(at).passes:
                    raise StoreUnavailable("writes of this key are buffered, and the authority is away")
                self._wanted[at] = None
                await self._progress(at)

    async def catch_up(self, namespace: str, key: str) -> None:
        """Have a writer of a key let those before it be settled, if they can be, for a while.

        So who writes a key all the time does not fill the journal faster than it empties.
        """
        at = (namespace, key)
        for _ in range(PATIENCE):
            if self._pending.of(at) is None or not self._guard(at).passes:
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

    def _claim(self) -> At | None:
        """A key to settle: those first that readers wait for."""
        while self._wanted:
            at = self._wanted.popitem()[0]
            if self._pending.claim(at) is not None:
                return at
        return self._pending.claim()

    def _guard(self, at: At) -> Guard:
        return self._namespaces.of(at[0]).authority().guard

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
            settled = await self._settler.settle(space, buffered.write, final=True)
            reach("replay.settle.before")
            if settled.dead is None:
                await self._journal.settle(buffered.sequence, Settlement.APPLIED)
            else:
                await self._journal.bury(
                    buffered.sequence,
                    reason=settled.dead.reason,
                    message=settled.dead.message,
                    now=space.authority().authority.now(),
                )
            reach("replay.settle.after")
            self.settled[settled.settlement] += 1
            self._pending.settled(buffered)
            self._tell(at)

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
            settled = await self._settler.settle(space, write, final=False, overwrite=overwrite)
            if settled.dead is None:
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
