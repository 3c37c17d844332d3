"""Set, CAS, Delete, Update, Transact, Touch, DeletePrefix: checked, committed by the authority, told to the cache."""

from __future__ import annotations

from sidecar.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    OutcomeUnknown,
    StoreUnavailable,
)
from sidecar.core.limits import (
    Limits,
    check_content_type,
    check_key,
    check_labels,
    check_messages,
    check_prefix,
    check_request_id,
    check_ttl,
    check_value,
    check_version,
)
from sidecar.core.modes import Durability, ServingMode
from sidecar.core.operations import Append, Change, Operation, OperationResult, Put, Write, WriteId
from sidecar.core.outbox import Message, continued
from sidecar.core.store import Outcome, PrefixProgress, Touch
from sidecar.engine.buffering import Buffer
from sidecar.engine.namespaces import Namespace, Namespaces
from sidecar.engine.replay import Replay
from sidecar.engine.replies import PrefixDeleted, TouchedKey, Written
from sidecar.engine.schemas.writing import SchemaWriting
from sidecar.tiers.placement import Placement

PREFIX_BATCH = 500


class Writes:
    """The writing side of the engine."""

    def __init__(
        self,
        namespaces: Namespaces,
        limits: Limits,
        buffer: Buffer | None = None,
        replay: Replay | None = None,
        *,
        schemas: SchemaWriting,
    ) -> None:
        self._namespaces = namespaces
        self._limits = limits
        self._buffer = buffer
        self._replay = replay
        self._schemas = schemas

    async def write(
        self,
        namespace: str,
        operations: tuple[Operation, ...],
        *,
        request: WriteId | None = None,
        needs_authority: bool,
        deadline: float | None = None,
        transaction: bool = False,
        tentative: bool = False,
        outbox: tuple[Message, ...] = (),
    ) -> Written:
        """Commit operations on distinct keys, all or nothing; a refusal of a `transaction` names the operation.

        `tentative`: a refusal is not kept under the request id, because we will try another way under it.

        `needs_authority`: in an outage the answer is an error whatever the namespace's policy; else, if the policy
        allows it, the write is DISCARDED and says so. One that carries messages (`outbox`) always needs it. Raises InvalidRequest, VersionConflict, FailedPrecondition,
        StoreUnavailable, LimitExceeded, DeadlineExceeded, OutcomeUnknown, DataLoss.
        """
        space = self._namespaces.of(namespace)
        write = Write(
            namespace=namespace,
            operations=operations,
            transaction=transaction,
            ttl_default_ms=space.policy.ttl_ms,
            sliding=space.policy.sliding,
            value_bytes_max=space.policy.value_bytes_max,
            request=request,
            deadline=deadline,
            tentative=tentative,
            checkpoint_every=space.checkpoint_every,
            outbox=continued(outbox) if outbox else (),
        )
        if outbox:
            check_messages(outbox, self._limits)
            space.check_outbox()
            needs_authority = True
        for index, operation in enumerate(operations):
            try:
                self._check(space, operation)
            except InvalidRequest as exc:
                write.name_operation(index, exc)
                raise
        if request is not None:
            check_request_id(request.request_id, self._limits)
        if space.placement is None and not needs_authority and space.passes_through:
            return _discarded(operations)
        placement = space.authority()
        try:
            outcome = await self._commit(space, placement, write, needs_authority=needs_authority)
        except StoreUnavailable:
            if needs_authority or space.buffers or not space.passes_through:
                raise
            return _discarded(operations)
        if isinstance(outcome, Written):
            return outcome
        return Written(
            version=outcome.version,
            durability=placement.durability if outcome.version else Durability.NONE,
            mode=ServingMode.NORMAL,
            results=outcome.results,
            copies=outcome.copies,
        )

    async def drain(self, namespace: str, *, key: str | None, prefix: str) -> None:
        """Settle what is kept for the authority of a key, or of all keys under a prefix. Raises Unavailable."""
        if self._buffer is not None and self._replay is not None:
            keys = [key] if key is not None else self._buffer.pending.under(namespace, prefix)
            await self._replay.drain(namespace, keys)

    async def _commit(
        self, space: Namespace, placement: Placement, write: Write, *, needs_authority: bool
    ) -> Outcome | Written:
        """Commit, or keep for later where that is the policy: `Written` says so."""
        if space.schemas is not None and not space.buffers:
            return await self._schemas.commit(space, placement, write)
        if self._buffer is None or self._replay is None or not space.buffers:
            return await placement.commit(write)
        if not needs_authority:
            await self._replay.catch_up(space.name, write.operations[0].key)
            return await self._buffer.write(space, write)
        if self._buffer.pending.holds(space.name):
            await self._replay.drain(space.name, [operation.key for operation in write.operations])
        outcome = await placement.commit(write)
        self._buffer.learn(outcome.copies)
        return outcome

    async def transact(
        self,
        namespace: str,
        operations: tuple[Operation, ...],
        *,
        request: WriteId | None,
        deadline: float | None,
        outbox: tuple[Message, ...] = (),
    ) -> Written:
        """As `write`, for many keys."""
        most = self._limits.operations_max
        placement = self._namespaces.of(namespace).placement
        if placement is not None and (bound := placement.authority.capabilities.operations_max) is not None:
            most = min(most, bound)
        if not 0 < len(operations) <= most:
            raise InvalidRequest(
                f"{len(operations)} operations, 1 to {most} are allowed",
                reason="TOO_MANY_OPERATIONS" if operations else "OPERATION_MISSING",
                field="operations",
            )
        seen: set[str] = set()
        for index, operation in enumerate(operations):
            if operation.key in seen:
                raise InvalidRequest(
                    f"operation {index} names a key that an earlier one names; join them",
                    reason="KEY_REPEATED",
                    field=f"operations[{index}].key",
                    metadata={"operation": str(index)},
                )
            seen.add(operation.key)
        return await self.write(
            namespace,
            operations,
            request=request,
            needs_authority=True,
            deadline=deadline,
            transaction=True,
            outbox=outbox,
        )

    async def touch(self, namespace: str, key: str, *, ttl_ms: int | None) -> TouchedKey:
        """Move a key's end. Told to the repairers, because it may be earlier than the one that copies know."""
        space = self._namespaces.of(namespace)
        check_key(key, self._limits)
        if ttl_ms is not None:
            check_ttl(ttl_ms, self._limits)
        nothing = TouchedKey(found=False, expire_time=None, mode=ServingMode.PASSTHROUGH)
        if space.placement is None and space.passes_through:
            return nothing
        try:
            [touched] = await space.authority().touch(namespace, [Touch(key=key, ttl_ms=ttl_ms)], announce=True)
        except StoreUnavailable:
            if not space.passes_through:
                raise
            return nothing
        return TouchedKey(found=touched.found, expire_time=touched.expire_time, mode=ServingMode.NORMAL)

    async def delete_prefix(
        self, namespace: str, prefix: str, *, all_keys: bool, request: WriteId | None
    ) -> PrefixDeleted:
        """Delete the keys under a prefix that were committed before the call, in batches that are atomic each."""
        space = self._namespaces.of(namespace)
        check_prefix(prefix, self._limits)
        if request is not None:
            check_request_id(request.request_id, self._limits)
        if not prefix and not all_keys:
            raise InvalidRequest(
                "an empty key_prefix would delete the whole namespace; say so with `all`",
                reason="PREFIX_EMPTY",
                field="key_prefix",
            )
        placement = space.authority()
        await self.drain(namespace, key=None, prefix=prefix)
        progress: PrefixProgress | None = None
        while progress is None or not progress.done:
            try:
                progress = await placement.delete_prefix(
                    namespace, prefix, limit=PREFIX_BATCH, request=request, progress=progress
                )
            except (StoreUnavailable, DeadlineExceeded) as exc:
                if progress is None or not progress.deleted_count:
                    raise
                raise OutcomeUnknown(
                    f"{progress.deleted_count} keys were deleted when the authority went away: repeat it with the same "
                    "request_id, and it goes on from there",
                    metadata={"deleted_count": str(progress.deleted_count)},
                ) from exc
        return PrefixDeleted(deleted_count=progress.deleted_count, mode=ServingMode.NORMAL)

    def _check(self, space: Namespace, operation: Operation) -> None:
        check_key(operation.key, self._limits)
        if not isinstance(operation, Change) and operation.expected_version is not None:
            check_version(operation.expected_version, field="expected_version")
        if isinstance(operation, Put | Change) and operation.ttl_ms is not None:
            check_ttl(operation.ttl_ms, self._limits)
        if isinstance(operation, Put):
            check_value(operation.value, space.policy.value_bytes_max)
            check_content_type(operation.content_type, self._limits)
            check_labels(operation.labels, self._limits)
        elif isinstance(operation, Change) and isinstance(operation.change, Append):
            self._check_append(operation.change)

    def _check_append(self, append: Append) -> None:
        if not 0 < len(append.items) <= self._limits.items_max:
            raise InvalidRequest(
                f"{len(append.items)} items, 1 to {self._limits.items_max} are allowed",
                reason="TOO_MANY_ITEMS" if append.items else "OPERATION_MISSING",
                field="append.items",
            )
        if append.max_items < 0:
            raise InvalidRequest(
                f"max_items {append.max_items} is negative; 0 keeps all",
                reason="MAX_ITEMS_INVALID",
                field="append.max_items",
            )


def _discarded(operations: tuple[Operation, ...]) -> Written:
    nothing = OperationResult(found=False, version=0)
    return Written(
        version=0,
        durability=Durability.DISCARDED,
        mode=ServingMode.PASSTHROUGH,
        results=(nothing,) * len(operations),
    )
