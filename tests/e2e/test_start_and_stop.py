"""The process from start to stop: ready when it says so, drained by SIGTERM, stopped by a second one."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from statesidecar.v1 import admin_service_pb2 as admin
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.process import Caller, DaemonProcess, daemon_process, unstarted_process
from tests.support.statuses import refusal_of


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="ss-") as path:
        yield Path(path)


def test_it_serves_when_it_says_so(daemon: DaemonProcess) -> None:
    with Caller(daemon.target) as caller:
        health = caller.health.Check(health_pb2.HealthCheckRequest())
        written = caller.state.Set(pb.SetRequest(namespace="session", key="key", value=b"value"))
        read = caller.state.Get(pb.GetRequest(namespace="session", key="key"))

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert written.durability == types.DURABILITY_COMMITTED
    assert read.entry.value == b"value"


def test_the_probes_answer_and_the_metrics_count(daemon: DaemonProcess) -> None:
    with Caller(daemon.target) as caller:
        for _ in range(3):
            caller.state.Get(pb.GetRequest(namespace="session", key="key"))

    assert daemon.probe("/healthz")[0] == 200
    assert daemon.probe("/readyz")[0] == 200
    code, metrics = daemon.probe("/metrics")
    assert code == 200
    assert 'statesidecar_tier_up{tier="warm"} 1.0' in metrics
    found = re.search(r'statesidecar_tier_lookups_total\{result="\w+",tier="hot"\} ([1-9.]+)', metrics)
    assert found is not None
    assert float(found[1]) >= 1
    assert daemon.probe("/nothing")[0] == 404


def test_its_socket_is_for_its_user_and_group_alone(short_dir: Path) -> None:
    path = short_dir / "data" / "state.sock"
    with daemon_process(short_dir / "data", listen=f"127.0.0.1:0,unix://{path}") as daemon:
        with Caller(f"unix:{path}") as caller:
            written = caller.state.Set(pb.SetRequest(namespace="session", key="key"))
        mode = stat.S_IMODE(path.stat().st_mode)

        assert daemon.addresses[1] == f"unix://{path}"
    assert written.version > 0
    assert mode == 0o660


def test_a_socket_that_a_killed_daemon_left_is_taken_over(short_dir: Path) -> None:
    path = short_dir / "state.sock"
    with daemon_process(short_dir / "data", listen=f"unix://{path}") as daemon:
        daemon.kill()
        assert path.is_socket()

        daemon.restart()

        with Caller(f"unix:{path}") as caller:
            assert caller.state.Set(pb.SetRequest(namespace="session", key="key")).version > 0


def test_a_stopped_daemon_leaves_no_socket_that_answers(short_dir: Path) -> None:
    path = short_dir / "state.sock"
    with daemon_process(short_dir / "data", listen=f"unix://{path}") as daemon:
        daemon.terminate()

    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match=r"refused|No such file"):
        probe.connect(str(path))


def test_a_second_daemon_on_the_same_data_directory_is_refused(daemon: DaemonProcess) -> None:
    with unstarted_process(daemon.data_dir) as second:
        second.launch()
        code = second.ended()

    said = "\n".join(second.lines)
    assert code == os.EX_TEMPFAIL
    assert f"{daemon.data_dir} is in use by process {daemon.pid}" in said
    assert "Traceback" not in said
    with Caller(daemon.target) as caller:
        assert caller.state.Set(pb.SetRequest(namespace="session", key="key")).version > 0


def test_a_second_daemon_on_the_same_socket_is_refused(short_dir: Path) -> None:
    path = short_dir / "state.sock"
    with (
        daemon_process(short_dir / "first", listen=f"unix://{path}") as first,
        unstarted_process(short_dir / "second", listen=f"unix://{path}") as second,
    ):
        second.launch()
        code = second.ended()

        with Caller(f"unix:{path}") as caller:
            assert caller.state.Set(pb.SetRequest(namespace="session", key="key")).version > 0
    assert code == os.EX_TEMPFAIL
    assert f"{path} is in use by process {first.pid}" in "\n".join(second.lines)


@pytest.mark.parametrize("setting", ["listen", "http_listen"])
def test_a_second_daemon_on_the_same_port_is_refused(daemon: DaemonProcess, tmp_path: Path, setting: str) -> None:
    taken = {"listen": daemon.target, "http_listen": daemon.http_address}[setting]
    settings: dict[str, Any] = {setting: taken}
    with unstarted_process(tmp_path / "second", **settings) as second:
        second.launch()
        code = second.ended()

    said = "\n".join(second.lines)
    assert code in {os.EX_CANTCREAT, os.EX_TEMPFAIL}
    assert taken in said
    assert setting in said
    assert "Traceback" not in said
    assert daemon.probe("/readyz")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_daemon_with_exit_code_0(daemon: DaemonProcess, number: signal.Signals) -> None:
    daemon.signal(number)

    assert daemon.ended() == 0


def test_sigterm_drains_what_is_under_way_and_loses_nothing(daemon: DaemonProcess) -> None:
    """Clients that write all the time see every write answered, or refused before it was admitted."""
    outcomes: list[list[tuple[str, grpc.StatusCode | None]]] = []
    under_way = threading.Barrier(5)

    def write(thread: int) -> None:
        mine: list[tuple[str, grpc.StatusCode | None]] = []
        outcomes.append(mine)
        with Caller(daemon.target) as caller:
            for number in range(100_000):
                key = f"{thread}/{number}"
                if number == 20:
                    under_way.wait()
                try:
                    caller.state.CAS(pb.CASRequest(namespace="process", key=key))
                    mine.append((key, None))
                except grpc.RpcError as error:
                    mine.append((key, error.code()))
                    return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    under_way.wait()
    code = daemon.terminate()
    for thread in threads:
        thread.join()
    acknowledged = [key for mine in outcomes for key, error in mine if error is None]
    last = {mine[-1][1] for mine in outcomes}
    refused = {key for mine in outcomes for key, error in mine if error is not None}
    daemon.restart()
    with Caller(daemon.target) as caller:
        kept = {key for key in acknowledged if holds(caller, key)}
        present = {key for key in refused if holds(caller, key)}

    assert code == 0
    assert last == {grpc.StatusCode.UNAVAILABLE}
    assert not present
    assert kept == set(acknowledged)
    assert len(acknowledged) >= 80


def holds(caller: Caller, key: str) -> bool:
    read = pb.GetRequest(namespace="process", key=key, consistency=types.CONSISTENCY_STRONG)
    return bool(caller.state.Get(read).HasField("entry"))


@dataclass
class SlowWrite:
    """A write that the daemon has admitted and cannot commit, because another process holds the database."""

    reply: Any
    lock: sqlite3.Connection

    def let_go(self) -> None:
        self.lock.rollback()


@contextmanager
def slow_write(daemon: DaemonProcess, caller: Caller) -> Iterator[SlowWrite]:
    lock = sqlite3.connect(daemon.data_dir / "state.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        reply = caller.state.CAS.future(pb.CASRequest(namespace="process", key="slow"))
        while not caller.admin.GetStatus(admin.GetStatusRequest()).requests_in_flight:
            assert not reply.done()
        yield SlowWrite(reply, lock)
    finally:
        lock.close()


def drain(daemon: DaemonProcess, caller: Caller) -> None:
    """SIGTERM, and wait until the daemon says that it drains."""
    watch = caller.health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    daemon.signal(signal.SIGTERM)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()


def test_sigterm_answers_what_is_under_way_and_refuses_the_rest(daemon: DaemonProcess) -> None:
    with Caller(daemon.target) as caller, slow_write(daemon, caller) as write:
        drain(daemon, caller)
        with pytest.raises(grpc.RpcError) as caught:
            caller.state.Set(pb.SetRequest(namespace="system", key="new"))
        readiness = daemon.probe("/readyz")[0], daemon.probe("/healthz")[0]
        write.let_go()
        version = write.reply.result().version
        code = daemon.ended()

    assert refusal_of(caught.value).told == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert readiness == (503, 200)
    assert version > 0
    assert code == 0


def test_a_second_signal_stops_a_drain_that_waits(daemon: DaemonProcess) -> None:
    with Caller(daemon.target) as caller, slow_write(daemon, caller) as write:
        drain(daemon, caller)
        daemon.signal(signal.SIGTERM)
        code = daemon.ended()

        with pytest.raises(grpc.RpcError):
            write.reply.result()
    assert code == os.EX_TEMPFAIL
    assert "second signal" in daemon.lines[-1]


def test_status_tells_of_the_embedded_tiers(daemon: DaemonProcess) -> None:
    with Caller(daemon.target) as caller:
        status = caller.admin.GetStatus(admin.GetStatusRequest())

    assert [tier.url.partition(":")[0] for tier in status.tiers] == ["memory", "sqlite"]
    assert status.mode == types.SERVING_MODE_NORMAL


def test_every_configuration_problem_is_listed_before_any_port_opens(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with unstarted_process(
            tmp_path / "data",
            listen=address,
            tiers__warm="postgres",
            grace_period_s="soon",
            namespaces__shop__ttl="0s",
            unknown__setting="1",
        ) as daemon:
            daemon.launch({"STATE_SIDECAR_HTTP_LISTEN": "ignored: --set wins"})
            code = daemon.ended()

    said = "\n".join(daemon.lines)
    assert code == os.EX_USAGE
    for name in ("tiers.warm", "grace_period_s", "namespaces.shop.ttl", "unknown"):
        assert name in said
    # The taken port would have been a problem of its own.
    assert address not in said
    assert not (tmp_path / "data").exists()
    assert "Traceback" not in said


def test_a_refusal_reaches_a_blocking_caller(daemon: DaemonProcess) -> None:
    with Caller(daemon.target) as caller, pytest.raises(grpc.RpcError) as caught:
        caller.state.Get(pb.GetRequest(namespace="session"))

    assert refusal_of(caught.value).told == (grpc.StatusCode.INVALID_ARGUMENT, "KEY_INVALID")
