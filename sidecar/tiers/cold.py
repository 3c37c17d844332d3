"""Values that are in the cold tier: large ones, which stay there, and archived ones, which come back when they are read.

The row of such an entry has no value, and a mark that says where it is (`core/marks.py: Pointer`). Above `Placement`
everybody sees full values. Caches hold pointers to large values, and archived values in full.

A pointer that was read somewhere may be older than its blob's end: the key is then read again from the authority. Only
what that still names is lost, and told as DATA_LOSS; other bytes than those that were stored are never told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sidecar.core.blob_records import Owner
from sidecar.core.entry import NO_LABELS, Copy, Entry
from sidecar.core.errors import (
    DECISIONS,
    ColdUnavailable,
    DataLoss,
    Decision,
    InvalidRequest,
    OutcomeUnknown,
    StoreUnavailable,
    ValueAway,
    VersionConflict,
)
from sidecar.core.failpoints import reach
from sidecar.core.marks import BLOB, WOKEN, Pointer, pointer_of, with_value
from sidecar.core.operations import Check, Operation, Put, Relocate, Write
from sidecar.core.ports import COMPUTED_BYTES, Ports, Signal
from sidecar.core.sealing import blob_place
from sidecar.core.store import Outcome
from sidecar.tiers.blobs import BlobLedger

INLINE_BYTES_MAX = 4 << 20
"""A large value that can't go to the cold tier because that is away is kept by the authority up to this size."""
RACES_MAX = 8
"""How often a key is read again whose blob was collected meanwhile."""
UNBOUNDED = 1 << 62

Commit = Callable[[Write], Awaitable[Outcome]]
Read = Callable[[str, Sequence[str]], Awaitable["list[Copy | None]"]]


def is_away(copy: Copy | None) -> bool:
    """Whether it is an entry whose value is in the cold tier."""
    return type(copy) is Entry and BLOB in copy.labels


def is_archived(copy: Copy | None) -> bool:
    """Whether its value is there for having been idle."""
    return isinstance(copy, Entry) and is_away(copy) and pointer_at(copy).archived


class Settled(NamedTuple):
    """A state with its value; `moved`: it was read again, because what pointed to the value was outdated."""

    state: Copy | None
    moved: bool


@dataclass(slots=True)
class _Load:
    """A load under way. `landed`: with this value; None: the blob is gone."""

    signal: Signal
    landed: bool = False
    value: bytes | None = None


class Cold:
    """The values of one placement that are in cold. `read` reads the authority's rows as they are.

    `commit` commits a caller's write, and tells the caches; `relocate` commits what nobody is told of. `large_bytes` says
    of a namespace above which size a value goes to cold; None: never for its size.
    """

    def __init__(
        self,
        blobs: BlobLedger,
        *,
        read: Read,
        commit: Commit,
        relocate: Commit,
        large_bytes: Callable[[str], int | None],
        ports: Ports,
    ) -> None:
        self.blobs = blobs
        self._read = read
        self._commit = commit
        self._relocate = relocate
        self._large_bytes = large_bytes
        self._ports = ports
        capabilities = blobs.ledger.authority.capabilities
        self._store_bytes_max = capabilities.value_bytes_max or UNBOUNDED
        self._operations_max = capabilities.operations_max or UNBOUNDED
        self._loads: dict[str, _Load] = {}

    # ---- readers

    async def value_of(self, entry: Entry) -> bytes | None:
        """The value of an entry that `is_away`; None: its blob is gone. Who asks at the same time shares a load.

        Raises DataLoss (ENTRY_CORRUPT) if it is not the value that was stored, ColdUnavailable, LimitExceeded.
        """
        pointer = pointer_at(entry)
        while (load := self._loads.get(pointer.blob)) is not None:
            await load.signal.wait()
            if load.landed:
                return load.value
        load = self._loads[pointer.blob] = _Load(self._ports.signal())
        try:
            load.value = await self._verified(entry, pointer)
            load.landed = True
        finally:
            del self._loads[pointer.blob]
            load.signal.set()
        return load.value

    async def settled(self, copy: Copy | None) -> Settled:
        """A state with its value in it; if its blob is gone, the key's state now.

        Raises DataLoss (ENTRY_CORRUPT), ColdUnavailable, and what the authority raises.
        """
        gone = ""
        for _ in range(RACES_MAX):
            if not isinstance(copy, Entry) or not is_away(copy):
                return Settled(copy, moved=bool(gone))
            blob = pointer_at(copy).blob
            if blob == gone:
                raise corrupt(copy, "it is gone")
            value = await self.value_of(copy)
            if value is not None:
                return Settled(with_value(copy, value), moved=bool(gone))
            gone = blob
            [copy] = await self._read(copy.namespace, [copy.key])
        raise ColdUnavailable("the key is overwritten faster than its value can be read")

    async def _verified(self, entry: Entry, pointer: Pointer) -> bytes | None:
        try:
            stored = await self.blobs.load(pointer.blob, size=pointer.size)
        except DataLoss as exc:
            raise corrupt(entry, exc.message) from exc
        if stored is None:
            return None
        if await self.digest(stored) != pointer.digest:
            raise corrupt(entry, "it is not what was stored")
        at = blob_place(entry.namespace, entry.key, entry.schema_version)
        value = await self.blobs.opened(stored, at, namespace=entry.namespace, key=entry.key)
        if len(value) != pointer.size:
            raise corrupt(entry, "it is not as large as what was stored")
        return value

    async def digest(self, value: bytes) -> str:
        """A value's SHA-256 in hex."""

        def work() -> str:
            return hashlib.sha256(value).hexdigest()

        return await self._ports.compute(work) if len(value) > COMPUTED_BYTES else work()

    # ---- writers

    async def commit(self, write: Write) -> Outcome:
        """Commit a write whose large values go to cold. What was changed is answered with full values.

        Raises what the authority raises, and ColdUnavailable: then nothing was written.
        """
        values = {op.key: op.value for op in write.operations if isinstance(op, Put) and self._is_large(write, op)}
        if not values:
            return await self._changing(write)
        operations, checks = await self._outsource(write, values)
        if not checks:
            return await self._changing(write)
        if len(operations) + len(checks) > self._operations_max:
            raise InvalidRequest(
                f"{len(operations)} operations with {len(checks)} large values are more than the authority takes",
                reason="TOO_MANY_OPERATIONS",
                field="operations",
            )
        outcome = await self._checked(
            replace(write, operations=(*operations, *checks)), checks, alone=len(operations) == 1
        )
        copies = tuple(
            with_value(copy, values[copy.key]) if isinstance(copy, Entry) and is_away(copy) else copy
            for copy in outcome.copies
        )
        return replace(outcome, results=outcome.results[: len(operations)], copies=copies)

    def _is_large(self, write: Write, put: Put) -> bool:
        large = self._large_bytes(write.namespace)
        return len(put.value) > min(UNBOUNDED if large is None else large, self._store_bytes_max)

    async def _outsource(self, write: Write, values: Mapping[str, bytes]) -> tuple[list[Operation], list[Check]]:
        """The operations with pointers for values, and what has to hold for those."""
        operations: list[Operation] = []
        checks: list[Check] = []
        for operation in write.operations:
            if not isinstance(operation, Put) or operation.key not in values:
                operations.append(operation)
                continue
            try:
                pointer, check = await self.put(
                    write.namespace,
                    operation.key,
                    operation.value,
                    schema=operation.schema_version,
                    archived=False,
                    deadline=write.deadline,
                )
            except ColdUnavailable:
                if len(operation.value) > min(INLINE_BYTES_MAX, self._store_bytes_max):
                    raise
                operations.append(operation)
            else:
                marked = {**operation.marks, BLOB: pointer.text}
                operations.append(replace(operation, value=b"", marks=marked))
                checks.append(check)
        return operations, checks

    async def put(
        self,
        namespace: str,
        key: str,
        value: bytes,
        *,
        schema: int,
        archived: bool,
        fence: Sequence[Check] = (),
        deadline: float | None = None,
    ) -> tuple[Pointer, Check]:
        """Store a key's value as a blob: where it is, and what has to hold when that is committed."""
        content = await self.blobs.sealed(namespace, value, blob_place(namespace, key, schema))
        # Of what is stored: a digest of the value would confirm a guess of it to whoever reads the row.
        digest = await self.digest(content)
        stored = await self.blobs.store(content, Owner(namespace=namespace, key=key), fence=fence, deadline=deadline)
        return Pointer(stored.blob, len(value), digest, archived), stored.check

    async def _checked(self, write: Write, checks: Sequence[Check], *, alone: bool) -> Outcome:
        """Commit with pointers. That a blob was given up meanwhile is our business: it is not kept under the request id."""
        reach("large.commit.before")
        try:
            outcome = await self._changing(replace(write, tentative=True))
        except DECISIONS as exc:
            self._judge(exc, checks, alone=alone and not write.transaction)
            if write.request is None or write.tentative:
                raise
            # A refusal of the caller's own is kept, so that a delayed duplicate of the request is refused too.
            try:
                outcome = await self._changing(write)
            except DECISIONS as again:
                self._judge(again, checks, alone=alone and not write.transaction)
                raise
        reach("large.commit.after")
        return outcome

    def _judge(self, refusal: Decision, checks: Sequence[Check], *, alone: bool) -> None:
        """Raises ColdUnavailable for a refusal that is about a record: a version is of one commit, so it tells."""
        expected = refusal.metadata.get("expected_version")
        if any(expected == str(check.expected_version) for check in checks):
            raise ColdUnavailable("storing the value took too long, and it was given up") from refusal
        if alone:
            # As the caller would hear it without conditions of ours beside the operation.
            refusal.metadata.pop("operation", None)

    async def _changing(self, write: Write) -> Outcome:
        """Commit; values that are to be changed in place come back first."""
        for _ in range(RACES_MAX + len(write.operations)):
            try:
                return await self._commit(write)
            except ValueAway as exc:
                await self.bring_back(write.namespace, exc.key)
        return await self._commit(write)

    # ---- back to the authority

    async def bring_back(self, namespace: str, key: str) -> None:
        """Have the authority keep a key's value, under the same version, if it is in cold.

        Raises InvalidRequest (VALUE_TOO_LARGE) where the authority can't, and what reading and committing raise.
        """
        [copy] = await self._read(namespace, [key])
        if not is_away(copy):
            return
        entry = (await self.settled(copy)).state
        if not isinstance(entry, Entry):
            return
        if len(entry.value) > self._store_bytes_max:
            raise InvalidRequest(
                f"the value has {len(entry.value)} bytes: the authority can't change it in place, set it as a whole",
                reason="VALUE_TOO_LARGE",
                field="operation",
            )
        await self._inline(entry, NO_LABELS)

    async def wake(self, entry: Entry) -> None:
        """Have the authority keep an archived value that was read; the time is noted, as if it had been written now."""
        if len(entry.value) <= self._store_bytes_max:
            reach("wake.relocate.before")
            await self._inline(entry, {WOKEN: str(self.blobs.ledger.now())})
            reach("wake.relocate.after")

    async def _inline(self, entry: Entry, marks: Mapping[str, str]) -> None:
        # In that schema: a version stays while its value is brought to another one.
        relocate = Relocate(
            key=entry.key,
            expected_version=entry.version,
            value=entry.value,
            marks=marks,
            expected_schema=entry.schema_version,
        )
        write = Write(namespace=entry.namespace, operations=(relocate,), value_bytes_max=UNBOUNDED)
        try:
            await self._relocate(write)
        except VersionConflict:
            pass  # it was written meanwhile, or migrated
        except OutcomeUnknown as exc:
            raise StoreUnavailable(f"the value may be back or not: {exc.message}") from exc


def pointer_at(entry: Entry) -> Pointer:
    """Where the value of an entry is that `is_away`. Raises DataLoss (ENTRY_CORRUPT)."""
    try:
        pointer = pointer_of(entry)
    except DataLoss as exc:
        raise corrupt(entry, exc.message) from exc
    assert pointer is not None, "its value is away"
    return pointer


def corrupt(entry: Entry, why: str) -> DataLoss:
    """The error of a value that can't be given as it was stored."""
    return DataLoss(f"the value is in the cold tier: {why}", metadata={"namespace": entry.namespace, "key": entry.key})
