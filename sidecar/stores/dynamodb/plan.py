"""Writes that share a transaction without sharing a fate: rows are loaded once, decided one by one, and stored once.

A plan does no I/O. It is made twice: to learn how many versions are needed, and with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sidecar.core.decide import decide
from sidecar.core.entry import SEQUENCE_MASK, Copy, Entry, version_of
from sidecar.core.errors import DECISIONS, DeadlineExceeded, Decision, SidecarError
from sidecar.core.operations import Change, Operation, Put, Relocate, Write, WriteId
from sidecar.core.store import ChangeKind, ChangeRow, Outcome, request_id_reused
from sidecar.stores import records
from sidecar.stores.dynamodb import items, requests
from sidecar.stores.dynamodb.errors import too_large
from sidecar.stores.dynamodb.items import ITEM_BYTES_MAX, At, Item, Names
from sidecar.stores.dynamodb.payloads import INLINE_BYTES_MAX, Outsourced, must_be_there, payload_for
from sidecar.stores.dynamodb.transactions import Action
from sidecar.stores.weights import messages_weight

VALUE_BYTES_MAX = 16 << 20
"""What a value may be that is stored in parts: each is a call, and a write of more would not end in time."""
INLINE_TOTAL_MAX = 3_000_000
"""Of the values in a write's own items; the largest beyond that are stored in parts."""

Answer = Outcome | SidecarError
Where = tuple[str, str]
"""Namespace and key, or request id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The clocks when a plan is made."""

    now: int
    monotonic: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The items of all keys and request ids that writes name, as far as they are there."""

    names: Names
    found: Mapping[At, Item]
    values: Mapping[str, bytes]
    """Large ones, of those keys that are changed in place."""

    def entry(self, where: Where) -> Item | None:
        """A key's."""
        return self.found.get(items.at(self.names.entry(*where)))

    def request(self, where: Where) -> Item | None:
        """A request id's."""
        return self.found.get(items.at(self.names.request(*where)))


def provisional(count: int, epoch: int) -> list[int]:
    """Versions to decide with before any is drawn: above all that are stored."""
    return [version_of(epoch, SEQUENCE_MASK - count + 1 + n) for n in range(count)]


class Plan:
    """What a transaction does for its writes, and the answer of each if it lands."""

    def __init__(self, writes: Sequence[Write], loaded: Loaded, versions: Iterable[int], moment: Moment) -> None:
        self.answers: list[Answer] = []
        self.changes: list[ChangeRow] = []
        self.versions_used = 0
        self.newest_loaded = 0
        """The greatest version among the loaded states."""
        self._loaded = loaded
        self._names = loaded.names
        self._moment = moment
        self._versions = list(versions)
        self._states: dict[Where, Copy | None] = {}
        self._dirty: dict[Where, Item | None] = {}
        """What the keys' items become; None: they go."""
        self._outsourced: dict[Where, Outsourced] = {}
        self._checked: dict[Where, None] = {}
        self._recorded: dict[Where, tuple[WriteId, Outcome | Decision]] = {}
        self._records: dict[Where, Item] = {}
        for write in writes:
            self.answers.append(self._answer(write))

    @property
    def writes_nothing(self) -> bool:
        """Whether there is nothing to store, nor to make sure of."""
        return not (self._dirty or self._checked or self._records)

    @property
    def bytes(self) -> int:
        """Of all items."""
        return sum(items.size_of(item) for item in [*self._dirty.values(), *self._records.values()] if item is not None)

    @property
    def outsourced(self) -> list[Outsourced]:
        """Values that have to be stored in parts before."""
        return list(self._outsourced.values())

    def actions(self) -> list[Action]:
        """The actions of the transaction, without its change item."""
        loaded = self._loaded.entry
        puts = [self._action(where, item) for where, item in self._dirty.items()]
        checks = [
            {"ConditionCheck": {"Key": self._names.entry(*where), **items.unchanged(loaded(where))}}
            for where in self._checked
            if where not in self._dirty
        ]
        parts = [must_be_there(self._names, one.payload) for one in self._outsourced.values()]
        ids = [{"Put": {"Item": item, **requests.unchanged(None)}} for item in self._records.values()]
        return puts + checks + parts + ids

    def _action(self, where: Where, item: Item | None) -> Action:
        loaded = self._loaded.entry(where)
        if item is not None:
            return {"Put": {"Item": item, **items.unchanged(loaded)}}
        # What was put by one write and forgotten by a later one was never there, if it still is not.
        kind = "ConditionCheck" if loaded is None else "Delete"
        return {kind: {"Key": self._names.entry(*where), **items.unchanged(loaded)}}

    def _answer(self, write: Write) -> Answer:
        if write.deadline is not None and self._moment.monotonic >= write.deadline:
            return DeadlineExceeded("the deadline passed before the write began; nothing was written")
        try:
            if write.request is not None and (known := self._recall(write.namespace, write.request)) is not None:
                return known
            return self._apply(write)
        except SidecarError as exc:
            return exc

    def _recall(self, namespace: str, request: WriteId) -> Answer | None:
        where = namespace, request.request_id
        mine = self._recorded.get(where)
        if mine is None:
            item = self._loaded.request(where)
            recorded = None if item is None else requests.decode(namespace, request, item)
            if isinstance(recorded, records.Progress):
                raise request_id_reused(request)
            return recorded
        first, done = mine
        if first.fingerprint != request.fingerprint:
            raise request_id_reused(request)
        again = records.repeated(done)
        assert not isinstance(again, records.Progress), "writes record none"
        return again

    def _apply(self, write: Write) -> Outcome:
        states = {operation.key: self._state(write, operation) for operation in write.operations}
        version = self._versions[self.versions_used]
        bounded = replace(write, value_bytes_max=min(write.value_bytes_max, VALUE_BYTES_MAX))
        try:
            decided = decide(bounded, states, now=self._moment.now, version=version)
        except DECISIONS as exc:
            # A delayed duplicate must not be applied after its sender was told of the refusal.
            if not write.tentative:
                self._record(write, exc)
            raise
        stored = decided.stored
        changed = _Changed(self._names, stored)
        outcome = Outcome(version=version if decided.draws else 0, results=decided.results, copies=decided.copies)
        self._record(write, outcome)
        self.versions_used += decided.draws
        self._dirty |= changed.items
        for where in changed.items:
            self._outsourced.pop(where, None)
        self._outsourced |= changed.outsourced
        for copy in stored:
            self._states[copy.namespace, copy.key] = copy
        for key in decided.forgotten:
            self._forget((write.namespace, key))
        for copy in decided.copies:
            kind = ChangeKind.PUT if type(copy) is Entry else ChangeKind.DELETE
            self.changes.append(ChangeRow(namespace=write.namespace, key=copy.key, version=version, kind=kind))
        if len(write.operations) > 1 or write.request is not None or decided.messages:
            # All that it was decided by holds in one moment: that of the transaction.
            self._checked |= dict.fromkeys((write.scope(operation), operation.key) for operation in write.operations)
        return outcome

    def _forget(self, where: Where) -> None:
        if self._states[where] is None:
            return
        self._states[where] = self._dirty[where] = None
        # Parts that were stored for it before are left to the upkeep, as those of a key that was deleted are.
        self._outsourced.pop(where, None)

    def _record(self, write: Write, recorded: Outcome | Decision) -> None:
        if write.request is None:
            return
        item = requests.encode(self._names, write.namespace, write.request, recorded, self._moment.now)
        _fit(item, "what is to be returned, and kept under the request id,")
        where = write.namespace, write.request.request_id
        self._recorded[where] = write.request, recorded
        self._records[where] = item

    def _state(self, write: Write, operation: Operation) -> Copy | None:
        """What a key is when it is a write's turn. Raises DataLoss, VALUE_TOO_LARGE."""
        where = write.scope(operation), operation.key
        if isinstance(operation, Put | Relocate) and len(operation.value) > VALUE_BYTES_MAX:
            raise too_large(f"the value has {len(operation.value)} bytes, at most {VALUE_BYTES_MAX} are stored")
        changes = type(operation) is Change
        if where in self._states and (where in self._dirty or not changes):
            return self._states[where]
        item = self._loaded.entry(where)
        copy = None if item is None else items.decode(self._names, item, self._loaded.values if changes else None)
        self._states[where] = copy
        self.newest_loaded = max(self.newest_loaded, 0 if copy is None else copy.version)
        return copy


class _Changed:
    """The items of a write's new states, and the values among them that are stored in parts."""

    def __init__(self, names: Names, copies: Sequence[Copy]) -> None:
        self.items = {(copy.namespace, copy.key): items.encode(names, copy) for copy in copies}
        self.outsourced: dict[Where, Outsourced] = {}
        sizes = {where: items.size_of(item) for where, item in self.items.items()}
        total = sum(sizes.values())
        for copy in sorted(copies, key=lambda copy: -sizes[copy.namespace, copy.key]):
            where = copy.namespace, copy.key
            if isinstance(copy, Entry) and (sizes[where] > INLINE_BYTES_MAX or total > INLINE_TOTAL_MAX):
                payload = payload_for(copy.value)
                self.items[where] = items.encode(names, copy, payload)
                self.outsourced[where] = Outsourced(payload, copy.namespace, copy.key, copy.value)
                total -= len(copy.value)
        for item in self.items.values():
            _fit(item, "the entry's key and labels")


def _fit(item: Item, what: str) -> None:
    """Raises VALUE_TOO_LARGE for what DynamoDB would refuse."""
    size = items.size_of(item)
    if size > ITEM_BYTES_MAX:
        raise too_large(f"{what} make an item of {size} bytes, DynamoDB takes at most {ITEM_BYTES_MAX}")


def wanted(names: Names, writes: Sequence[Write]) -> tuple[list[Item], list[Item]]:
    """Keys of the items that writes are decided by: with their values, and without. Only who changes one needs it."""
    valued: dict[Where, None] = {}
    others: dict[Where, None] = {}
    ids: dict[Where, None] = {}
    for write in writes:
        if write.request is not None:
            ids[write.namespace, write.request.request_id] = None
        for operation in write.operations:
            (valued if type(operation) is Change else others)[write.scope(operation), operation.key] = None
    headers = [names.entry(*where) for where in others if where not in valued]
    return [names.entry(*where) for where in valued], headers + [names.request(*where) for where in ids]


def size_of(write: Write) -> int:
    """Bytes that a write holds while it waits; a change in place counts for what its value may be."""
    values = sum(512 + len(getattr(operation, "value", b"")) for operation in write.operations)
    return values + messages_weight(write)
