"""What a write asks for. `core/decide.py` decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.core import outbox
from sidecar.core.errors import Decision, SidecarError
from sidecar.core.ledger import LEDGER
from sidecar.core.sealing import Codec, told_place

JSON_CONTENT_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Write a value. `expected_version` None: whatever is there; 0: only if absent. `marks`: see `core/marks.py`.

    `keeps_end`: it stands for a Change, and the entry ends as after that; `told` is the value that its result tells. Both
    are for stores with quiet rows.
    """

    key: str
    value: bytes
    content_type: str = ""
    schema_version: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    ttl_ms: int | None = None
    expected_version: int | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    keeps_end: bool = False
    told: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Delete an entry. `expected_version` as in Put."""

    key: str
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MergePatch:
    """An RFC 7396 patch, parsed."""

    patch: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Items for the end of a JSON array, parsed; its last `max_items` are kept (0: all)."""

    items: tuple[Any, ...]
    max_items: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Increment:
    """A number for a counter, refused beyond its bounds."""

    delta: int
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Change a value where it is; `create` begins with an empty one where the key is absent.

    `schema_version` is the schema that it is meant for, 0: the namespace's own; only the engine looks at it.
    """

    key: str
    change: MergePatch | Append | Increment
    create: bool = False
    ttl_ms: int | None = None
    return_value: bool = False
    schema_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Only a condition: the key has this version (0: it is absent). `ledger`: a key of the daemon's own rows."""

    key: str
    expected_version: int
    ledger: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocate:
    """Keep a value elsewhere, under the same version: nothing has changed for anybody, so nobody is told.

    `value` is what the row holds from now on; of the marks BLOB and WOKEN, it has those in `marks`. Where it is the same
    in another schema, `schema_version` is that, `expected_schema` the one before, and the mark SCHEMA is as in `marks`.
    """

    key: str
    expected_version: int
    value: bytes
    marks: Mapping[str, str] = field(default_factory=dict)
    schema_version: int | None = None
    expected_schema: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Remove a row of the ledger in silence, and without a trace: no version, no tombstone, no change row."""

    key: str
    expected_version: int | None = None


Operation = Put | Remove | Change | Check | Relocate | Forget


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteId:
    """A request id, and a digest of what was asked for under it."""

    request_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Operations on distinct keys of a namespace, all or nothing, with what its policy says about values and expiry.

    `deadline` is a monotonic instant in seconds: a store that has not begun by then refuses (DeadlineExceeded).
    `transaction`: the caller thinks of operations, however few, so a refusal names the one that met it.
    `tentative`: a refusal is not kept under the request id, because the caller will try another way under it.
    `outbox`: messages that are committed with it. `schema`: what values have to be in that are changed in place, or replaced
    by one in it, or it is SchemaDiffers; None: whatever they are in. `refusal`: it was found elsewhere that the write is
    refused, and that is to be kept under its request id. `checkpoint_every`: each that many changes of a key make a checkpoint of it in the same commit; 0: none.
    `codec`: values are sealed, those of the operations too; what is changed in place is opened and sealed by it.
    """

    namespace: str
    operations: tuple[Operation, ...]
    transaction: bool = False
    ttl_default_ms: int | None = None
    sliding: bool = False
    value_bytes_max: int
    request: WriteId | None = None
    deadline: float | None = None
    tentative: bool = False
    checkpoint_every: int = 0
    outbox: tuple[outbox.Message, ...] = ()
    schema: int | None = None
    refusal: Decision | None = None
    codec: Codec | None = field(default=None, repr=False, compare=False)

    @property
    def told_place(self) -> bytes:
        """Where the values are that it answers."""
        return told_place(self.namespace, self.request.request_id if self.request else "")

    def scope(self, operation: Operation) -> str:
        """The namespace of an operation's key."""
        return LEDGER if type(operation) is Check and operation.ledger else self.namespace

    def name_operation(self, index: int, error: SidecarError) -> None:
        """Put the index of the operation that was refused into the error's metadata, where a caller can use it."""
        if self.transaction or len(self.operations) > 1:
            error.metadata["operation"] = str(index)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationResult:
    """What one operation did. `version` 0: it changed nothing. `value` only where it was asked for."""

    found: bool
    version: int
    expire_time: int | None = None
    value: bytes | None = None
