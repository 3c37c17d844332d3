"""Transact: all or nothing, under one version, each result in the words of its operation."""

from __future__ import annotations

import grpc
import pytest

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon
from tests.support.statuses import refusal

NS = "shop"


def op_set(key: str, value: bytes = b"new") -> pb.TransactOperation:
    return pb.TransactOperation(set=pb.SetRequest(key=key, value=value))


def op_cas(key: str, version: int, value: bytes = b"new") -> pb.TransactOperation:
    return pb.TransactOperation(cas=pb.CASRequest(key=key, value=value, expected_version=version))


def op_delete(key: str) -> pb.TransactOperation:
    return pb.TransactOperation(delete=pb.DeleteRequest(key=key))


def op_increment(key: str, *, create: bool = True) -> pb.TransactOperation:
    change = pb.UpdateRequest(key=key, increment=pb.Increment(delta=1), create=create, return_value=True)
    return pb.TransactOperation(update=change)


def op_check(key: str, version: int) -> pb.TransactOperation:
    return pb.TransactOperation(check=pb.Check(key=key, expected_version=version))


def transact(*operations: pb.TransactOperation) -> pb.TransactRequest:
    return pb.TransactRequest(namespace=NS, operations=operations)


async def put(daemon: RunningDaemon, key: str, value: bytes = b"old") -> int:
    version: int = (await daemon.state.Set(pb.SetRequest(namespace=NS, key=key, value=value))).version
    return version


async def contents(daemon: RunningDaemon) -> dict[str, tuple[bytes, int]]:
    reply = await daemon.state.List(pb.ListRequest(namespace=NS))
    return {entry.key: (entry.value, entry.version) for entry in reply.entries}


async def test_every_kind_of_operation_commits_under_one_version(daemon: RunningDaemon) -> None:
    guarded, checked = await put(daemon, "cas"), await put(daemon, "check")
    await put(daemon, "delete")

    reply = await daemon.state.Transact(
        transact(
            op_set("set"),
            op_cas("cas", guarded),
            op_delete("delete"),
            op_increment("count"),
            op_check("check", checked),
            op_check("absent", 0),
            op_delete("absent too"),
        )
    )

    version = reply.version
    assert version > checked
    assert [result.WhichOneof("result") for result in reply.results] == [
        *("set", "cas", "delete", "update", "check", "check", "delete")
    ]
    results = reply.results
    assert (results[0].set.version, results[1].cas.version, results[3].update.version) == (version,) * 3
    assert (results[2].delete.found, results[2].delete.version) == (True, version)
    assert results[3].update.value == b"1"
    assert results[4].check == pb.Check(key="check", expected_version=checked)
    assert (results[6].delete.found, results[6].delete.version) == (False, 0)
    assert {result.set.durability for result in results[:1]} == {reply.durability}
    assert reply.mode == results[0].set.mode == types.SERVING_MODE_NORMAL
    assert await contents(daemon) == {
        "set": (b"new", version),
        "cas": (b"new", version),
        "count": (b"1", version),
        "check": (b"old", checked),
    }


@pytest.mark.parametrize(
    ("last", "code", "reason"),
    [
        (op_cas("last", 99), grpc.StatusCode.ABORTED, "VERSION_MISMATCH"),
        (op_check("last", 99), grpc.StatusCode.ABORTED, "VERSION_MISMATCH"),
        (op_increment("text"), grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_COUNTER"),
        (op_increment("last", create=False), grpc.StatusCode.FAILED_PRECONDITION, "KEY_NOT_FOUND"),
        (op_set("last", b"x" * (4 * 1024 * 1024 + 1)), grpc.StatusCode.INVALID_ARGUMENT, "VALUE_TOO_LARGE"),
        (op_set(""), grpc.StatusCode.INVALID_ARGUMENT, "KEY_INVALID"),
    ],
    ids=["cas", "check", "update", "update of nothing", "value", "key"],
)
async def test_if_one_operation_fails_nothing_is_changed(
    daemon: RunningDaemon, last: pb.TransactOperation, code: grpc.StatusCode, reason: str
) -> None:
    await put(daemon, "kept")
    await put(daemon, "text")
    before = await contents(daemon)

    refused = await refusal(daemon.state.Transact(transact(op_set("new"), op_delete("kept"), op_increment("n"), last)))

    assert refused.told == (code, reason)
    assert refused.info.metadata["operation"] == "3"
    assert await contents(daemon) == before


async def test_a_lost_guard_tells_its_key_and_versions(daemon: RunningDaemon) -> None:
    old = await put(daemon, "b")
    current = await put(daemon, "b")

    refused = await refusal(daemon.state.Transact(transact(op_set("a"), op_cas("b", old), op_set("c"))))

    assert refused.conflict == types.ConflictInfo(key="b", expected_version=old, current_version=current)
    assert refused.info.metadata["operation"] == "1"


async def test_the_namespace_may_be_repeated_within(daemon: RunningDaemon) -> None:
    operation = pb.TransactOperation(set=pb.SetRequest(namespace=NS, key="key", value=b"value"))

    await daemon.state.Transact(transact(operation))

    assert set(await contents(daemon)) == {"key"}


async def test_checks_alone_change_nothing(daemon: RunningDaemon) -> None:
    version = await put(daemon, "key")

    reply = await daemon.state.Transact(transact(op_check("key", version)))

    assert reply.version == 0
    assert reply.durability == types.DURABILITY_UNSPECIFIED
    assert reply.results[0].check.expected_version == version


async def test_100_operations_are_allowed(daemon: RunningDaemon) -> None:
    reply = await daemon.state.Transact(transact(*(op_set(f"{number}") for number in range(100))))

    assert {result.set.version for result in reply.results} == {reply.version}
    assert len(await contents(daemon)) == 100


async def test_committed_keys_are_read_back_at_once(daemon: RunningDaemon) -> None:
    await put(daemon, "a")
    await put(daemon, "b")
    reply = await daemon.state.Transact(transact(op_set("a"), op_delete("b")))

    a = await daemon.state.Get(pb.GetRequest(namespace=NS, key="a", min_version=reply.version))
    b = await daemon.state.Get(pb.GetRequest(namespace=NS, key="b", min_version=reply.version))

    assert a.entry.value == b"new"
    assert not b.HasField("entry")


async def test_a_transaction_of_one_names_its_operation_too(daemon: RunningDaemon) -> None:
    lost = pb.TransactOperation(check=pb.Check(key="key", expected_version=1))
    keyless = pb.TransactOperation(set=pb.SetRequest(key=""))

    for operation in (lost, keyless):
        refused = await refusal(daemon.state.Transact(pb.TransactRequest(namespace=NS, operations=[operation])))
        assert refused.info.metadata["operation"] == "0"


async def test_what_no_operation_is_to_blame_for_names_none(daemon: RunningDaemon) -> None:
    fine = pb.TransactOperation(set=pb.SetRequest(key="key"))

    refused = await refusal(daemon.state.Transact(pb.TransactRequest(namespace="", operations=[fine])))

    assert refused.reason == "NAMESPACE_INVALID"
    assert "operation" not in refused.info.metadata


async def test_a_write_outside_a_transaction_names_no_operation(daemon: RunningDaemon) -> None:
    refused = await refusal(daemon.state.CAS(pb.CASRequest(namespace=NS, key="key", expected_version=1)))

    assert "operation" not in refused.info.metadata
