"""Storage that is full, read-only, missing or corrupt: the daemon lives, says so by a typed error, keeps what it had,
serves what doesn't need it, and heals when the cause goes."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

from statesidecar import StateClient
from statesidecar.v1 import admin_service_pb2 as admin
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.process import Caller, DaemonProcess, daemon_process, unstarted_process
from tests.support.statuses import Refusal, refusal_of

NS = "process"
"""Rejects when the authority is away, so that the error is seen; `model` passes through."""
HEALED_S = 30.0
NO_ROOM_BYTES = 256 * 1024


def write(caller: Caller, key: str, value: bytes = b"value") -> int:
    version: int = caller.state.Set(pb.SetRequest(namespace=NS, key=key, value=value)).version
    return version


def read(caller: Caller, key: str) -> bytes:
    request = pb.GetRequest(namespace=NS, key=key, consistency=types.CONSISTENCY_STRONG)
    value: bytes = caller.state.Get(request).entry.value
    return value


def refused(caller: Caller, key: str = "refused", value: bytes = b"value") -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        write(caller, key, value)
    return refusal_of(caught.value)


def assert_lives_without_its_authority(daemon: DaemonProcess, caller: Caller) -> None:
    """What an outage of the warm tier leaves: health, probes, the other authority, writes that pass through."""
    assert daemon.alive()
    assert daemon.probe("/healthz")[0] == 200
    assert daemon.probe("/readyz")[0] == 200
    volatile = caller.state.Set(pb.SetRequest(namespace="system", key="key", value=b"value"))
    assert volatile.durability == types.DURABILITY_VOLATILE
    assert caller.state.Get(pb.GetRequest(namespace="system", key="key")).entry.value == b"value"
    status = caller.admin.GetStatus(admin.GetStatusRequest())
    warm = next(tier for tier in status.tiers if tier.tier == types.TIER_WARM)
    assert (warm.state, bool(warm.last_error)) == (admin.TIER_STATE_DOWN, True)


def assert_heals(daemon: DaemonProcess, caller: Caller) -> None:
    """By itself: a client that tries again as it is told to gets through."""
    with StateClient(daemon.target, timeout_s=30.0) as client:
        assert client.set(NS, "healed", b"value").version > 0
    assert read(caller, "healed") == b"value"
    end = time.monotonic() + HEALED_S
    while caller.admin.GetStatus(admin.GetStatusRequest()).mode != types.SERVING_MODE_NORMAL:
        assert time.monotonic() < end, "the mode does not become NORMAL again"


def test_a_full_disk_is_told_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    limits = ("--file-bytes", str(NO_ROOM_BYTES))
    with daemon_process(tmp_path / "data", limits) as daemon, Caller(daemon.target) as caller:
        acknowledged: dict[str, bytes] = {}
        error: Refusal | None = None
        for number in range(100):
            key, value = f"{number}", bytes([number]) * 20_000
            try:
                write(caller, key, value)
            except grpc.RpcError as caught:
                error = refusal_of(caught)
                break
            acknowledged[key] = value

        assert error is not None
        # STORAGE_FULL where the disk is full; the limit of a file's size, which needs no root, is an I/O error to SQLite.
        assert error.told == (grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE")
        assert error.retry is not None
        assert daemon.alive()
        assert {key: read(caller, key) for key in acknowledged} == acknowledged
        _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert_heals(daemon, caller)
        daemon.kill()
    with daemon_process(tmp_path / "data") as daemon, Caller(daemon.target) as caller:
        assert {key: read(caller, key) for key in acknowledged} == acknowledged
    assert len(acknowledged) >= 3


def test_a_data_directory_that_became_read_only_is_told_and_heals(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with daemon_process(data) as daemon, Caller(daemon.target) as caller:
        write(caller, "kept")
        daemon.terminate()
    with read_only(data), daemon_process(data, ("--obey-modes",)) as daemon, Caller(daemon.target) as caller:
        error = refused(caller)
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert error.reason in {"STORAGE_READ_ONLY", "AUTHORITY_UNAVAILABLE"}
        assert error.retry is not None
        assert_lives_without_its_authority(daemon, caller)

        data.chmod(0o700)

        assert_heals(daemon, caller)
        assert read(caller, "kept") == b"value"


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    path.chmod(0o500)
    try:
        yield
    finally:
        path.chmod(0o700)


def test_a_data_directory_that_cannot_be_made_is_refused_with_a_clear_line(tmp_path: Path) -> None:
    with read_only(tmp_path), unstarted_process(tmp_path / "data", ("--obey-modes",)) as daemon:
        daemon.launch()
        code = daemon.ended()

    said = "\n".join(daemon.lines)
    assert code == os.EX_CANTCREAT
    assert f"cannot make the data directory {tmp_path / 'data'}: Permission denied" in said
    assert "Traceback" not in said


def test_a_database_that_cannot_be_opened_is_told_and_heals(tmp_path: Path) -> None:
    missing = tmp_path / "volume" / "state.db"
    missing.mkdir(parents=True)
    with (
        daemon_process(tmp_path / "data", tiers__warm=f"sqlite://{missing}") as daemon,
        Caller(daemon.target) as caller,
    ):
        assert refused(caller).told == (grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE")
        passed = caller.state.Set(pb.SetRequest(namespace="model", key="key"))
        assert passed.durability == types.DURABILITY_DISCARDED
        assert_lives_without_its_authority(daemon, caller)

        missing.rmdir()

        assert_heals(daemon, caller)


@pytest.mark.parametrize("damage", ["garbage", "torn pages"])
def test_a_corrupt_database_is_told_left_as_it_is_and_replaced_by_its_copy(tmp_path: Path, damage: str) -> None:
    data = tmp_path / "data"
    database, copy = data / "state.db", tmp_path / "copy.db"
    with daemon_process(data) as daemon, Caller(daemon.target) as caller:
        for number in range(100):
            write(caller, f"{number}", bytes(2000))
        daemon.terminate()
    shutil.copy(database, copy)
    if damage == "garbage":
        database.write_bytes(b"this is no database\n" * 1000)
    else:
        with database.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (database.stat().st_size - 4096))
    damaged = database.read_bytes()

    with daemon_process(data) as daemon, Caller(daemon.target) as caller:
        error = refused(caller)
        assert error.told == (grpc.StatusCode.DATA_LOSS, "STORE_CORRUPT")
        with pytest.raises(grpc.RpcError) as caught:
            read(caller, "0")
        assert refusal_of(caught.value).told == (grpc.StatusCode.DATA_LOSS, "STORE_CORRUPT")
        assert_lives_without_its_authority(daemon, caller)
        if damage == "garbage":
            assert database.read_bytes() == damaged
    for part in data.glob("state.db-*"):
        part.unlink()
    shutil.copy(copy, database)
    with daemon_process(data) as daemon, Caller(daemon.target) as caller:
        assert read(caller, "0") == bytes(2000)
        assert_heals(daemon, caller)


def test_an_outage_has_a_retry_hint_in_its_details(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with (
        daemon_process(tmp_path / "data", tiers__warm=f"sqlite://{tmp_path / 'state.db'}") as daemon,
        Caller(daemon.target) as caller,
    ):
        retry = refused(caller).retry

    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToNanoseconds() > 0
