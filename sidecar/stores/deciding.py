"""Writes of a transaction decided one after the other in this process: each sees what those before it leave."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from sidecar.core.decide import decide
from sidecar.core.entry import Copy, Entry
from sidecar.core.errors import DECISIONS, Decision, SidecarError
from sidecar.core.operations import Write, WriteId
from sidecar.core.store import ChangeKind, Outcome

Answer = Outcome | SidecarError


class Transaction(Protocol):
    """What deciding needs of a store's transaction."""

    @property
    def now(self) -> int:
        """The authority's clock, in milliseconds."""
        ...

    def next_version(self) -> int:
        """The version that `draw` would hand out."""
        ...

    def draw(self) -> int:
        """Hand out a version."""
        ...

    def announce(self, namespace: bytes, key: bytes, version: int, kind: ChangeKind) -> None:
        """Leave a change row."""
        ...


class Group(ABC):
    """The states that the writes of a group see and leave: `_dirty` and `_recorded` are to be stored. None: a row goes."""

    def __init__(self, transaction: Transaction) -> None:
        self._deciding = transaction
        self._states: dict[str, dict[str, Copy | None]] = {}
        self._dirty: dict[tuple[str, str], Copy | None] = {}
        self._recorded: dict[tuple[str, str], tuple[WriteId, Outcome | Decision]] = {}

    @abstractmethod
    def _stored(self, namespace: str, key: str) -> Copy | None:
        """The state of a key that was loaded. Raises DataLoss."""

    @abstractmethod
    def _recall(self, namespace: str, request: WriteId) -> Answer | None:
        """What the request id did, in this group or before. Raises REQUEST_ID_REUSED."""

    def answer(self, write: Write) -> Answer:
        """The outcome of one write, or its refusal."""
        try:
            if write.request is not None and (known := self._recall(write.namespace, write.request)) is not None:
                return known
            return self._apply(write)
        except SidecarError as exc:
            return exc

    def _apply(self, write: Write) -> Outcome:
        transaction = self._deciding
        states = self._states_of(write)
        try:
            decided = decide(write, states, now=transaction.now, version=transaction.next_version())
        except DECISIONS as exc:
            # A delayed duplicate must not be applied after its sender was told of the refusal.
            if not write.tentative:
                self._record(write, exc)
            raise
        version = transaction.draw() if decided.draws else 0
        namespace = write.namespace.encode()
        for copy in decided.stored:
            self._states.setdefault(copy.namespace, {})[copy.key] = copy
            self._dirty[copy.namespace, copy.key] = copy
        for key in decided.forgotten:
            self._states[write.namespace][key] = None
            self._dirty[write.namespace, key] = None
        for copy in decided.copies:
            kind = ChangeKind.PUT if type(copy) is Entry else ChangeKind.DELETE
            transaction.announce(namespace, copy.key.encode(), version, kind)
        outcome = Outcome(version=version, results=decided.results, copies=decided.copies)
        self._record(write, outcome)
        return outcome

    def _record(self, write: Write, recorded: Outcome | Decision) -> None:
        if write.request is not None:
            self._recorded[write.namespace, write.request.request_id] = (write.request, recorded)

    def _states_of(self, write: Write) -> dict[str, Copy | None]:
        """The states of all that the write names. Raises DataLoss."""
        named: dict[str, Copy | None] = {}
        for operation in write.operations:
            scope = write.scope(operation)
            states = self._states.setdefault(scope, {})
            if operation.key not in states:
                states[operation.key] = self._stored(scope, operation.key)
            named[operation.key] = states[operation.key]
        return named
