"""Between protos and the core's values, for checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.checkpoints import Record
from sidecar.core.entry import Entry
from sidecar.core.errors import InvalidRequest
from sidecar.engine.checkpoints import CheckpointPage, Restored, Snapshot
from sidecar.rpc import convert
from statesidecar.v1 import state_service_pb2 as pb


def info(record: Record) -> pb.CheckpointInfo:
    """A checkpoint without its entries."""
    return pb.CheckpointInfo(
        checkpoint_id=record.checkpoint_id,
        key=record.key or "",
        key_prefix=record.key_prefix or "",
        label=record.label,
        metadata=record.metadata,
        parent_id=record.parent_id,
        create_time=convert.timestamp(record.create_time),
        entry_count=record.entry_count,
        value_bytes=record.value_bytes,
        automatic=record.automatic,
        stored_bytes=record.stored_bytes,
    )


def get_response(snapshot: Snapshot, *, bytes_max: int) -> pb.GetCheckpointResponse:
    """A checkpoint with its entries. RESPONSE_TOO_LARGE above what a message holds."""
    _refuse_too_large(_value_bytes(snapshot.entries), bytes_max)
    response = pb.GetCheckpointResponse(
        checkpoint=info(snapshot.record),
        entries=[convert.entry(entry) for entry in snapshot.entries],
        mode=convert.wire(snapshot.mode),
    )
    _refuse_too_large(response.ByteSize(), bytes_max)
    return response


def list_response(page: CheckpointPage) -> pb.ListCheckpointsResponse:
    """A page of checkpoints."""
    return pb.ListCheckpointsResponse(
        checkpoints=[info(record) for record in page.records],
        next_page_token=page.next_page_token,
        mode=convert.wire(page.mode),
    )


def restore_response(restored: Restored, *, bytes_max: int) -> pb.RestoreResponse:
    """What was restored, as much of it as a message holds: it is done, and can't be refused for being large."""
    entries: Sequence[Entry] = restored.entries
    if _value_bytes(entries) > bytes_max:
        entries = [entry._replace(value=b"") for entry in entries]
    response = _restored(restored, entries)
    if response.ByteSize() > bytes_max:
        response = _restored(restored, [entry._replace(value=b"") for entry in entries])
    if response.ByteSize() > bytes_max:
        response = _restored(restored, ())
    return response


def _restored(restored: Restored, entries: Sequence[Entry]) -> pb.RestoreResponse:
    return pb.RestoreResponse(
        entries=[convert.entry(entry) for entry in entries],
        version=restored.version,
        mode=convert.wire(restored.mode),
    )


def _value_bytes(entries: Sequence[Entry]) -> int:
    return sum(len(entry.value) for entry in entries)


def _refuse_too_large(size: int, bytes_max: int) -> None:
    if size > bytes_max:
        raise InvalidRequest(
            f"the checkpoint has {size} bytes, at most {bytes_max} fit one response; restore it, and read its keys",
            reason="RESPONSE_TOO_LARGE",
            field="checkpoint_id",
        )
