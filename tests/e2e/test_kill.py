"""kill -9 in the middle of the load: what was acknowledged is there, and a request id still answers what it did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.process import Caller, DaemonProcess
from tests.support.statuses import refusal_of

NS = "process"
THREADS = 8
BEFORE_KILL = 150
"""Acknowledged writes after which the daemon is killed."""


@dataclass
class Load:
    """Writers that go on until the daemon is gone, and what they were told."""

    make: Callable[[int, int], tuple[str, Any]]
    answered: list[tuple[str, Any, Any]] = field(default_factory=list)
    open: list[tuple[str, Any]] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def run(self, daemon: DaemonProcess) -> None:
        threads = [threading.Thread(target=self._write, args=(daemon.target, number)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        assert self.enough.wait(60)
        daemon.kill()
        for thread in threads:
            thread.join()

    def _write(self, target: str, thread: int) -> None:
        with Caller(target) as caller:
            for number in range(100_000):
                rpc, request = self.make(thread, number)
                try:
                    reply = getattr(caller.state, rpc)(request)
                except grpc.RpcError:
                    self.open.append((rpc, request))
                    return
                self.answered.append((rpc, request, reply))
                if len(self.answered) >= BEFORE_KILL:
                    self.enough.set()


def own_keys(thread: int, number: int) -> tuple[str, Any]:
    key, name = f"{thread}/{number}", f"id {thread}/{number}"
    match number % 4:
        case 0:
            return "Set", pb.SetRequest(namespace=NS, key=key, value=key.encode(), request_id=name)
        case 1:
            return "CAS", pb.CASRequest(namespace=NS, key=key, value=key.encode(), request_id=name)
        case 2:
            merge = b'"%s"' % key.encode()
            update = pb.UpdateRequest(namespace=NS, key=key, merge_patch=merge, create=True, request_id=name)
            return "Update", update
        case _:
            operations = [pb.TransactOperation(set=pb.SetRequest(key=f"{key}/{n}", value=b"x")) for n in range(3)]
            return "Transact", pb.TransactRequest(namespace=NS, operations=operations, request_id=name)


def one_counter(thread: int, number: int) -> tuple[str, Any]:
    change = pb.Increment(delta=1)
    return "Update", pb.UpdateRequest(
        namespace=NS,
        key="count",
        increment=change,
        create=True,
        return_value=True,
        request_id=f"{thread}/{number}",
    )


def version_of(caller: Caller, key: str) -> int:
    read = pb.GetRequest(namespace=NS, key=key, consistency=types.CONSISTENCY_STRONG)
    version: int = caller.state.Get(read).entry.version
    return version


def test_every_acknowledged_write_is_there_and_its_id_answers_the_same(daemon: DaemonProcess) -> None:
    load = Load(own_keys)
    load.run(daemon)

    daemon.restart()

    with Caller(daemon.target) as caller:
        for rpc, request, reply in load.answered:
            keys = [operation.set.key for operation in request.operations] if rpc == "Transact" else [request.key]
            assert {version_of(caller, key) for key in keys} == {reply.version}
            assert getattr(caller.state, rpc)(request) == reply
        later = caller.state.Set(pb.SetRequest(namespace=NS, key="later")).version
    assert later > max(reply.version for _, _, reply in load.answered)
    assert len(load.answered) >= BEFORE_KILL


def test_a_write_that_the_kill_cut_off_is_done_or_not_but_never_twice(daemon: DaemonProcess) -> None:
    load = Load(one_counter)
    load.run(daemon)

    daemon.restart()

    with Caller(daemon.target) as caller:
        repeated = [caller.state.Update(request) for _, request in load.open]
        read = pb.GetRequest(namespace=NS, key="count", consistency=types.CONSISTENCY_STRONG)
        count = int(caller.state.Get(read).entry.value)
    told = [int(reply.value) for _, _, reply in load.answered] + [int(reply.value) for reply in repeated]
    assert sorted(told) == list(range(1, count + 1))
    assert count == len(load.answered) + len(load.open)


def test_a_guard_from_before_the_kill_still_holds_or_conflicts(daemon: DaemonProcess) -> None:
    with Caller(daemon.target) as caller:
        old = caller.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"1")).version
        current = caller.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"2")).version
    daemon.kill()
    daemon.restart()

    with Caller(daemon.target) as caller:
        with pytest.raises(grpc.RpcError) as lost:
            caller.state.CAS(pb.CASRequest(namespace=NS, key="key", value=b"3", expected_version=old))
        won = caller.state.CAS(pb.CASRequest(namespace=NS, key="key", value=b"3", expected_version=current))

    conflict = types.ConflictInfo(key="key", expected_version=old, current_version=current)
    assert refusal_of(lost.value).conflict == conflict
    assert won.version > current


def test_a_volatile_value_that_was_lost_never_matches_its_old_version(daemon: DaemonProcess) -> None:
    with Caller(daemon.target) as caller:
        old = caller.state.Set(pb.SetRequest(namespace="system", key="key", value=b"1"))
    daemon.kill()
    daemon.restart()

    with Caller(daemon.target) as caller:
        gone = caller.state.Get(pb.GetRequest(namespace="system", key="key"))
        with pytest.raises(grpc.RpcError) as lost:
            caller.state.CAS(pb.CASRequest(namespace="system", key="key", expected_version=old.version))
        new = caller.state.Set(pb.SetRequest(namespace="system", key="key", value=b"2"))

    assert old.durability == types.DURABILITY_VOLATILE
    assert not gone.HasField("entry")
    assert refusal_of(lost.value).reason == "VERSION_MISMATCH"
    assert new.version > old.version
