"""Every call of the client as a plan (see _effects.py): what is sent, what is retried, what is remembered.

`StateClient` and `AsyncStateClient` have these as methods, with these signatures and docstrings. Common to all:
`timeout_s` is the time for the call with all its retries, None for the client's own; any call may raise `InvalidRequest`,
`Unavailable`, `LimitExceeded`, `Unauthenticated`, `PermissionDenied`, `DataLoss`, `DeadlineExceeded` and `InternalError`,
and any write `WriteOutcomeUnknown`. Writes get a `request_id` of their own, the same in all retries, unless one is given; an empty one
makes a write that is not repeated once it may have landed. `outbox` are messages that go out if, and only if, the write
took effect: committed with it, delivered at least once, in version order per key.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from statesidecar import _replies, _requests, errors
from statesidecar._effects import Plan
from statesidecar._sending import Sender
from statesidecar.errors import FailedPrecondition
from statesidecar.operations import (
    AppendOp,
    CasOp,
    DeleteOp,
    IncrementOp,
    MergePatchOp,
    Operation,
    SetOp,
    TransactResult,
    UpdateOp,
)
from statesidecar.outbox import OutboxMessage
from statesidecar.types import (
    Consistency,
    DeletePrefixResult,
    DeleteResult,
    Entry,
    GetResult,
    Status,
    TouchResult,
    Ttl,
    UpdateResult,
    WriteResult,
)
from statesidecar.v1 import admin_service_pb2
from statesidecar.v1 import state_service_pb2 as pb


class Calls(Sender):
    """The calls of the daemon's RPCs."""

    def get(
        self,
        namespace: str,
        key: str,
        *,
        consistency: Consistency = Consistency.CACHED,
        min_version: int | None = None,
        max_schema_version: int = 0,
        timeout_s: float | None = None,
    ) -> Plan[GetResult]:
        """Reads a key. A miss is an ordinary answer.

        A CACHED read is no older than `min_version`; None: than the newest version of the key that this client has seen.
        The value is brought to `max_schema_version`, or is in an older schema; 0: in whichever. Raises FailedPrecondition
        (SCHEMA_TOO_NEW) if it can't be.
        """
        deadline = self._deadline(timeout_s)
        floor = self._floor(namespace, key, consistency) if min_version is None else min_version
        try:
            reply = yield from self._send(
                "Get", _requests.get(namespace, key, consistency, floor, max_schema_version), deadline
            )
        except FailedPrecondition as error:
            if error.reason != errors.EPOCH_CHANGED:
                raise
            self.floors.forget(namespace, key)
            if min_version is not None:
                raise
            request = _requests.get(namespace, key, consistency, 0, max_schema_version)
            reply = yield from self._send("Get", request, deadline)
        result = _replies.get(reply)
        self.floors.observe(namespace, key, result.version)
        return result

    def batch_get(
        self,
        namespace: str,
        keys: Iterable[str],
        *,
        consistency: Consistency = Consistency.CACHED,
        max_schema_version: int = 0,
        timeout_s: float | None = None,
    ) -> Plan[list[GetResult]]:
        """Reads up to 1000 keys, each as `get` would, in their order; not a snapshot."""
        deadline = self._deadline(timeout_s)
        names = list(keys)
        results = _replies.batch_get(
            (yield from self._batch(namespace, names, consistency, max_schema_version, deadline, packed=False))
        )
        self.floors.observe_all(namespace, names, [result.version for result in results])
        return results

    def list_page(
        self,
        namespace: str,
        prefix: str,
        page_token: str,
        *,
        keys_only: bool,
        page_size: int,
        max_schema_version: int,
        timeout_s: float | None,
    ) -> Plan[tuple[list[Entry], str]]:
        """One page of `list`, and the token of the next; empty: there is none."""
        request = pb.ListRequest(
            namespace=namespace,
            key_prefix=prefix,
            page_size=page_size,
            page_token=page_token,
            keys_only=keys_only,
            max_schema_version=max_schema_version,
        )
        reply = yield from self._send("List", request, self._deadline(timeout_s))
        return [_replies.entry(entry) for entry in reply.entries], reply.next_page_token

    def set(
        self,
        namespace: str,
        key: str,
        value: bytes | str,
        *,
        content_type: str = "",
        schema_version: int = 0,
        labels: Mapping[str, str] | None = None,
        ttl: Ttl | None = None,
        outbox: Sequence[OutboxMessage] = (),
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[WriteResult]:
        """Writes a key, whatever was there. `ttl` None: the namespace's."""
        op = SetOp(key, value, content_type, schema_version, labels, ttl, outbox)
        name = given_or_new(request_id)
        reply = yield from self._write("Set", _requests.set(namespace, op, name), timeout_s)
        self.floors.observe(namespace, key, reply.version)
        return _replies.written(reply)

    def cas(
        self,
        namespace: str,
        key: str,
        value: bytes | str,
        *,
        expected_version: int,
        content_type: str = "",
        schema_version: int = 0,
        labels: Mapping[str, str] | None = None,
        ttl: Ttl | None = None,
        outbox: Sequence[OutboxMessage] = (),
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[WriteResult]:
        """Writes a key if its version is the expected one; 0: if it does not exist. Raises VersionConflict if not."""
        op = CasOp(key, value, expected_version, content_type, schema_version, labels, ttl, outbox)
        name = given_or_new(request_id)
        reply = yield from self._write("CAS", _requests.cas(namespace, op, name), timeout_s)
        self.floors.observe(namespace, key, reply.version)
        return _replies.written(reply)

    def delete(
        self,
        namespace: str,
        key: str,
        *,
        expected_version: int | None = None,
        outbox: Sequence[OutboxMessage] = (),
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[DeleteResult]:
        """Deletes a key; of an absent one that is no error, unless a version was expected (VersionConflict)."""
        request = _requests.delete(namespace, DeleteOp(key, expected_version, outbox), given_or_new(request_id))
        reply = yield from self._write("Delete", request, timeout_s)
        self.floors.observe(namespace, key, reply.version)
        return _replies.deleted(reply)

    def delete_prefix(
        self,
        namespace: str,
        prefix: str,
        *,
        all_keys: bool = False,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[DeletePrefixResult]:
        """Deletes the keys under a prefix, each atomically, all of them not. An empty prefix needs `all_keys`."""
        request = pb.DeletePrefixRequest(
            namespace=namespace, key_prefix=prefix, all=all_keys, request_id=given_or_new(request_id)
        )
        return _replies.deleted_prefix((yield from self._write("DeletePrefix", request, timeout_s)))

    def touch(
        self, namespace: str, key: str, *, ttl: Ttl | None = None, timeout_s: float | None = None
    ) -> Plan[TouchResult]:
        """Moves a key's expiry to `ttl` from now, without changing its version. None: the ttl that it was last given."""
        request = pb.TouchRequest(namespace=namespace, key=key, ttl=_requests.duration(ttl))
        return _replies.touched((yield from self._send("Touch", request, self._deadline(timeout_s))))

    def merge_patch(
        self,
        namespace: str,
        key: str,
        patch: Any,
        *,
        create: bool = True,
        ttl: Ttl | None = None,
        return_value: bool = True,
        schema_version: int = 0,
        outbox: Sequence[OutboxMessage] = (),
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[UpdateResult]:
        """Applies an RFC 7396 merge patch to a JSON value, on the server, so that concurrent patches don't conflict.

        Raises FailedPrecondition if the value is not JSON, or the key is absent and not to be created.
        """
        op = MergePatchOp(key, patch, create, ttl, return_value, outbox, schema_version)
        return (yield from self._update(namespace, op, request_id, timeout_s))

    def append(
        self,
        namespace: str,
        key: str,
        items: Sequence[Any],
        *,
        max_items: int = 0,
        create: bool = True,
        ttl: Ttl | None = None,
        return_value: bool = True,
        schema_version: int = 0,
        outbox: Sequence[OutboxMessage] = (),
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[UpdateResult]:
        """Appends JSON values to an array, on the server; it keeps its last `max_items` (0: all).

        Raises FailedPrecondition if the value is no array, or the key is absent and not to be created.
        """
        op = AppendOp(key, items, max_items, create, ttl, return_value, outbox, schema_version)
        return (yield from self._update(namespace, op, request_id, timeout_s))

    def increment(
        self,
        namespace: str,
        key: str,
        delta: int = 1,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
        create: bool = True,
        ttl: Ttl | None = None,
        schema_version: int = 0,
        outbox: Sequence[OutboxMessage] = (),
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[UpdateResult]:
        """Adds to a counter, on the server; the result's `count` is its new value.

        Raises FailedPrecondition if it would leave its bounds, the value is no counter, or the key is absent and not to be
        created.
        """
        op = IncrementOp(key, delta, minimum, maximum, create, ttl, True, outbox, schema_version)
        return (yield from self._update(namespace, op, request_id, timeout_s))

    def transact(
        self,
        namespace: str,
        operations: Iterable[Operation],
        *,
        outbox: Sequence[OutboxMessage] = (),
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[TransactResult]:
        """Commits operations on up to 100 different keys: all or nothing, under one version.

        `outbox` are messages of the whole; those of an operation are its own.

        Raises what the first operation that failed would; `metadata["operation"]` is its index.
        """
        ops = list(operations)
        request = _requests.transact(namespace, ops, outbox, given_or_new(request_id))
        reply = yield from self._write("Transact", request, timeout_s)
        result = _replies.transacted(reply)
        for op, done in zip(ops, result.results, strict=True):
            if done is not None:
                self.floors.observe(namespace, op.key, done.version)
        return result

    def status(self, *, timeout_s: float | None = None) -> Plan[Status]:
        """Mode, tiers and queues of the daemon."""
        request = admin_service_pb2.GetStatusRequest()
        return _replies.status((yield from self._send("GetStatus", request, self._deadline(timeout_s))))

    def _update(
        self, namespace: str, op: UpdateOp, request_id: str | None, timeout_s: float | None
    ) -> Plan[UpdateResult]:
        reply = yield from self._write("Update", _requests.update(namespace, op, given_or_new(request_id)), timeout_s)
        self.floors.observe(namespace, op.key, reply.version)
        return _replies.updated(reply)


def given_or_new(given: str | None) -> str:
    """The request id of a write: the caller's, else one of its own."""
    return new_request_id() if given is None else given


def new_request_id() -> str:
    """Unguessable, and in the order of time: ids of one moment are neighbours in the store's index, as UUIDs of version 7."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
