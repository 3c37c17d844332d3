"""Policies and modes: the presets of the contract, and which namespace gets which."""

from __future__ import annotations

import pytest

from sidecar.core.modes import Durability, ServingMode, Tier, serving_mode
from sidecar.core.policy import PRESETS, Authority, Kind, OnOutage, Policy, PolicyTable, Reconcile
from statesidecar.v1 import types_pb2


def test_every_kind_has_a_preset_of_that_kind() -> None:
    assert {kind: policy.kind for kind, policy in PRESETS.items()} == {kind: kind for kind in Kind}


def test_sessions_slide_for_half_an_hour() -> None:
    policy = PRESETS[Kind.SESSION]

    assert (policy.ttl_ms, policy.sliding, policy.authority) == (30 * 60 * 1000, True, Authority.WARM)
    assert policy.on_outage is OnOutage.PASSTHROUGH


def test_processes_reject_in_an_outage_and_are_checkpointed() -> None:
    policy = PRESETS[Kind.PROCESS]

    assert (policy.ttl_ms, policy.on_outage) == (None, OnOutage.REJECT)
    assert (policy.checkpoint.every, policy.checkpoint.keep) == (5, 20)


def test_models_are_held_near() -> None:
    assert PRESETS[Kind.MODEL].near.enabled
    assert not any(policy.near.enabled for kind, policy in PRESETS.items() if kind is not Kind.MODEL)


def test_system_state_is_volatile_for_a_fixed_hour() -> None:
    policy = PRESETS[Kind.SYSTEM]

    assert (policy.authority, policy.ttl_ms, policy.sliding) == (Authority.HOT, 3_600_000, False)


def test_anything_else_does_not_end() -> None:
    policy = PRESETS[Kind.DEFAULT]

    assert (policy.authority, policy.ttl_ms, policy.on_outage) == (Authority.WARM, None, OnOutage.PASSTHROUGH)
    assert policy.reconcile is Reconcile.REJECT
    assert policy.value_bytes_max == 4 * 1024 * 1024


def test_a_namespace_named_after_a_preset_gets_it() -> None:
    table = PolicyTable()

    assert [table.of(kind.value) for kind in Kind] == [PRESETS[kind] for kind in Kind]


@pytest.mark.parametrize("name", ["anything", "Session", "session ", ""])
def test_any_other_namespace_gets_the_default(name: str) -> None:
    assert PolicyTable().of(name) == PRESETS[Kind.DEFAULT]


def test_a_configured_namespace_goes_before_its_preset() -> None:
    own, default = Policy(ttl_ms=5), Policy(ttl_ms=7)
    table = PolicyTable({"session": own, "default": default, "mine": own})

    assert [table.of(name).ttl_ms for name in ("session", "mine", "anything", "default")] == [5, 5, 7, 7]
    assert table.of("system") == PRESETS[Kind.SYSTEM]


@pytest.mark.parametrize(
    ("answers", "copies", "recovering", "mode"),
    [
        (True, True, False, ServingMode.NORMAL),
        (True, False, False, ServingMode.NORMAL),
        (True, True, True, ServingMode.DEGRADED),
        (True, False, True, ServingMode.DEGRADED),
        (False, True, True, ServingMode.DEGRADED),
        (False, True, False, ServingMode.DEGRADED),
        (False, False, False, ServingMode.PASSTHROUGH),
        (False, False, True, ServingMode.PASSTHROUGH),
    ],
)
def test_the_mode_says_what_can_be_honoured(answers: bool, copies: bool, recovering: bool, mode: ServingMode) -> None:
    assert serving_mode(authority_answers=answers, copies_answer=copies, recovering=recovering) is mode


@pytest.mark.parametrize(
    ("numbers", "message", "prefix", "nothing"),
    [
        (ServingMode, types_pb2.ServingMode, "SERVING_MODE_", None),
        (Tier, types_pb2.Tier, "TIER_", "NONE"),
        (Durability, types_pb2.Durability, "DURABILITY_", "NONE"),
    ],
    ids=["mode", "tier", "durability"],
)
def test_the_numbers_are_those_of_the_protos(
    numbers: type[ServingMode | Tier | Durability], message: object, prefix: str, nothing: str | None
) -> None:
    ours = {f"{prefix}{member.name}": member.value for member in numbers if member.name != nothing}

    theirs = dict(message.items())  # type: ignore[attr-defined]  # an enum wrapper of the generated code
    assert {name: number for name, number in theirs.items() if number} == ours
