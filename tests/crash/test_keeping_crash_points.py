"""The daemon dies amid large values, checkpoints, restores and cleaning; whatever was acknowledged is there, bit for bit."""

from __future__ import annotations

import random
from pathlib import Path

import grpc
import pytest

from statesidecar.v1 import state_service_pb2 as pb
from tests.crash.keeping import KEEPING
from tests.crash.test_crash_points import started
from tests.crash.workload import STRONG, Run, check, drive
from tests.support.process import unstarted_process

NAMESPACE = "process"
SETTINGS = {
    f"namespaces.{NAMESPACE}.large_value_bytes": "64KiB",
    f"namespaces.{NAMESPACE}.checkpoint.every": "2",
    "listen": "127.0.0.1:0",
}


def value_of(number: int) -> bytes:
    """100 kB that nothing compresses, of a length of its own."""
    return random.Random(number).randbytes(100_000 + number)


def keeping(run: Run, number: int) -> None:
    """A large value, its checkpoint, and a way back; of the checkpoint before, one is deleted."""
    key = f"large/{number % 2}"
    run.write("Set", pb.SetRequest(namespace=NAMESPACE, key=key, value=value_of(number), request_id=f"large {number}"))
    asked = pb.CheckpointRequest(namespace=NAMESPACE, key=key, label=str(number), request_id=f"keep {number}")
    kept = run.call("Checkpoint", asked).checkpoint
    assert run.call("Checkpoint", asked).checkpoint.checkpoint_id == kept.checkpoint_id
    run.write("Set", pb.SetRequest(namespace=NAMESPACE, key=key, value=b"spoilt", request_id=f"spoil {number}"))
    back = pb.RestoreRequest(namespace=NAMESPACE, checkpoint_id=kept.checkpoint_id, request_id=f"restore {number}")
    assert run.call("Restore", back).version == run.call("Restore", back).version
    assert read(run, key) == value_of(number)
    latest = pb.RestoreRequest(namespace=NAMESPACE, key=key, request_id=f"latest {number}")
    assert run.call("Restore", latest).version == run.call("Restore", latest).version
    if number % 3 == 2:
        older = run.call("ListCheckpoints", pb.ListCheckpointsRequest(namespace=NAMESPACE, key=key)).checkpoints[-1]
        gone = pb.DeleteCheckpointRequest(namespace=NAMESPACE, checkpoint_id=older.checkpoint_id)
        try:
            run.call("DeleteCheckpoint", gone, final=grpc.StatusCode.NOT_FOUND)
        except grpc.RpcError:
            # It was deleted, and the answer died with the daemon: the repetition finds nothing.
            assert run.deaths == 1


def read(run: Run, key: str) -> bytes:
    """The value of a key, by the authority."""
    request = pb.GetRequest(namespace=NAMESPACE, key=key, consistency=STRONG)
    return run.call("Get", request).entry.value  # type: ignore[no-any-return]  # a stub's


@pytest.mark.parametrize("point", KEEPING)
def test_a_daemon_that_keeps_dies_there(tmp_path: Path, point: str) -> None:
    tiers = {"tiers.cold": f"file://{tmp_path}/cold"}
    with unstarted_process(tmp_path / "data", **SETTINGS, **tiers) as daemon:
        run = started(daemon, point, NAMESPACE)
        drive(run, keeping)
        for number in range(6, 60):
            if run.deaths:
                break
            keeping(run, number)
        check(run)
        for parity in range(2):
            key = f"large/{parity}"
            listed = run.call("ListCheckpoints", pb.ListCheckpointsRequest(namespace=NAMESPACE, key=key)).checkpoints
            assert listed
            for one in listed:
                asked = pb.GetCheckpointRequest(namespace=NAMESPACE, checkpoint_id=one.checkpoint_id)
                [entry] = run.call("GetCheckpoint", asked).entries
                if one.label:
                    assert entry.value == value_of(int(one.label))
                else:
                    known = entry.value == b"spoilt" or entry.value == value_of(len(entry.value) - 100_000)
                    assert known, "an automatic one holds a state that was"
    assert run.deaths == 1, f"it did not come by {point}"
