"""Checkpoints through both clients against a real daemon in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from statesidecar import FailedPrecondition, InvalidRequest, NotFound, ServingMode, VersionConflict
from statesidecar.testing import RunningSidecar, sidecar
from tests.client.conftest import Client


@pytest.fixture
def client(connect: Callable[..., Client], running: RunningSidecar) -> Client:
    return connect(running.target)


@pytest.fixture(scope="module")
def eager() -> Iterator[RunningSidecar]:
    """A daemon whose policy checkpoints every second change of a key."""
    with sidecar(namespaces={"agent": {"checkpoint": {"every": 2, "keep": 3}}}) as started:
        yield started


def test_what_is_restored_is_what_was_kept(client: Client, key: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    value = bytes(range(256)) * 500
    client.call("set", "default", key, value, content_type="x/y", schema_version=3, labels={"team": "red"})

    made = client.call("checkpoint", "default", key=key, label="step-1", metadata={"model": "m"})
    changed = client.call("set", "default", key, b"changed").version
    result = client.call("restore", "default", key=key, expected_version=changed)

    found = client.call("get", "default", key)
    assert (made.namespace, made.key, made.key_prefix, made.label) == ("default", key, "", "step-1")
    assert (made.metadata, made.parent_id, made.automatic) == ({"model": "m"}, "", False)
    assert (made.entry_count, made.value_bytes) == (1, len(value))
    assert before < made.create_time
    assert found.value == value
    assert (found.entry.content_type, found.entry.schema_version, found.entry.labels) == ("x/y", 3, {"team": "red"})
    assert found.version == result.version == result.entry.version > changed
    assert (result.entry.value, result.mode) == (value, ServingMode.NORMAL)


def test_a_prefix_is_one_moment_and_comes_back_as_one(client: Client, key: str) -> None:
    for name in ("a", "b"):
        client.call("set", "default", f"{key}/{name}", name)
    made = client.call("checkpoint", "default", key_prefix=f"{key}/")
    client.call("set", "default", f"{key}/a", "changed")
    client.call("delete", "default", f"{key}/b")
    client.call("set", "default", f"{key}/c", "new")

    result = client.call("restore", "default", key_prefix=f"{key}/")

    now = client.listed("default", f"{key}/")
    assert (made.key, made.key_prefix, made.entry_count) == ("", f"{key}/", 2)
    assert [(entry.key, entry.value) for entry in now] == [(f"{key}/a", b"a"), (f"{key}/b", b"b")]
    assert {entry.version for entry in now} == {result.version}
    assert not client.call("get", "default", f"{key}/c").found


def test_the_content_of_an_old_one_can_be_read(client: Client, key: str) -> None:
    versions, made = [], []
    for value in (b"1", b"2", b"3"):
        versions.append(client.call("set", "default", key, value).version)
        made.append(client.call("checkpoint", "default", key=key))

    for checkpoint, version, value in zip(made, versions, (b"1", b"2", b"3"), strict=True):
        content = client.call("get_checkpoint", "default", checkpoint.checkpoint_id)
        assert content.checkpoint.checkpoint_id == checkpoint.checkpoint_id
        assert (content.entry.key, content.entry.value, content.entry.version) == (key, value, version)
        assert content.entry.namespace == "default"


def test_the_list_goes_through_all_pages_newest_first(client: Client, key: str) -> None:
    client.call("set", key, "a", b"1")
    ids = [client.call("checkpoint", key, key="a").checkpoint_id for _ in range(7)]
    of_prefix = client.call("checkpoint", key, key_prefix="a").checkpoint_id

    def listed(**options: object) -> list[str]:
        return [one.checkpoint_id for one in client.listed(key, method="list_checkpoints", **options)]

    assert listed(key="a", page_size=3) == ids[::-1]
    assert listed(key_prefix="a") == [of_prefix]
    assert listed(page_size=2) == [of_prefix, *ids[::-1]]
    assert listed(key="b") == []


def test_a_branch_continues_what_was_restored(client: Client, key: str) -> None:
    client.call("set", "default", key, b"1")
    first = client.call("checkpoint", "default", key=key)
    client.call("set", "default", key, b"2")
    second = client.call("checkpoint", "default", key=key)
    client.call("restore", "default", checkpoint_id=first.checkpoint_id)

    branch = client.call("checkpoint", "default", key=key)

    assert (second.parent_id, branch.parent_id) == (first.checkpoint_id, first.checkpoint_id)


def test_what_is_deleted_is_gone_and_the_others_are_whole(client: Client, key: str) -> None:
    made = []
    for number in range(3):
        client.call("set", "default", key, b"x" * 40_000 + b"%d" % number)
        made.append(client.call("checkpoint", "default", key=key).checkpoint_id)

    client.call("delete_checkpoint", "default", made[0])

    for call in (("get_checkpoint",), ("delete_checkpoint",)):
        with pytest.raises(NotFound) as caught:
            client.call(*call, "default", made[0])
        assert caught.value.reason == "CHECKPOINT_NOT_FOUND"
    result = client.call("restore", "default", checkpoint_id=made[2])
    assert result.entry.value == b"x" * 40_000 + b"2"
    assert client.call("get_checkpoint", "default", made[1]).entry.value == b"x" * 40_000 + b"1"


def test_repeated_calls_answer_what_the_first_did(client: Client, key: str) -> None:
    client.call("set", "default", key, b"1")

    made = [client.call("checkpoint", "default", key=key, request_id=f"{key} c") for _ in range(2)]
    back = [client.call("restore", "default", key=key, request_id=f"{key} r").version for _ in range(2)]

    assert made[0] == made[1]
    assert back[0] == back[1]
    with pytest.raises(InvalidRequest) as reused:
        client.call("checkpoint", "default", key=key, label="other", request_id=f"{key} c")
    assert reused.value.reason == "REQUEST_ID_REUSED"


def test_the_policy_s_own_are_told_from_those_asked_for(
    connect: Callable[..., Client], eager: RunningSidecar, key: str
) -> None:
    client = connect(eager.target)
    for number in range(10):
        client.call("set", "agent", key, b"%d" % number)
    client.call("checkpoint", "agent", key=key, label="mine")

    listed = client.listed("agent", method="list_checkpoints", key=key)
    automatic = [one for one in listed if one.automatic][:3]  # Those before may be removed meanwhile
    values = [client.call("get_checkpoint", "agent", one.checkpoint_id).entry.value for one in automatic]
    latest = client.call("restore", "agent", key=key)

    assert [one.label for one in listed if not one.automatic] == ["mine"]
    assert values == [b"9", b"7", b"5"]
    assert latest.entry.value == b"9"


def test_what_can_not_be_kept_or_restored_is_said(client: Client, key: str) -> None:
    with pytest.raises(FailedPrecondition) as absent:
        client.call("checkpoint", "default", key=key)
    with pytest.raises(NotFound) as never:
        client.call("restore", "default", key=key)
    with pytest.raises(InvalidRequest):
        client.call("checkpoint", "default")
    with pytest.raises(InvalidRequest):
        client.call("restore", "default")
    client.call("set", "default", key, b"1")
    client.call("checkpoint", "default", key=key)
    with pytest.raises(VersionConflict) as lost:
        client.call("restore", "default", key=key, expected_version=0)

    assert (absent.value.reason, never.value.reason) == ("KEY_NOT_FOUND", "CHECKPOINT_NOT_FOUND")
    assert lost.value.current_version == client.call("get", "default", key).version
