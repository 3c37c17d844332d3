"""Set and Update of a namespace with `on_outage: buffer`: to the authority, or, while that is away, into the journal.

What is in the journal is durable on this machine and nowhere else: it is answered BUFFERED. Readers of this daemon see
it, as what it would make of the newest state that the daemon knew; a write of a key that has others waiting waits behind
them, also when the authority is back. Every write has a request id, under which `Replay` commits it: whether the first
attempt was lost on the way or its answer was, it takes effect once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from sidecar.core.decide import decide
from sidecar.core.entry import Copy, Entry, Tombstone, live
from sidecar.core.errors import DECISIONS, OutcomeUnknown, StoreUnavailable
from sidecar.core.hlc import Hlc, entry_hlc, hlc_of
from sidecar.core.journal import REBASED, Base, Buffering, Journal
from sidecar.core.modes import Durability, ServingMode, Tier
from sidecar.core.operations import Change, OperationResult, Put, Write, WriteId
from sidecar.core.ports import Ports, Signal
from sidecar.core.store import Outcome, request_id_reused
from sidecar.engine.namespaces import Namespace
from sidecar.engine.pending import At, Pending
from sidecar.engine.replies import Written
from sidecar.tiers.cold import is_away
from sidecar.tiers.placement import Placement
from sidecar.tiers.reading import Lookup


class Known(Protocol):
    """A bounded map of the states that were seen of keys, which may forget."""

    def get(self, at: At) -> Copy | None:
        """What is known."""
        ...

    def put(self, at: At, held: Copy) -> None:
        """Know it, or not."""
        ...


class Buffer:
    """The journal of a daemon, and what its readers and writers have to know of it. `load` it before use."""

    def __init__(self, journal: Journal, known: Known, ports: Ports) -> None:
        self.journal = journal
        self.pending = Pending()
        self.signal = ports.signal
        self._known = known
        self._ports = ports
        self._hlc = Hlc()
        self._turns: dict[At, Signal] = {}

    def load(self) -> None:
        """Take over what the journal found when it was opened."""
        for buffered in self.journal.pending():
            self._hlc.observe(buffered.write.hlc)
            self.pending.add(buffered, self._seen_after(buffered.write))

    # ---- readers

    def see(self, namespace: str, key: str, now: int) -> Lookup | None:
        """What a CACHED reader of a key that has writes waiting sees; None: it has none, or nobody can say."""
        waiting = self.pending.of((namespace, key))
        if waiting is None or waiting.seen is None:
            return None
        return Lookup(live(waiting.seen, now), Tier.NEAR, stale_possible=True)

    def learn(self, copies: Sequence[Copy]) -> None:
        """Committed states that were read or written: what a write that has to wait may be based on."""
        for copy in copies:
            at = (copy.namespace, copy.key)
            known = self._known.get(at)
            if is_away(copy):
                continue  # a restored pointer: without its value it is no base for anything
            if known is None or known.version <= copy.version:
                self._known.put(at, copy)
            self._hlc.observe(entry_hlc(copy) if isinstance(copy, Entry) else hlc_of(copy.delete_time))

    # ---- writers

    async def write(self, space: Namespace, write: Write) -> Outcome | Written:
        """Commit one Put or Change, or keep it; raises what the commit raises, LimitExceeded (JOURNAL_FULL) besides."""
        if write.request is None:
            write = replace(write, request=WriteId(request_id=self._ports.token(), fingerprint=b""))
        at = (write.namespace, write.operations[0].key)
        placement = space.authority()
        if self.pending.of(at) is None:  # else it is kept behind them
            try:
                outcome = await placement.commit(write)
            except (StoreUnavailable, OutcomeUnknown):
                pass
            else:
                self.learn(outcome.copies)
                return outcome
        await self._take_turn(at)
        try:
            return await self._keep(placement, at, write)
        finally:
            self._turns.pop(at).set()

    async def _take_turn(self, at: At) -> None:
        """Writes of a key are kept one after the other: each is based on what those before it make."""
        while (turn := self._turns.get(at)) is not None:
            await turn.wait()
        self._turns[at] = self.signal()

    async def _keep(self, placement: Placement, at: At, write: Write) -> Written:
        request, operation = write.request, write.operations[0]
        assert request is not None, "write() makes one"
        assert isinstance(operation, Put | Change), "nothing else is buffered"
        known = self.pending.by_request(write.namespace, request.request_id)
        if known is not None:
            if known.write.request != request:
                raise request_id_reused(request)
            return _buffered(OperationResult(found=False, version=0))
        now = placement.authority.now()
        before, base = await self._base(placement, at, now)
        seen, result = self._imagined(write, before, base, now)
        buffered = await self.journal.append(
            Buffering(
                namespace=write.namespace,
                operation=operation,
                request=request,
                base=base,
                hlc=self._hlc.next(now),
                time=now,
            )
        )
        self.pending.add(buffered, seen)
        return _buffered(result)

    async def _base(self, placement: Placement, at: At, now: int) -> tuple[Entry | None, Base | None]:
        """What a reader of this daemon sees now, and how it is told to the journal."""
        waiting = self.pending.of(at)
        if waiting is not None:
            if waiting.seen is None:
                return None, None
            return waiting.seen, Base(version=REBASED, value=waiting.seen.value)
        copy = self._known.get(at)
        if copy is None and placement.cached:
            [lookup] = (await placement.get_cached(at[0], [at[1]], [0])).lookups
            copy = lookup.copy
        if copy is None:
            return None, None
        entry = live(copy, now)
        if entry is None:
            return None, Base(version=copy.version if isinstance(copy, Tombstone) else 0, value=None)
        return entry, Base(version=entry.version, value=entry.value)

    def _imagined(
        self, write: Write, before: Entry | None, base: Base | None, now: int
    ) -> tuple[Entry | None, OperationResult]:
        """What the write makes of what is known. Raises the Decision that it meets there."""
        operation = write.operations[0]
        if isinstance(operation, Change) and base is None and not operation.create:
            return None, OperationResult(found=False, version=0)  # whether there is an entry, nobody knows
        version = 0 if before is None else before.version
        decided = decide(write, {operation.key: before}, now=now, version=version)
        [copy], [result] = decided.copies, decided.results
        assert isinstance(copy, Entry), "a Put or a Change leaves an entry"
        return copy, replace(result, version=0)

    def _seen_after(self, write: Buffering) -> Entry | None:
        """What a reader sees after a write that was found in the journal; the namespace's expiry is not known here."""
        waiting = self.pending.of((write.namespace, write.operation.key))
        before = None if waiting is None else waiting.seen
        if before is None and write.base is not None and write.base.value is not None:
            before = _entry_of(write, write.base)
        if isinstance(write.operation, Change) and before is None and not write.operation.create:
            return None
        one = Write(namespace=write.namespace, operations=(write.operation,), value_bytes_max=1 << 62)
        version = 0 if before is None else before.version
        try:
            [copy] = decide(one, {write.operation.key: before}, now=write.time, version=version).copies
        except DECISIONS:
            return None  # those before it may have been settled meanwhile
        return copy if isinstance(copy, Entry) else None


def _entry_of(write: Buffering, base: Base) -> Entry:
    return Entry(
        namespace=write.namespace,
        key=write.operation.key,
        value=base.value or b"",
        version=max(base.version, 0),
        create_time=write.time,
        update_time=write.time,
        expire_time=None,
        ttl_ms=None,
        content_type="",
        schema_version=0,
        labels={},
    )


def _buffered(result: OperationResult) -> Written:
    return Written(version=0, durability=Durability.BUFFERED, mode=ServingMode.DEGRADED, results=(result,))
