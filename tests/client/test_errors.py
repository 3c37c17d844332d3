"""From a status on the wire to an error a caller can act on."""

from __future__ import annotations

import pickle

import grpc
import pytest
from google.protobuf import descriptor_pool
from hypothesis import given
from hypothesis import strategies as st

from statesidecar import InternalError, StateSidecarError, Unavailable, VersionConflict, WriteOutcomeUnknown, errors
from statesidecar._status import ERROR_CLASSES, decode_details, error_of
from statesidecar.v1 import types_pb2
from tests.client.scripted import status

Code = grpc.StatusCode
DETAILS = "grpc-status-details-bin"

# The error table of the contract: what a caller does about each.
CONTRACT = [
    (Code.INVALID_ARGUMENT, "KEY_INVALID", errors.InvalidRequest),
    (Code.INVALID_ARGUMENT, "REQUEST_ID_REUSED", errors.InvalidRequest),
    (Code.ABORTED, "VERSION_MISMATCH", errors.VersionConflict),
    (Code.FAILED_PRECONDITION, "SCHEMA_TOO_NEW", errors.FailedPrecondition),
    (Code.FAILED_PRECONDITION, "EPOCH_CHANGED", errors.FailedPrecondition),
    (Code.NOT_FOUND, "CHECKPOINT_NOT_FOUND", errors.NotFound),
    (Code.OUT_OF_RANGE, "OUT_OF_RANGE", errors.WatchExpired),
    (Code.UNAVAILABLE, "AUTHORITY_UNAVAILABLE", errors.Unavailable),
    (Code.UNAVAILABLE, "PASSTHROUGH", errors.Unavailable),
    (Code.UNAVAILABLE, "DRAINING", errors.Unavailable),
    (Code.UNKNOWN, "WRITE_OUTCOME_UNKNOWN", errors.WriteOutcomeUnknown),
    (Code.DEADLINE_EXCEEDED, "WRITE_OUTCOME_UNKNOWN", errors.WriteOutcomeUnknown),
    (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", errors.DeadlineExceeded),
    (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", errors.LimitExceeded),
    (Code.UNIMPLEMENTED, "CAPABILITY_MISSING", errors.CapabilityMissing),
    (Code.DATA_LOSS, "ENTRY_CORRUPT", errors.DataLoss),
    (Code.UNAUTHENTICATED, "TOKEN_INVALID", errors.Unauthenticated),
    (Code.UNAUTHENTICATED, "", errors.Unauthenticated),
    (Code.PERMISSION_DENIED, "METHOD_DENIED", errors.PermissionDenied),
    (Code.PERMISSION_DENIED, "", errors.PermissionDenied),
    (Code.INTERNAL, "INTERNAL", errors.InternalError),
]


def on_the_wire(code: grpc.StatusCode, reason: str, **details: object) -> StateSidecarError:
    sent = status(code, reason, **details)  # type: ignore[arg-type]  # passed on
    return error_of(code, sent.message, [("other", "x"), (DETAILS, sent.SerializeToString())])


@pytest.mark.parametrize(("code", "reason", "cls"), CONTRACT, ids=lambda value: getattr(value, "__name__", str(value)))
def test_the_contract_s_table(code: grpc.StatusCode, reason: str, cls: type[StateSidecarError]) -> None:
    error = on_the_wire(code, reason, metadata={"limit": "3"} if reason else None)

    assert type(error) is cls
    assert (error.code, error.reason) == (code, reason)
    assert error.metadata == ({"limit": "3"} if reason else {})
    assert "said no" in str(error)


def test_the_table_is_total_over_grpc_codes() -> None:
    by_code = {code for code, reason in ERROR_CLASSES if not reason}

    assert by_code == set(Code) - {Code.OK}
    assert all(issubclass(cls, StateSidecarError) for cls in ERROR_CLASSES.values())
    assert StateSidecarError not in ERROR_CLASSES.values(), "the root says nothing about what to do"


def test_every_error_of_the_tree_has_a_status_that_brings_it() -> None:
    leaves = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, StateSidecarError)} - {
        StateSidecarError,
        errors._Retryable,
    }

    assert leaves == set(ERROR_CLASSES.values())


def test_details_reach_the_error() -> None:
    info = types_pb2.ConflictInfo(key="alice", expected_version=3, current_version=0)
    conflict = on_the_wire(Code.ABORTED, "VERSION_MISMATCH", conflict=info)
    away = on_the_wire(Code.UNAVAILABLE, "PASSTHROUGH", retry_after_s=1.25)

    assert isinstance(conflict, VersionConflict)
    assert (conflict.key, conflict.expected_version, conflict.current_version) == ("alice", 3, 0)
    assert isinstance(away, Unavailable)
    assert away.retry_after_s == 1.25


def test_a_conflict_without_details_doesn_t_invent_versions() -> None:
    error = error_of(Code.ABORTED, "lost", ())

    assert isinstance(error, VersionConflict)
    assert error.current_version is None


def test_another_service_s_reason_is_not_ours() -> None:
    sent = status(Code.UNKNOWN, "WRITE_OUTCOME_UNKNOWN").SerializeToString().replace(b"state-sidecar", b"other-service")

    assert type(error_of(Code.UNKNOWN, "no", [(DETAILS, sent)])) is InternalError


@given(st.binary(max_size=200))
def test_garbage_in_the_details_leaves_the_code(data: bytes) -> None:
    error = error_of(Code.UNAVAILABLE, "no", [(DETAILS, data)])

    assert isinstance(error, Unavailable)


@given(st.data())
def test_a_cut_status_is_read_as_far_as_it_goes_or_not_at_all(data: st.DataObject) -> None:
    whole = status(Code.ABORTED, "VERSION_MISMATCH", metadata={"a": "b"}).SerializeToString()
    cut = data.draw(st.integers(0, len(whole)))

    assert decode_details(whole[:cut]).reason in {"", "VERSION_MISMATCH"}


def test_the_decoder_leaves_the_default_pool_alone() -> None:
    decode_details(b"")

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("statesidecar.details.Status")


@pytest.mark.parametrize("cls", dict.fromkeys(ERROR_CLASSES.values()))
def test_errors_survive_pickling_between_processes(cls: type[StateSidecarError]) -> None:
    error = cls("REASON", "in words", metadata={"a": "b"}, code=Code.ABORTED)

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is cls
    assert str(copy) == str(error) == "REASON: in words"
    assert vars(copy) == vars(error)


def test_an_unknown_outcome_keeps_its_request_id_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(WriteOutcomeUnknown("R", "m", request_id="id")))

    assert copy.request_id == "id"
