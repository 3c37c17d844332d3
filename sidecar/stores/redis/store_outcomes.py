"""What a write did, in the form in which its script answers it and keeps it under the request id."""

from __future__ import annotations

import json
import struct

from sidecar.core.errors import (
    Decision,
    FailedPrecondition,
    VersionConflict,
    decision_from_record,
    decision_record,
    store_corrupt,
)
from sidecar.core.operations import Check, OperationResult, Put, Remove, Write, WriteId
from sidecar.core.store import Outcome, request_id_reused
from sidecar.stores.redis.store_rows import DIGEST_LENGTH, Shard, digest, field_of

APPLIED, CONFLICT, NEWER_EPOCH, REFUSED, DELETION = b"A", b"C", b"E", b"J", b"D"
_RECORD = struct.Struct(">QH")
_SEQUENCE = struct.Struct(">Q")
_RESULT = struct.Struct(">BQI")
_REFUSAL = struct.Struct(">IQ")
FOUND, CHANGED, WANTS = 1, 2, 4


def recorded(namespace: str, request: WriteId, record: bytes) -> bytes:
    """The outcome in a record of a request id. Raises REQUEST_ID_REUSED, DataLoss."""
    begin = DIGEST_LENGTH + _RECORD.size
    sealed = digest(field_of(namespace, request.request_id) + record[DIGEST_LENGTH:])
    if record[:DIGEST_LENGTH] != sealed or len(record) <= begin:
        raise store_corrupt("what a request id did does not verify")
    _, length = _RECORD.unpack_from(record, DIGEST_LENGTH)
    outcome = record[begin + length :]
    if record[begin : begin + length] != request.fingerprint or outcome[:1] == DELETION:
        raise request_id_reused(request)
    return outcome


def decode(write: Write, outcome: bytes, shard: Shard, *, replayed: bool) -> Outcome:
    """What an outcome tells, without copies. Raises the Decision that it is, and DataLoss for what is none."""
    try:
        found = _applied(outcome, shard, replayed) if outcome[:1] == APPLIED else _refusal(write, outcome, shard)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error) as exc:
        raise store_corrupt("what a write did is in no known form") from exc
    if isinstance(found, Outcome):
        return found
    raise found


def _applied(outcome: bytes, shard: Shard, replayed: bool) -> Outcome:
    (sequence,) = _SEQUENCE.unpack_from(outcome, 1)
    version = shard.version(sequence)
    results: list[OperationResult] = []
    position = 1 + _SEQUENCE.size
    while position < len(outcome):
        flags, expire_time, length = _RESULT.unpack_from(outcome, position)
        position += _RESULT.size
        results.append(
            OperationResult(
                found=bool(flags & FOUND),
                version=version if flags & CHANGED else 0,
                expire_time=expire_time or None,
                value=outcome[position : position + length] if flags & WANTS else None,
            )
        )
        position += length
    return Outcome(version=version, results=tuple(results), replayed=replayed)


def encode_refusal(refusal: Decision) -> bytes:
    """A refusal that the daemon found, with the operation named in its metadata."""
    return json.dumps(decision_record(refusal)).encode()


def _refusal(write: Write, outcome: bytes, shard: Shard) -> Decision:
    kind = outcome[:1]
    if kind == REFUSED:
        return decision_from_record(json.loads(outcome[1:]))
    index, found = _REFUSAL.unpack_from(outcome, 1)
    operation = write.operations[index]
    if kind not in (CONFLICT, NEWER_EPOCH) or not isinstance(operation, Put | Remove | Check):
        raise ValueError("only these have guards")
    expected = operation.expected_version or 0
    error: Decision
    if kind == NEWER_EPOCH:
        error = FailedPrecondition(
            "the expected version is of a newer epoch: the store has gone back in time, read the key again",
            reason="EPOCH_CHANGED",
            metadata={"expected_version": str(expected)},
        )
    else:
        error = VersionConflict(key=operation.key, expected_version=expected, current_version=shard.version(found))
    write.name_operation(index, error)
    return error
