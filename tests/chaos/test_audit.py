"""Audits: a clean run has no finding, and each rule finds what it is for."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.chaos.audit import Audit, Evidence, audit, converged, final_states
from tests.chaos.generated import legal
from tests.chaos.history import Kind, Operation, Outcome
from tests.chaos.register import Register, State, of_register
from tests.chaos.versions import check

AT = ("space", "key")


def op(kind: Kind, invoke: float, **fields: Any) -> Operation:
    """A call of a process of its own that took one second, and was answered OK."""
    plain: dict[str, Any] = {"process": int(invoke), "namespace": "space", "key": "key", "outcome": Outcome.OK}
    named = {"request_id": f"request-{invoke:g}", "complete": invoke + 1, "mode": "NORMAL"}
    return Operation(kind=kind, invoke=invoke, **plain | named | fields)


def append(invoke: float, item: int, version: int = 0, **fields: Any) -> Operation:
    return op(
        Kind.UPDATE_APPEND, invoke, **{"value": b"[%d]" % item, "version": version, "durability": "COMMITTED"} | fields
    )


def add(invoke: float, delta: int, version: int = 0, **fields: Any) -> Operation:
    return op(
        Kind.UPDATE_INCREMENT,
        invoke,
        **{"value": b"%d" % delta, "version": version, "durability": "COMMITTED"} | fields,
    )


def put(invoke: float, value: bytes, version: int = 0, **fields: Any) -> Operation:
    return op(Kind.SET, invoke, **{"value": value, "version": version, "durability": "COMMITTED"} | fields)


def cached(invoke: float, value: bytes | None, version: int, **fields: Any) -> Operation:
    return op(Kind.GET_CACHED, invoke, read=value, version=version, **fields)


def strong(invoke: float, value: bytes | None, version: int, **fields: Any) -> Operation:
    return op(Kind.GET_STRONG, invoke, read=value, version=version, **fields)


UNKNOWN: dict[str, Any] = {"outcome": Outcome.UNKNOWN, "complete": None, "durability": "", "version": 0}
FAILED: dict[str, Any] = {"outcome": Outcome.FAILED, "durability": "", "version": 0}
BUFFERED: dict[str, Any] = {"durability": "BUFFERED", "mode": "DEGRADED", "version": 0}
DISCARDED: dict[str, Any] = {"durability": "DISCARDED", "mode": "PASSTHROUGH", "version": 0}


def audited(history: list[Operation], value: bytes | None = None, version: int = 99, **evidence: Any) -> Audit:
    """The audit of a key that ended with a value."""
    return audit(history, Evidence(final={AT: (version if value is not None else 0, value)}, **evidence))


def rules(history: list[Operation], value: bytes | None = None, version: int = 99, **evidence: Any) -> list[str]:
    return [finding.rule for finding in audited(history, value, version, **evidence).findings]


MIXED = [
    append(1, 1, 10),
    append(3, 2, **UNKNOWN),
    append(5, 3, **FAILED),
    append(7, 4, **BUFFERED),
    append(9, 5, **DISCARDED),
]


@pytest.mark.parametrize(
    ("value", "dead", "found"),
    [
        (b"[1,4]", [], 0),
        (b"[1,2,4]", [], 0),
        (b"[4,2,1]", [], 0),
        (b"[1]", None, 0),
        (b"[1]", ["request-7"], 0),
        (b"[1]", [], 1),
        (b"[1,4]", ["request-7"], 1),
        (b"[4]", [], 1),
        (b"[1,1,4]", [], 1),
        (b"[1,2,2,4]", [], 1),
        (b"[1,3,4]", [], 1),
        (b"[1,4,5]", [], 1),
        (b"[1,4,4]", [], 1),
        (b"[1,4,6]", [], 1),
        (b"{}", [], 1),
        (b"spoilt", [], 1),
        (None, [], 2),
    ],
)
def test_every_item_is_there_as_often_as_its_answer_says(
    value: bytes | None, dead: list[str] | None, found: int
) -> None:
    result = audited(MIXED, value, dead=dead)

    assert [finding.rule for finding in result.findings if finding.rule == "items"] == ["items"] * found
    assert result.checked["items"] == (0 if value in (b"{}", b"spoilt") else len(MIXED))


SUMMED = [add(1, 10, 10), add(3, 3, **UNKNOWN), add(5, 4, **UNKNOWN), add(7, 100, **BUFFERED), add(9, 1000, **FAILED)]


@pytest.mark.parametrize(
    ("value", "dead", "found"),
    [
        *[(value, [], 0) for value in (b"110", b"113", b"114", b"117")],
        (b"10", ["request-7"], 0),
        (b"10", None, 0),
        (b"113", ["request-7"], 1),
        *[(value, [], 1) for value in (b"10", b"109", b"111", b"118", b"120", b"1110", b"[]", None)],
    ],
)
def test_a_counter_is_what_was_acknowledged_and_some_of_what_was_not(
    value: bytes | None, dead: list[str] | None, found: int
) -> None:
    result = audited(SUMMED, value, dead=dead)

    assert [finding.rule for finding in result.findings] == ["sums"] * found
    assert result.checked["sums"] == 1


def test_only_bounds_are_checked_where_there_are_too_many_sums() -> None:
    calls = [add(number, 2 << number, **UNKNOWN) for number in range(24)]

    assert rules(calls, b"1") == []
    assert rules(calls, b"-1") == ["sums"]
    assert rules(calls, b"%d" % (2 << 24)) == ["sums"]


def test_a_key_that_is_also_set_is_no_ledger() -> None:
    assert rules([*MIXED, put(11, b"[]", 11)], b"[]") == []
    assert rules([*MIXED, put(11, b"[]", **FAILED)], b"[]") != []


@pytest.mark.parametrize(
    ("history", "final", "found"),
    [
        ([put(1, b"a", 10), put(3, b"b", 11)], 11, 0),
        ([put(1, b"a", 10), put(1.5, b"b", 9)], 10, 0),
        ([put(1, b"a", 10), put(3, b"b", 9)], 10, 1),
        ([put(1, b"a", 10), strong(3, b"a", 10)], 10, 0),
        ([put(1, b"a", 10), strong(3, b"z", 9)], 10, 1),
        ([strong(1, b"a", 10), put(3, b"b", 10)], 10, 1),
        ([put(1, b"a", 10), op(Kind.CAS, 3, value=b"b", version=9, outcome=Outcome.CONFLICT)], 10, 1),
        ([put(1, b"a", 10), put(3, b"b", **BUFFERED), put(5, b"b", **DISCARDED)], 10, 0),
        ([put(1, b"a", 10)], 9, 1),
    ],
)
def test_versions_rise_as_they_are_told(history: list[Operation], final: int, found: int) -> None:
    assert rules(history, b"a", final).count("rising versions") == found


def test_a_version_belongs_to_one_request() -> None:
    shared = [put(1, b"a", 10), put(1, b"b", 10, key="other", request_id="request-2")]
    transaction = [put(1, b"a", 10), put(1, b"b", 10, key="other")]

    assert rules(shared, b"a", 10) == ["unique versions"]
    assert rules(transaction, b"a", 10) == []


WRITTEN = [put(1, b"a", 10, process=1), put(3, b"b", 12, process=1)]


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (cached(5, b"b", 12), 0),
        (cached(5, b"a", 10), 0),
        (cached(5, None, 0), 0),
        (cached(5, b"a", 10, process=1), 1),
        (cached(5, None, 0, process=1), 1),
        (cached(5, b"a", 10, expected_version=12), 1),
        (cached(5, b"b", 10), 1),
        (cached(5, b"c", 11), 1),
        (cached(1, b"b", 12, complete=2.5), 1),
        (cached(5, b"a", 10, process=1, mode="DEGRADED"), 0),
        (cached(5, b"a", 10, process=1, outcome=Outcome.FAILED), 0),
    ],
)
def test_a_copy_is_a_committed_state_and_not_older_than_what_was_seen(read: Operation, found: int) -> None:
    result = audited([*WRITTEN, read], b"b", 12)

    assert [finding.rule for finding in result.findings] == ["copies"] * found
    assert result.checked["copies"] == (read.mode == "NORMAL" and read.outcome is Outcome.OK)


def test_a_miss_after_a_deletion_is_none_of_an_old_state() -> None:
    deletion = op(Kind.DELETE, 5, version=13, process=1)
    seen = cached(9, b"b", 12, process=1)

    assert rules([*WRITTEN, deletion, cached(7, None, 0, process=1)]) == []
    assert rules([*WRITTEN, deletion, seen]) == ["copies"]
    assert rules([*WRITTEN, op(Kind.DELETE, 5, **UNKNOWN), cached(7, None, 0, process=1)]) == []
    assert rules([*WRITTEN, op(Kind.DELETE, 5, **FAILED), cached(7, None, 0, process=1)]) == ["copies"]


def test_a_copy_may_be_of_a_write_that_nobody_heard_of() -> None:
    lost = put(1, b"c", **UNKNOWN)

    assert rules([*WRITTEN, lost, cached(5, b"c", 11)], b"b", 12) == []
    assert rules([*WRITTEN, lost, cached(5, b"d", 11)], b"b", 12) == ["copies"]
    assert rules([*WRITTEN, lost, cached(5, b"d", 11)], b"b", 12, merging={"space"}) == []
    assert rules([*WRITTEN, put(9, b"c", **UNKNOWN), cached(5, b"c", 11)], b"b", 12) == ["copies"]


REQUESTED = [
    put(1, b"a", 10),
    put(3, b"b", **UNKNOWN),
    put(5, b"c", **FAILED),
    op(Kind.CAS, 7, value=b"d", expected_version=9, version=10, outcome=Outcome.CONFLICT),
    put(9, b"e", **DISCARDED),
    put(11, b"f", **BUFFERED),
    op(Kind.DELETE, 13),
]
RECORDED = {"request-1": 10, "request-7": 0, "request-11": 13, "request-13": 0}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"request-3": 12}, []),
        ({"request-5": 0}, []),
        ({"request-13": None}, []),
        ({"request-1": None}, ["requests"]),
        ({"request-1": 0}, ["requests"]),
        ({"request-1": 9}, ["requests"]),
        ({"request-5": 11}, ["requests"]),
        ({"request-7": 11}, ["requests"]),
        ({"request-9": 11}, ["requests"]),
        ({"request-13": 11}, ["requests"]),
        ({"request-11": None}, ["requests", "buffered"]),
    ],
)
def test_what_was_told_of_a_request_is_what_is_recorded(changed: dict[str, int | None], found: list[str]) -> None:
    recorded = {("space", name): version for name, version in (RECORDED | changed).items() if version is not None}
    result = audited(REQUESTED, b"f", 13, recorded=recorded, dead=[])

    assert [finding.rule for finding in result.findings] == found
    assert result.checked["requests"] == len(REQUESTED)


@pytest.mark.parametrize(
    ("recorded", "dead", "found"),
    [
        (10, [], 0),
        (None, ["request-1"], 0),
        (0, ["request-1"], 0),
        (None, [], 1),
        (0, [], 1),
        (10, ["request-1"], 1),
        (None, ["request-1", "request-1"], 1),
    ],
)
def test_a_buffered_write_ends_in_exactly_one_way(recorded: int | None, dead: list[str], found: int) -> None:
    evidence = {} if recorded is None else {("space", "request-1"): recorded}
    result = audited([put(1, b"a", **BUFFERED)], b"a", recorded=evidence, dead=dead)

    assert [finding.rule for finding in result.findings].count("buffered") == found
    assert result.checked["buffered"] == 1


def final(kind: Kind, daemon: str, value: bytes | None = b"a", version: int = 10, **fields: Any) -> Operation:
    return op(kind, 1, daemon=daemon, read=value, version=version, **fields)


EQUAL = [final(kind, daemon) for kind in (Kind.GET_STRONG, Kind.GET_CACHED) for daemon in ("0", "1")]


@pytest.mark.parametrize(
    ("reads", "found"),
    [
        (EQUAL, 0),
        ([*EQUAL[:3], final(Kind.GET_CACHED, "1", b"b")], 1),
        ([*EQUAL[:3], final(Kind.GET_CACHED, "1", version=9)], 1),
        ([*EQUAL[:3], final(Kind.GET_CACHED, "1", None, 0)], 1),
        ([*EQUAL[:3], final(Kind.GET_CACHED, "1", outcome=Outcome.FAILED)], 1),
        ([*EQUAL[:3], final(Kind.GET_CACHED, "1", mode="PASSTHROUGH")], 1),
        (EQUAL[:3], 1),
    ],
)
def test_all_daemons_show_one_state_in_the_end(reads: list[Operation], found: int) -> None:
    assert len(converged(reads, daemons=["0", "1"])) == found
    assert final_states(reads) == {AT: (10, b"a")}


def test_a_clean_run_has_no_finding_and_every_rule_looked() -> None:
    """Of appends, increments and the rest, each on keys of its own."""
    history: list[Operation] = []
    ends = {}
    kinds = [(Kind.UPDATE_APPEND, Kind.GET_STRONG), (Kind.UPDATE_INCREMENT, Kind.GET_STRONG), tuple(Kind)[:3]]
    for seed in range(300):
        calls = legal(Random(seed), calls=12, kinds=kinds[seed % 3], unknown=0.1)
        order = check(calls).order
        state: State = Register().initial()
        for call in of_register(order):
            state = Register().step(state, call)[1]
        assert isinstance(state.value, bytes | None)
        ends["space", f"key-{seed}"] = (state.version if state.value is not None else 0, state.value)
        renamed = [rekeyed(call, seed) for call in calls]
        history += renamed
        assert not audit(renamed, Evidence(final=ends)).findings
    checked = audit(history, Evidence(final=ends)).checked

    assert checked["items"] > 500
    assert checked["sums"] == 100
    assert checked["rising versions"] > 2_000


def rekeyed(call: Operation, seed: int) -> Operation:
    """The same call on a key of its seed, under a request id of its own."""
    fields = {name: getattr(call, name) for name in Operation.__slots__}
    return Operation(**fields | {"key": f"key-{seed}", "request_id": f"{seed}-{call.request_id}"})
