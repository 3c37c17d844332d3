"""Writes that share a transaction without sharing a fate: rows are loaded once, decided one by one, and stored once."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.entry import Copy
from sidecar.core.errors import DeadlineExceeded, Decision
from sidecar.core.operations import Change, Write, WriteId
from sidecar.core.store import Outcome, request_id_reused
from sidecar.stores.deciding import Answer, Group
from sidecar.stores.sqlite import outcomes, rows
from sidecar.stores.sqlite.queries import Pair, load
from sidecar.stores.sqlite.transaction import Transaction


def commit_writes(transaction: Transaction, writes: Sequence[Write]) -> list[Answer]:
    """Apply writes in order, and answer each. What is refused has changed nothing, and is remembered."""
    group = _Group(transaction, writes)
    answers = [group.answer(write) for write in writes]
    group.store()
    return answers


class _Group(Group):
    """The states that the writes of a group see and leave."""

    def __init__(self, transaction: Transaction, writes: Sequence[Write]) -> None:
        super().__init__(transaction)
        self._transaction = transaction
        self._rows, self._requests = _load(transaction, writes)

    def answer(self, write: Write) -> Answer:
        """The outcome of one write, or its refusal."""
        if write.deadline is not None and self._transaction.monotonic >= write.deadline:
            return DeadlineExceeded("the deadline passed before the write began; nothing was written")
        return super().answer(write)

    def store(self) -> None:
        """Persist what the group leaves."""
        # Entries first: where the disk is full, a smaller one makes room for the rows that follow.
        if self._dirty:
            self._transaction.forget(at for at, copy in self._dirty.items() if copy is None)
            self._transaction.put(copy for copy in self._dirty.values() if copy is not None)
        if self._recorded:
            now = self._transaction.now
            self._transaction.remember(
                outcomes.encode(namespace, request, recorded, now)
                for (namespace, _), (request, recorded) in self._recorded.items()
            )

    def _recall(self, namespace: str, request: WriteId) -> Answer | None:
        mine = self._recorded.get((namespace, request.request_id))
        if mine is None:
            row = self._requests.get((namespace.encode(), request.request_id.encode()))
            recorded = None if row is None else outcomes.decode(namespace, request, row)
            if isinstance(recorded, outcomes.Progress):
                raise request_id_reused(request)
            return recorded
        first, done = mine
        if first.fingerprint != request.fingerprint:
            raise request_id_reused(request)
        return _repeated(done)

    def _stored(self, namespace: str, key: str) -> Copy | None:
        row = self._rows.get((namespace.encode(), key.encode()))
        return None if row is None else rows.decode(namespace, key, row)


def _load(transaction: Transaction, writes: Sequence[Write]) -> tuple[dict[Pair, rows.Row], dict[Pair, outcomes.Row]]:
    """The rows of all keys and of all request ids that writes name, not decoded. Values only for who changes them."""
    headers: dict[Pair, None] = {}
    valued: dict[Pair, None] = {}
    requests: dict[Pair, None] = {}
    for write in writes:
        if write.request is not None:
            requests[write.namespace.encode(), write.request.request_id.encode()] = None
        for operation in write.operations:
            wanted = valued if type(operation) is Change else headers
            wanted[write.scope(operation).encode(), operation.key.encode()] = None
    found = load(transaction.connection, "load headers", (at for at in headers if at not in valued))
    found |= load(transaction.connection, "load entries", valued)
    return found, load(transaction.connection, "load requests", requests)


def _repeated(recorded: Outcome | Decision) -> Answer:
    """What the first of two equal requests in one group did, for the second."""
    if isinstance(recorded, Outcome):
        return Outcome(version=recorded.version, results=recorded.results, replayed=True)
    return outcomes.refused_again(recorded)
