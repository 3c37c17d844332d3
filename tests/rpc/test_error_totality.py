"""No error without a code, no reason that the protos don't name, no reason named that doesn't exist."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

import sidecar
from sidecar.core import errors
from sidecar.rpc import status
from tests.rpc.error_table import CASES

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos" / "statesidecar" / "v1"
SOURCES = ROOT / "sidecar"
SECURED = {
    *("TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_KEYS_UNAVAILABLE", "METHOD_DENIED", "NAMESPACE_DENIED"),
    *("QUOTA_EXCEEDED", "ENCRYPTION_KEY_MISSING", "ENCRYPTION_KEY_AWAY"),
}
"""What any RPC may answer where callers are told apart, or values are sealed: the service's own comment names them."""
ANYWHERE = {"INTERNAL", "FIELD_UNKNOWN", "DRAINING", "QUEUE_FULL", "DEADLINE_EXCEEDED"} | SECURED
"""What any RPC may answer."""
BASES = {"REQUEST_INVALID", "FAILED_PRECONDITION", "UNAUTHENTICATED", "PERMISSION_DENIED"}
"""Defaults of classes that are never raised without a reason of their own."""
UNREACHED = {"BLOB_CORRUPT", "SINK_UNAVAILABLE"}
"""Of what no RPC asks: a blob that is told as its entry's, and the sinks, to which the relay alone goes."""


def error_classes() -> list[type[errors.SidecarError]]:
    for module in pkgutil.walk_packages(sidecar.__path__, "sidecar."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: list[type[errors.SidecarError]] = []
    waiting: list[type[errors.SidecarError]] = [errors.SidecarError]
    while waiting:
        below = waiting.pop().__subclasses__()
        found += below
        waiting += below
    return found


def raised_reasons() -> set[str]:
    """Every reason in the daemon's source."""
    found: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        text = path.read_text()
        constants = dict(re.findall(r'^([A-Z_]+) = "([A-Z_]+)"$', text, re.MULTILINE))
        for given in re.findall(r"\breason=([^,)\n]+)", text):
            found |= set(re.findall(r'"([A-Z_]+)"', given))
            found |= {constants[name] for name in re.findall(r"\b[A-Z_]+\b", given) if name in constants}
        found |= set(re.findall(r'default_reason = "([A-Z_]+)"', text))
    return found


def named_reasons() -> dict[str, set[str]]:
    """The reasons that the protos name, by RPC; "those of X" is followed."""
    own: dict[str, set[str]] = {}
    inherited: dict[str, set[str]] = {}
    for path in PROTOS.glob("*_service.proto"):
        for comment, rpc in re.findall(r"((?:^  //[^\n]*\n)+)  rpc (\w+)\(", path.read_text(), re.MULTILINE):
            reasons = " ".join(re.findall(r"// ?(.*)", comment)).partition("Reasons:")[2].partition(";")[0]
            own[rpc] = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|\bDRAINING\b|\bPASSTHROUGH\b", reasons))
            inherited[rpc] = set(re.findall(r"\b(?:those of|and) ([A-Z][A-Za-z]+)\b", reasons)) - own[rpc]

    def all_of(rpc: str) -> set[str]:
        return own[rpc].union(*(all_of(other) for other in inherited[rpc]))

    return {rpc: all_of(rpc) for rpc in own}


def reasons_of_dead_writes() -> set[str]:
    """Those that are not of errors, as the proto's field names them."""
    comment, _, _ = (PROTOS / "admin_service.proto").read_text().partition("  string reason = ")
    return set(re.findall(r"\b[A-Z]+_[A-Z]+\b|\bSUPERSEDED\b|\bEXPIRED\b", comment.rpartition(";")[2]))


def test_every_error_has_a_code_of_its_own_or_its_bases() -> None:
    for error in error_classes():
        assert any(base in status.CODES for base in error.__mro__), error


def test_every_code_of_the_contract_is_in_the_table() -> None:
    assert set(status.CODES.values()) == {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.INTERNAL,
    }


def test_what_any_rpc_may_answer_is_said_of_the_service() -> None:
    comment = (PROTOS / "state_service.proto").read_text().partition("service StateService")[0]

    assert set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", comment)) - {"FIELD_UNKNOWN"} == SECURED
    assert raised_reasons() >= SECURED


def test_every_reason_in_the_code_is_named_by_the_protos() -> None:
    named = set().union(*named_reasons().values()) | ANYWHERE | reasons_of_dead_writes()

    assert raised_reasons() - named - BASES - UNREACHED == set()


def test_every_reason_that_a_built_rpc_names_exists_in_the_code() -> None:
    named = set().union(*(reasons for reasons in named_reasons().values()))

    assert named - raised_reasons() == set()


def test_every_reason_that_is_told_of_dead_writes_exists_in_the_code() -> None:
    assert len(reasons_of_dead_writes()) >= 5
    assert reasons_of_dead_writes() - raised_reasons() == set()


def test_every_reason_of_the_table_is_named_by_its_rpc() -> None:
    named = named_reasons()
    missing = {(case.rpc, case.reason) for case in CASES if case.reason not in named.get(case.rpc, set()) | ANYWHERE}

    assert missing == set()


@pytest.mark.parametrize(
    "error",
    [
        errors.StoreUnavailable("x"),
        errors.Passthrough("x"),
        errors.Draining("x", retry_after_s=0.5),
        errors.LimitExceeded("x", retry_after_s=0.25),
        errors.storage_full("x"),
    ],
    ids=lambda error: error.reason,
)
def test_what_may_be_tried_again_says_when(error: errors.Unavailable | errors.LimitExceeded) -> None:
    told = status.to_status(error)

    retry = error_details_pb2.RetryInfo()
    assert told.details[1].Unpack(retry)
    assert retry.retry_delay.ToNanoseconds() == int(error.retry_after_s * 1e9) > 0


def test_an_unknown_outcome_is_never_told_as_unavailable() -> None:
    assert status.code_of(errors.OutcomeUnknown("x")) is grpc.StatusCode.UNKNOWN
    assert status.code_of(errors.OutcomeUnknown("x", timed_out=True)) is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_decision_survives_its_record() -> None:
    for error in (
        errors.VersionConflict(key="k", expected_version=1, current_version=2),
        errors.FailedPrecondition("message", reason="NOT_JSON", metadata={"a": "b"}),
        errors.InvalidRequest("message", reason="VALUE_TOO_LARGE", field="operation", metadata={"a": "b"}),
    ):
        error.metadata["operation"] = "3"

        again = errors.decision_from_record(errors.decision_record(error))

        assert type(again) is type(error)
        assert status.to_status(again) == status.to_status(error)


def test_a_bug_is_told_without_detail(caplog: pytest.LogCaptureFixture) -> None:
    told = status.to_status(status.as_sidecar_error(KeyError("secret"), "Get"))

    assert told.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in str(told)
    assert "secret" in caplog.text


def test_a_long_message_is_the_same_in_status_and_details() -> None:
    told = status.to_status(errors.StoreUnavailable("x" * 10_000))

    assert len(told.message) == 1024


def test_no_error_class_is_left_undocumented() -> None:
    assert all(inspect.getdoc(error) for error in error_classes())
