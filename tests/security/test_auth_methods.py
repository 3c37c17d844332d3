"""No method is unguarded: whatever a daemon serves, and whatever else a path could be taken for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from sidecar.rpc.access import methods as known
from sidecar.rpc.access.methods import Group, Scope
from tests.security.callers import ALL, METHODS, bearer, call, request_for, token_of, write_tokens
from tests.support.daemon import RunningDaemon, running_daemon

GET = "/statesidecar.v1.StateService/Get"
CONNECT = "/statesidecar.v1.StateService/Connect"
"""Its calls are checked one by one: test_connect_auth.py."""
PATHS = (
    *("", "/", "//", GET[1:], f"/{GET}", f"{GET}/", GET.lower(), GET.replace("/", "//"), GET.replace("Get", "get")),
    *(GET.replace("Get", "%47et"), GET.replace("/Get", "%2FGet"), f"{GET}?x=1", f"{GET}#x", f"{GET};x", f"{GET}%00"),
    *(GET.replace("Get", "../StateService/Get"), GET.replace("statesidecar", "./statesidecar"), f"{GET} ", f" {GET}"),
    *("/statesidecar.v1.StateService", "/statesidecar.v1.StateService/", "/statesidecar.v1.StateService/*", "/*/Get"),
    *(
        "/statesidecar.v2.StateService/Get",
        "/statesidecar.v1.StateService/Missing",
        "*",
        "/grpc.health.v1.Health/check",
    ),
)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """One that knows `all`, who may everything, `reader`, and `nobody`, who has a token and no rule."""
    auth = {
        "tokens": write_tokens(tmp_path / "tokens", "all", "reader", "nobody"),
        "identities": {
            "all": {"namespaces": ["*"], "methods": ALL},
            "reader": {"namespaces": ["shop"], "methods": ["statesidecar.v1.StateService/Get"]},
        },
    }
    async with running_daemon(tmp_path / "data", auth=auth) as running:
        yield running


def test_every_method_has_an_entry_and_every_group_some_methods() -> None:
    """One that has none is served to nobody: but somebody has to decide which group it belongs to."""
    assert {path[1:] for path in METHODS} <= set(known.METHODS)
    assert {method.group for method in known.METHODS.values()} - {None} == set(Group)
    assert [group.value for group in Group] == ALL


def test_a_method_whose_requests_name_a_namespace_is_bounded_by_it_and_no_other_is() -> None:
    """A namespace that nobody checks would be reached by everybody who may call the method at all."""
    for path, method in METHODS.items():
        named = "namespace" in method.input_type.fields_by_name
        scope = known.METHODS[path[1:]].scope
        assert (scope is Scope.NAMESPACE) == named, path
        assert (scope is Scope.NOTHING) == (path.startswith("/grpc.") or path == CONNECT), path


def test_only_groups_and_full_names_name_methods() -> None:
    assert known.of_rule("watch") == {"statesidecar.v1.StateService/Watch"}
    for name in ("*", "", "Get", "READ", "StateService/Get", GET, "statesidecar.v1.StateService/*"):
        with pytest.raises(ValueError, match="no method and no group"):
            known.of_rule(name)


async def test_without_a_token_nothing_is_answered(daemon: RunningDaemon) -> None:
    for path, method in METHODS.items():
        told = await call(daemon.channel, path, [request_for(method, namespace="shop", key="key")])

        assert not told.responses, path
        assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"), path


@pytest.mark.parametrize("name", ["nobody", "reader"])
async def test_an_identity_may_no_method_that_its_rule_has_not(daemon: RunningDaemon, name: str) -> None:
    for path, method in METHODS.items():
        request = request_for(method, namespace="shop", key="key")
        told = await call(daemon.channel, path, [request], bearer(token_of(name)))

        if name == "reader" and path in {GET, CONNECT}:
            assert told.code is grpc.StatusCode.OK
        else:
            assert not told.responses, path
            assert (told.code, told.reason) == (grpc.StatusCode.PERMISSION_DENIED, "METHOD_DENIED"), path


async def test_who_may_everything_comes_through_the_gate(daemon: RunningDaemon) -> None:
    """Else the tests above would pass on a daemon that answers nobody."""
    for path, method in METHODS.items():
        request = request_for(method, namespace="shop", key="key", all=True)
        told = await call(daemon.channel, path, [request], bearer(token_of("all")), responses_max=1, timeout_s=2)

        assert told.code not in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}, path


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_that_is_not_exactly_a_methods_is_no_way_in(daemon: RunningDaemon, path: str) -> None:
    """Nor does it tell what exists: also who may everything is denied what nobody serves."""
    request = request_for(METHODS[GET], namespace="shop", key="key")
    refused = {}
    for name in ("", "nobody", "reader", "all"):
        told = await call(daemon.channel, path, [request], bearer(token_of(name)) if name else None)
        assert told.responses == []
        refused[name] = told.code

    unknown, denied = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
    assert refused == {"": unknown, "nobody": denied, "reader": denied, "all": denied}


async def test_a_call_without_a_token_is_refused_before_its_request_is_read(daemon: RunningDaemon) -> None:
    told = await call(daemon.channel, GET, [b"\xff" * 1000])

    assert told.reason == "TOKEN_MISSING"


async def test_a_request_that_is_no_message_is_told_as_such_to_who_may_call(daemon: RunningDaemon) -> None:
    told = await call(daemon.channel, GET, [b"\xff" * 10], bearer(token_of("reader")))

    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    assert b"REQUEST_MALFORMED" in told.everything


async def test_without_auth_everybody_may_everything(tmp_path: Path) -> None:
    async with running_daemon(tmp_path) as daemon:
        told = await call(daemon.channel, GET, [request_for(METHODS[GET], namespace="shop", key="key")])
        missing = await call(daemon.channel, f"{GET}x", [b""])

    assert told.code is grpc.StatusCode.OK
    assert missing.code is grpc.StatusCode.UNIMPLEMENTED
