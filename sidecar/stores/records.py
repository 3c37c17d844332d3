"""What a request id did, as a row: applied, refused, or the progress of a deletion by prefix.

A row is trusted only after its checksum verifies. The outcome is JSON, the values that were returned are beside it in one
piece.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

from sidecar.core.errors import Decision, decision_from_record, decision_record, store_corrupt
from sidecar.core.operations import OperationResult, WriteId
from sidecar.core.store import Outcome, PrefixProgress, request_id_reused


class RequestRow(NamedTuple):
    """A row as it is stored."""

    namespace: bytes
    request_id: bytes
    fingerprint: bytes
    create_time: int
    checksum: int
    outcome: bytes
    returned: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a deletion came, and the last key that it looked at."""

    progress: PrefixProgress
    after: str | None


Recorded = Outcome | Decision | Progress
"""What is kept under a request id."""


def encode(namespace: str, request: WriteId, recorded: Recorded, now: int) -> RequestRow:
    """The row of what a request id did."""
    returned = b""
    if isinstance(recorded, Outcome):
        outcome = _applied(recorded)
        returned = b"".join([result.value for result in recorded.results if result.value is not None])
    elif isinstance(recorded, Progress):
        outcome = json.dumps({"progress": _progress_record(recorded)}).encode()
    else:
        outcome = json.dumps({"refused": decision_record(recorded)}).encode()
    at = (namespace.encode(), request.request_id.encode())
    checksum = _checksum(at, request.fingerprint, now, outcome, returned)
    return RequestRow(*at, request.fingerprint, now, checksum, outcome, returned)


def decode(request: WriteId, row: RequestRow) -> Recorded:
    """What a row tells; `Outcome`s are marked as replayed. Raises REQUEST_ID_REUSED, or DataLoss."""
    namespace, request_id, fingerprint, create_time, checksum, outcome, returned = row
    if checksum != _checksum((namespace, request_id), fingerprint, create_time, outcome, returned):
        raise store_corrupt("what a request id did does not verify")
    if fingerprint != request.fingerprint:
        raise request_id_reused(request)
    record = json.loads(outcome)
    match record:
        case {"refused": refusal}:
            return decision_from_record(refusal)
        case {"progress": [horizon, deleted_count, done, after]}:
            return Progress(PrefixProgress(horizon=horizon, deleted_count=deleted_count, done=done), after)
        case {"version": version, "results": results}:
            return Outcome(version=version, results=_results(results, returned), replayed=True)
        case _:
            raise store_corrupt("what a request id did is in no known form")


def repeated(recorded: Recorded) -> Recorded:
    """What the first of two equal requests did, for the second: a refusal is a twin, to be raised beside the first."""
    if isinstance(recorded, Outcome):
        return Outcome(version=recorded.version, results=recorded.results, replayed=True)
    if isinstance(recorded, Progress):
        return recorded
    return decision_from_record(decision_record(recorded))


def _applied(outcome: Outcome) -> bytes:
    # Written out: this is on the path of every write, and json.dumps costs as much as the insertion.
    results = ",".join(
        [
            f"[{result.found:d},{result.version},"
            f"{'null' if result.expire_time is None else result.expire_time},"
            f"{'null' if result.value is None else len(result.value)}]"
            for result in outcome.results
        ]
    )
    return f'{{"version":{outcome.version},"results":[{results}]}}'.encode()


def _results(records: Sequence[Sequence[Any]], returned: bytes) -> tuple[OperationResult, ...]:
    results = []
    position = 0
    for found, version, expire_time, length in records:
        value = None
        if length is not None:
            value = returned[position : position + length]
            position += length
        results.append(OperationResult(found=bool(found), version=version, expire_time=expire_time, value=value))
    return tuple(results)


def _progress_record(recorded: Progress) -> list[Any]:
    progress = recorded.progress
    return [progress.horizon, progress.deleted_count, progress.done, recorded.after]


def _checksum(at: tuple[bytes, bytes], fingerprint: bytes, create_time: int, outcome: bytes, returned: bytes) -> int:
    namespace, request_id = at
    # With the lengths, no two rows are the same bytes.
    checksum = crc32(b"%d %d %d %d %d" % (len(namespace), len(request_id), len(fingerprint), len(outcome), create_time))
    for part in (namespace, request_id, fingerprint, outcome):
        checksum = crc32(part, checksum)
    return crc32(returned, checksum)
