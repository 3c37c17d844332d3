"""Old and new releases of an application share states, through both clients and a real daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from statesidecar import FailedPrecondition, SetOp, VersionConflict
from statesidecar.operations import AppendOp, IncrementOp, MergePatchOp
from statesidecar.testing import RunningSidecar, sidecar
from tests.client.conftest import Client

SPACE = "profiles"
STEP = [
    {"rename": {"from": "/name", "to": "/full_name"}},
    {"default": {"path": "/locale", "value": "en"}},
]


@pytest.fixture(scope="module")
def profiles() -> Iterator[RunningSidecar]:
    """A daemon that knows schemas 1 and 2."""
    with sidecar(namespaces={SPACE: {"schema": {"version": 2, "migrations": [{"up": STEP}]}}}) as started:
        yield started


@pytest.fixture
def client(connect: Callable[..., Client], profiles: RunningSidecar) -> Client:
    return connect(profiles.target)


def stored(client: Client, key: str, maximum: int) -> tuple[int, Any]:
    entry = client.call("get", SPACE, key, max_schema_version=maximum).entry
    return entry.schema_version, entry.json()


def test_a_session_is_loaded_and_saved_in_its_schema(client: Client, key: str) -> None:
    with client.session(SPACE, key, schema=2) as new:
        new.state = {"full_name": "Ann", "locale": "fr"}
    with client.session(SPACE, key, schema=1) as old:
        assert old.state == {"name": "Ann"}
        old.state = {"name": "Eve"}
    with client.session(SPACE, key) as unsaid:
        assert unsaid.state == {"full_name": "Eve", "locale": "fr"}
        unsaid.state["locale"] = "de"

    assert stored(client, key, 1) == (1, {"name": "Eve"})
    assert stored(client, key, 2) == (2, {"full_name": "Eve", "locale": "de"})


def test_both_sides_of_a_conflict_are_merged_in_the_sessions_schema(client: Client, key: str) -> None:
    client.call("set", SPACE, key, '{"full_name":"Ann","locale":"fr"}', schema_version=2)
    with client.session(SPACE, key, schema=1, on_conflict="merge") as old:
        client.call("merge_patch", SPACE, key, {"locale": "de", "more": 1})
        old.state["name"] = "Eve"
    assert stored(client, key, 2) == (2, {"full_name": "Eve", "locale": "de", "more": 1})

    with pytest.raises(VersionConflict):
        loses(client, key)


def loses(client: Client, key: str) -> None:
    with client.session(SPACE, key, schema=1) as lost:
        client.call("merge_patch", SPACE, key, {"more": 2})
        lost.state["name"] = "Joe"


def test_update_works_in_the_schema_of_its_function(client: Client, key: str) -> None:
    client.call("set", SPACE, key, '{"full_name":"Ann","locale":"fr"}', schema_version=2)

    def shout(state: Any) -> Any:
        return {"name": state["name"].upper()}

    result = client.call("update", SPACE, key, shout, schema=1)

    assert result.state == {"name": "ANN"}
    assert stored(client, key, 2) == (2, {"full_name": "ANN", "locale": "fr"})
    client.call("update", SPACE, key, lambda state: {**state, "more": 1})
    assert stored(client, key, 1) == (1, {"name": "ANN", "more": 1})


def test_reads_say_what_they_understand_and_writes_what_they_are(client: Client, key: str) -> None:
    client.call("set", SPACE, key, '{"name":"Ann"}', schema_version=1)
    [batch] = client.call("batch_get", SPACE, [key], max_schema_version=1)
    [listed] = client.listed(SPACE, key, max_schema_version=1)
    assert batch.entry == listed
    assert (listed.schema_version, listed.json()) == (1, {"name": "Ann"})

    patched = client.call("merge_patch", SPACE, key, {"name": "Eve"}, schema_version=1)
    assert patched.json() == {"name": "Eve"}
    log, number = f"{key}/log", f"{key}/number"
    client.call("append", SPACE, log, [{"a": 1}], schema_version=1)
    client.call("increment", SPACE, number, schema_version=1)
    client.call(
        "transact",
        SPACE,
        [
            SetOp(f"{key}/set", '{"name":"Joe"}', schema_version=1),
            MergePatchOp(key, {"name": "Kim"}, schema_version=1),
            AppendOp(log, [{"b": 2}], schema_version=1),
            IncrementOp(number, schema_version=1),
        ],
    )
    assert [stored(client, each, 2)[1] for each in (key, log, number, f"{key}/set")] == [
        {"full_name": "Kim", "locale": "en"},
        [{"a": 1}, {"b": 2}],
        2,
        {"full_name": "Joe", "locale": "en"},
    ]


def test_what_is_too_new_is_refused(client: Client, key: str) -> None:
    with pytest.raises(FailedPrecondition) as caught, client.session(SPACE, key, schema=3) as session:
        session.state["a"] = 1
    assert caught.value.reason == "SCHEMA_TOO_NEW"
    client.call("set", "default", key, "{}", schema_version=7)
    for call in ("get", "batch_get"):
        with pytest.raises(FailedPrecondition) as caught:
            client.call(call, "default", key if call == "get" else [key], max_schema_version=6)
        assert caught.value.reason == "SCHEMA_TOO_NEW"


def test_without_schemas_a_session_keeps_the_one_that_it_found(client: Client, key: str) -> None:
    client.call("set", "default", key, "{}", schema_version=7)
    with client.session("default", key) as session:
        session.state["a"] = 1
    client.call("update", "default", key, lambda state: {**state, "b": 2})
    entry = client.call("get", "default", key).entry
    assert (entry.schema_version, entry.json()) == (7, {"a": 1, "b": 2})
