"""Errors: what they carry, and that definite refusals can be kept and raised again."""

from __future__ import annotations

import json

import pytest

from sidecar.core import errors
from sidecar.core.errors import (
    Decision,
    FailedPrecondition,
    InvalidRequest,
    SidecarError,
    VersionConflict,
    decision_from_record,
    decision_record,
)


def subclasses(kind: type[SidecarError]) -> list[type[SidecarError]]:
    found = [kind]
    for below in kind.__subclasses__():
        found += subclasses(below)
    return found


@pytest.mark.parametrize("kind", subclasses(SidecarError), ids=lambda kind: kind.__name__)
def test_every_class_has_a_reason_in_upper_snake_case(kind: type[SidecarError]) -> None:
    assert kind.default_reason.isupper()
    assert kind.default_reason.replace("_", "").isalnum()
    assert kind.__doc__


@pytest.mark.parametrize(
    ("expected", "current", "message"),
    [(0, 7, "expected no entry, found version 7"), (7, 0, "expected version 7, found no entry")],
)
def test_a_conflict_says_what_was_expected_and_found(expected: int, current: int, message: str) -> None:
    conflict = VersionConflict(key="key", expected_version=expected, current_version=current)

    assert conflict.message.startswith(message)
    assert conflict.reason == "VERSION_MISMATCH"
    assert conflict.metadata == {"expected_version": str(expected), "current_version": str(current)}
    assert "key" not in conflict.metadata.values()


def test_an_invalid_request_names_its_field() -> None:
    error = InvalidRequest("bad", reason="KEY_INVALID", field="key", metadata={"size": "9"})

    assert (error.field, error.metadata) == ("key", {"field": "key", "size": "9"})


def test_errors_do_not_share_their_metadata() -> None:
    one, other = FailedPrecondition("a"), FailedPrecondition("b")
    one.metadata["operation"] = "1"

    assert other.metadata == {}


@pytest.mark.parametrize(
    "error",
    [
        VersionConflict(key="é\0", expected_version=1 << 62, current_version=0),
        FailedPrecondition("no counter", reason="NOT_A_COUNTER", metadata={"operation": "3"}),
        InvalidRequest("too large", reason="VALUE_TOO_LARGE", field="operation", metadata={"operation": "0"}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_decision_that_was_kept_is_raised_again_as_it_was(error: Decision) -> None:
    error.metadata["operation"] = "2"

    again = decision_from_record(json.loads(json.dumps(decision_record(error))))

    assert type(again) is type(error)
    assert (again.reason, again.message, again.metadata) == (error.reason, error.message, error.metadata)
    assert vars(again) == vars(error)


def test_a_kept_decision_is_not_changed_by_what_becomes_of_the_raised_one() -> None:
    record = decision_record(FailedPrecondition("no", reason="NOT_JSON"))
    decision_from_record(record).metadata["operation"] = "9"

    assert decision_from_record(record).metadata == {}


def test_only_what_follows_from_the_stored_state_is_a_decision() -> None:
    for kind in subclasses(SidecarError):
        definite = issubclass(kind, VersionConflict | FailedPrecondition | InvalidRequest)
        assert issubclass(kind, Decision) == definite
    for kind in (errors.Unavailable, errors.OutcomeUnknown, errors.LimitExceeded, errors.DataLoss, errors.Defect):
        assert not issubclass(kind, Decision)


def test_a_full_store_says_when_to_come_back_and_a_corrupt_one_does_not() -> None:
    full, corrupt = errors.storage_full("full"), errors.store_corrupt("corrupt")

    assert (full.reason, full.retry_after_s) == ("STORAGE_FULL", 5.0)
    assert corrupt.reason == "STORE_CORRUPT"
    assert isinstance(corrupt, errors.DataLoss)
    assert not hasattr(corrupt, "retry_after_s")
