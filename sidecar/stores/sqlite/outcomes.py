"""What a request id did, as a row of `requests`: applied, refused, or the progress of a deletion by prefix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from sidecar.core.errors import Decision, decision_from_record, decision_record, store_corrupt
from sidecar.core.operations import OperationResult, WriteId
from sidecar.core.store import Outcome, PrefixProgress, request_id_reused

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a deletion came, and the last key that it looked at."""

    progress: PrefixProgress
    after: str | None


Recorded = Outcome | Decision | Progress
"""What is kept under a request id."""


def encode(namespace: str, request: WriteId, recorded: Recorded, now: int) -> Row:
    """The parameters of `store request`."""
    returned = b""
    if isinstance(recorded, Outcome):
        outcome = _applied(recorded)
        returned = b"".join([result.value for result in recorded.results if result.value is not None])
    elif isinstance(recorded, Progress):
        outcome = json.dumps({"progress": _progress_record(recorded)})
    else:
        outcome = json.dumps({"refused": decision_record(recorded)})
    at = (namespace.encode(), request.request_id.encode())
    payload = (request.fingerprint, now, outcome.encode(), returned)
    return (*at, request.fingerprint, now, _checksum(at, payload), *payload[2:])


def decode(namespace: str, request: WriteId, row: Sequence[Any]) -> Recorded:
    """What a row of `load request` tells; `Outcome`s are marked as replayed. Raises REQUEST_ID_REUSED, or DataLoss."""
    payload = tuple(row[:4])
    if row[4] != _checksum((namespace.encode(), request.request_id.encode()), payload):
        raise store_corrupt("what a request id did does not verify")
    fingerprint, _, outcome, returned = payload
    if fingerprint != request.fingerprint:
        raise request_id_reused(request)
    record = json.loads(outcome)
    match record:
        case {"refused": refusal}:
            return decision_from_record(refusal)
        case {"progress": [horizon, deleted_count, done, after]}:
            progress = PrefixProgress(horizon=horizon, deleted_count=deleted_count, done=done)
            return Progress(progress, after)
        case {"version": version, "results": results}:
            return Outcome(version=version, results=_results(results, returned), replayed=True)
        case _:
            raise store_corrupt("what a request id did is in no known form")


def refused_again(refusal: Decision) -> Decision:
    """A twin of a refusal, to raise beside it."""
    return decision_from_record(decision_record(refusal))


def _applied(outcome: Outcome) -> str:
    # Written out: this is on the path of every write, and json.dumps costs as much as the insertion.
    results = ",".join(
        [
            f"[{result.found:d},{result.version},"
            f"{'null' if result.expire_time is None else result.expire_time},"
            f"{'null' if result.value is None else len(result.value)}]"
            for result in outcome.results
        ]
    )
    return f'{{"version":{outcome.version},"results":[{results}]}}'


def _results(records: list[list[Any]], returned: bytes) -> tuple[OperationResult, ...]:
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


def _checksum(at: tuple[bytes, bytes], payload: Row) -> int:
    fingerprint, now, outcome, returned = payload
    return crc32(repr((at, fingerprint, now, outcome)).encode(), crc32(returned) if returned else 0)
