"""Every method of both clients against a real daemon in this process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from statesidecar import (
    AppendOp,
    CasOp,
    CheckOp,
    Consistency,
    DeleteOp,
    Durability,
    FailedPrecondition,
    IncrementOp,
    InvalidRequest,
    MergePatchOp,
    ServingMode,
    SetOp,
    Tier,
    VersionConflict,
)
from statesidecar.testing import RunningSidecar
from tests.client.conftest import Client


@pytest.fixture
def client(connect: Callable[..., Client], running: RunningSidecar) -> Client:
    return connect(running.target)


def test_what_is_set_is_got(client: Client, key: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    written = client.call(
        "set", "process", key, "väl", content_type="text/plain", schema_version=3, labels={"team": "red"}
    )

    for consistency in (Consistency.CACHED, Consistency.STRONG):
        found = client.call("get", "process", key, consistency=consistency)
        assert found.entry.value == "väl".encode()
        assert found.version == written.version > 0
        assert (found.entry.namespace, found.entry.key) == ("process", key)
        assert (found.entry.content_type, found.entry.schema_version) == ("text/plain", 3)
        assert found.entry.labels == {"team": "red"}
        assert before < found.entry.create_time <= found.entry.update_time
        assert found.entry.expire_time is None
        assert (found.mode, found.stale_possible) == (ServingMode.NORMAL, False)
    assert (written.durability, written.mode, written.expire_time) == (Durability.COMMITTED, ServingMode.NORMAL, None)


def test_a_miss_is_an_answer(client: Client, key: str) -> None:
    found = client.call("get", "session", key)

    assert (found.found, found.version, found.value, found.mode) == (False, 0, None, ServingMode.NORMAL)


def test_a_ttl_is_kept(client: Client, key: str) -> None:
    written = client.call("set", "process", key, b"v", ttl=timedelta(hours=1))
    touched = client.call("touch", "process", key, ttl=7200.0)
    absent = client.call("touch", "process", f"{key}-other")

    assert written.expire_time is not None
    assert timedelta(minutes=59) < touched.expire_time - written.expire_time < timedelta(minutes=61)
    assert (touched.found, absent.found) == (True, False)
    assert client.call("get", "process", key).version == written.version


def test_compare_and_set(client: Client, key: str) -> None:
    first = client.call("cas", "process", key, b"1", expected_version=0)
    second = client.call("cas", "process", key, b"2", expected_version=first.version)
    with pytest.raises(VersionConflict) as lost:
        client.call("cas", "process", key, b"3", expected_version=first.version)
    with pytest.raises(VersionConflict):
        client.call("cas", "process", key, b"3", expected_version=0)

    assert second.version > first.version
    assert (lost.value.key, lost.value.expected_version, lost.value.current_version) == (
        key,
        first.version,
        second.version,
    )
    assert client.call("get", "process", key).value == b"2"


def test_a_repeated_request_id_answers_what_it_did(client: Client, key: str) -> None:
    first = client.call("cas", "process", key, b"1", expected_version=0, request_id=key)
    again = client.call("cas", "process", key, b"1", expected_version=0, request_id=key)

    assert again.version == first.version
    with pytest.raises(InvalidRequest) as reused:
        client.call("cas", "process", key, b"other", expected_version=0, request_id=key)
    assert reused.value.reason == "REQUEST_ID_REUSED"


def test_delete(client: Client, key: str) -> None:
    written = client.call("set", "process", key, b"v")
    with pytest.raises(VersionConflict):
        client.call("delete", "process", key, expected_version=written.version + 1)
    deleted = client.call("delete", "process", key, expected_version=written.version)
    again = client.call("delete", "process", key)

    assert deleted.found
    assert deleted.version > written.version
    assert not again.found
    assert not client.call("get", "process", key).found


def test_merge_patch(client: Client, key: str) -> None:
    client.call("merge_patch", "process", key, {"a": 1, "b": {"c": 2}})
    result = client.call("merge_patch", "process", key, {"a": None, "b": {"d": 3}})

    assert result.json() == {"b": {"c": 2, "d": 3}}
    assert client.call("get", "process", key).entry.json() == {"b": {"c": 2, "d": 3}}
    with pytest.raises(FailedPrecondition) as refused:
        client.call("merge_patch", "process", f"{key}-other", {}, create=False)
    assert refused.value.reason == "KEY_NOT_FOUND"


def test_append(client: Client, key: str) -> None:
    client.call("append", "process", key, [1, {"two": 2}])
    result = client.call("append", "process", key, ["three"], max_items=2)

    assert result.json() == [{"two": 2}, "three"]
    client.call("set", "process", key, b"{}")
    with pytest.raises(FailedPrecondition) as refused:
        client.call("append", "process", key, [1])
    assert refused.value.reason == "NOT_A_JSON_ARRAY"


def test_increment(client: Client, key: str) -> None:
    assert client.call("increment", "process", key).count == 1
    assert client.call("increment", "process", key, 5, maximum=6).count == 6
    with pytest.raises(FailedPrecondition) as refused:
        client.call("increment", "process", key, maximum=6)
    assert refused.value.reason == "COUNTER_OUT_OF_BOUNDS"
    assert client.call("increment", "system", key, -2).durability is Durability.VOLATILE


def test_batch_get_answers_in_order(client: Client, key: str) -> None:
    client.call("set", "process", f"{key}-a", b"A")
    client.call("set", "process", f"{key}-b", b"B")

    results = client.call("batch_get", "process", [f"{key}-b", f"{key}-none", f"{key}-a"])

    assert [result.value for result in results] == [b"B", None, b"A"]


def test_list_goes_through_all_pages(client: Client, key: str) -> None:
    keys = [f"{key}-{number:03}" for number in range(25)]
    for name in reversed(keys):
        client.call("set", "process", name, b"v")

    entries = client.listed("process", key, page_size=10)
    bare = client.listed("process", key, keys_only=True)

    assert [entry.key for entry in entries] == keys
    assert {entry.value for entry in entries} == {b"v"}
    assert [(entry.key, entry.value) for entry in bare] == [(name, b"") for name in keys]
    assert client.call("delete_prefix", "process", key).deleted_count == 25
    assert client.listed("process", key) == []


def test_delete_prefix_of_everything_has_to_be_meant(client: Client, key: str) -> None:
    client.call("set", key, "a", b"v")

    with pytest.raises(InvalidRequest) as refused:
        client.call("delete_prefix", key, "")
    assert refused.value.reason == "PREFIX_EMPTY"
    assert client.call("delete_prefix", key, "", all_keys=True).deleted_count == 1


def test_transact_is_all_or_nothing(client: Client, key: str) -> None:
    guard = client.call("set", "process", f"{key}-guard", b"v").version
    operations = [
        SetOp(f"{key}-set", b"v"),
        CasOp(f"{key}-cas", b"v", 0),
        MergePatchOp(f"{key}-patch", {"a": 1}),
        AppendOp(f"{key}-list", [1]),
        IncrementOp(f"{key}-count", 3),
        DeleteOp(f"{key}-gone"),
        CheckOp(f"{key}-guard", guard),
    ]

    result = client.call("transact", "process", operations)

    assert result.durability is Durability.COMMITTED
    assert result.version > guard
    assert result.results[0].version == result.results[4].version == result.version
    assert result.results[4].count == 3
    assert not result.results[5].found
    assert result.results[6] is None
    with pytest.raises(VersionConflict) as lost:
        client.call("transact", "process", [SetOp(f"{key}-set", b"no"), CheckOp(f"{key}-guard", guard + 1)])
    assert lost.value.metadata["operation"] == "1"
    assert lost.value.key == f"{key}-guard"
    assert client.call("get", "process", f"{key}-set").value == b"v"


@pytest.mark.parametrize(
    ("reason", "arguments", "options"),
    [
        ("KEY_INVALID", ("", b"v"), {}),
        ("KEY_INVALID", ("k" * 1025, b"v"), {}),
        ("TTL_OUT_OF_RANGE", ("k", b"v"), {"ttl": -1}),
        ("TTL_OUT_OF_RANGE", ("k", b"v"), {"ttl": 0}),
        ("VALUE_TOO_LARGE", ("k", b"x" * (4 * 1024 * 1024 + 1)), {}),
        ("VERSION_INVALID", ("k", b"v"), {"expected_version": -1}),
    ],
    ids=["no key", "long key", "negative ttl", "zero ttl", "large value", "negative version"],
)
def test_what_is_wrong_with_a_request_is_said(
    client: Client, reason: str, arguments: tuple[str, bytes], options: dict[str, int]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.call("cas", "process", *arguments, **{"expected_version": 0} | options)

    assert refused.value.reason == reason


def test_status(client: Client) -> None:
    status = client.call("status")

    assert status.mode is ServingMode.NORMAL
    assert not status.draining
    assert status.start_time <= datetime.now(UTC)
    assert {tier.tier for tier in status.tiers} >= {Tier.HOT, Tier.WARM}
    assert [tier.tier for tier in status.tiers if tier.authority] == [Tier.WARM]


def test_a_session_keeps_a_conversation(client: Client, key: str) -> None:
    sessions = []
    for turn in range(3):
        with client.session("session", key, default={"turns": []}) as session:
            session.state["turns"].append(turn)
        sessions.append(session)

    found = client.call("get", "session", key)
    assert all(session.saved for session in sessions)
    assert sessions[-1].version == found.version
    assert found.entry.json() == {"turns": [0, 1, 2]}
    assert found.entry.content_type == "application/json"


def test_a_session_that_lost_raises(client: Client, key: str) -> None:
    with pytest.raises(VersionConflict) as lost, client.session("session", key) as mine:
        mine.state["version"] = client.call("set", "session", key, b'{"theirs":1}').version

    assert lost.value.current_version == mine.state["version"]
    assert client.call("get", "session", key).entry.json() == {"theirs": 1}


def test_a_session_that_lost_merges(client: Client, key: str) -> None:
    client.call("set", "session", key, '{"turns":["hi"],"n":1}')

    with client.session("session", key, on_conflict="merge") as mine:
        mine.state["turns"].append("mine")
        mine.state["n"] += 1
        with client.session("session", key) as theirs:
            theirs.state["turns"].append("theirs")
            theirs.state["n"] += 1

    assert client.call("get", "session", key).entry.json() == {"turns": ["hi", "theirs", "mine"], "n": 3}
    assert mine.state == {"turns": ["hi", "theirs", "mine"], "n": 3}
