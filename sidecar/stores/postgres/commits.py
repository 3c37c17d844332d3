"""Writes that share a transaction without sharing a fate: rows are loaded once, decided one by one, and stored once."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.entry import Copy
from sidecar.core.operations import Change, Write, WriteId
from sidecar.core.store import request_id_reused
from sidecar.stores import records
from sidecar.stores.deciding import Answer, Group
from sidecar.stores.postgres import rows
from sidecar.stores.postgres.transaction import Pair, Transaction, load_requests, lock_entries
from sidecar.stores.postgres.wire import Row


async def commit_writes(transaction: Transaction, writes: Sequence[Write]) -> list[Answer]:
    """Apply writes in order, and answer each. What is refused has changed nothing, and is remembered.

    Raises as `Transaction`, and then nothing was written, or nobody knows (OutcomeUnknown).
    """
    keys, requests = _named(writes)
    calls = lock_entries(transaction.queries, keys)
    locks = len(calls)
    calls += load_requests(transaction.queries, requests)
    answers = await transaction.begin(calls, draws=len(writes), pointed=True)
    found = [row for answer in answers[:locks] for row in answer]
    group = _Group(transaction, found, [row for answer in answers[locks:] for row in answer])
    try:
        told = [group.answer(write) for write in writes]
    except _Newer as exc:
        await transaction.look_again(exc.version)
    group.store()
    await transaction.commit()
    return told


class _Newer(Exception):
    """A row's version is one that the sequence has yet to reach."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


class _Group(Group):
    """The states that the writes of a group see and leave."""

    def __init__(self, transaction: Transaction, found: Sequence[Row], requests: Sequence[Row]) -> None:
        super().__init__(transaction)
        self._transaction = transaction
        self._rows: dict[Pair, Row] = {row[:2]: row[2:] for row in found}
        self._requests: dict[Pair, Row] = {row[:2]: row for row in requests}

    def store(self) -> None:
        """Have the transaction write what the group leaves."""
        transaction = self._transaction
        transaction.put([copy for copy in self._dirty.values() if copy is not None], present=self._rows)
        transaction.forget(at for at, copy in self._dirty.items() if copy is None)
        for (namespace, _), (request, recorded) in self._recorded.items():
            transaction.remember(records.encode(namespace, request, recorded, transaction.now))

    def _recall(self, namespace: str, request: WriteId) -> Answer | None:
        mine = self._recorded.get((namespace, request.request_id))
        if mine is None:
            row = self._requests.get((namespace.encode(), request.request_id.encode()))
            known = None if row is None else records.decode(request, records.RequestRow(*row))
        elif mine[0].fingerprint != request.fingerprint:
            raise request_id_reused(request)
        else:
            known = records.repeated(mine[1])
        if isinstance(known, records.Progress):
            raise request_id_reused(request)
        return known

    def _stored(self, namespace: str, key: str) -> Copy | None:
        row = self._rows.get((namespace.encode(), key.encode()))
        if row is None:
            return None
        copy = rows.decode(namespace, key, row)
        if copy.version >= self._transaction.next_version():
            raise _Newer(copy.version)
        return copy


def _named(writes: Sequence[Write]) -> tuple[dict[Pair, bool], dict[Pair, None]]:
    """The keys that writes name, and which need their value; the request ids."""
    keys: dict[Pair, bool] = {}
    requests: dict[Pair, None] = {}
    for write in writes:
        if write.request is not None:
            requests[write.namespace.encode(), write.request.request_id.encode()] = None
        for operation in write.operations:
            pair = (write.scope(operation).encode(), operation.key.encode())
            keys[pair] = type(operation) is Change or keys.get(pair, False)
    return keys, requests
