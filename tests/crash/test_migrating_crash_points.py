"""The daemon dies amid writes of an older schema, reads that bring entries along, and migrations: no field is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from statesidecar.v1 import admin_service_pb2
from statesidecar.v1 import state_service_pb2 as pb
from tests.crash.migrating import MIGRATING
from tests.crash.test_crash_points import started
from tests.crash.workload import PATIENCE_S, STRONG, Run, check, drive
from tests.support.process import Caller, unstarted_process
from tests.unit.schemas_support import OPERATIONS, SPACE

MANY = 120
"""More than a page."""
SETTINGS = {
    f"namespaces.{SPACE}.schema.version": "3",
    f"namespaces.{SPACE}.schema.migrations": json.dumps([{"up": declared} for declared in OPERATIONS]),
    "listen": "127.0.0.1:0",
}


def migrate(run: Run, target: int) -> Any:
    """Until it came to its end."""
    refusal: grpc.RpcError | None = None
    for _ in range(20):
        run.revive()
        try:
            with Caller(run.daemon.target) as caller:
                request = admin_service_pb2.MigrateRequest(namespace=SPACE, target_version=target)
                *_, done = caller.admin.Migrate(request, timeout=PATIENCE_S)
        except grpc.RpcError as exc:
            refusal = exc
        else:
            return done
    raise AssertionError(f"the migration did not end: {refusal}; {run.daemon.lines[-5:]}")


def full(number: int) -> Any:
    """What an entry is in the newest schema, after its writer of the first one has named it."""
    return {"person": {"name": f"name {number}"}, "two": 2, "three": number}


def writing(run: Run, number: int) -> None:
    """An entry of the newest schema, which a writer of the oldest changes; down, and read on the way up."""
    key = f"key/{number}"
    for schema, document in ((3, full(-1) | {"three": number}), (1, {"name": f"name {number}"})):
        value = json.dumps(document).encode()
        run.write(
            "Set",
            pb.SetRequest(
                namespace=SPACE, key=key, value=value, schema_version=schema, request_id=f"schema {schema} {number}"
            ),
        )
    if number == 2:
        done = migrate(run, 1)
        assert (done.target_version, done.remaining_count) == (1, 0)
    for other in range(number + 1):
        asked = pb.GetRequest(namespace=SPACE, key=f"key/{other}", consistency=STRONG)
        found = run.call("Get", asked)
        assert json.loads(found.entry.value) == full(other)


@pytest.mark.parametrize("point", MIGRATING)
def test_a_daemon_that_migrates_dies_there(tmp_path: Path, point: str) -> None:
    with unstarted_process(tmp_path / "data", **SETTINGS) as daemon:
        run = started(daemon, point, "process")
        for number in range(MANY):
            request = pb.SetRequest(namespace=SPACE, key=f"many/{number}", value=b"{}", schema_version=3)
            run.call("Set", request)
        drive(run, writing)
        for target in (1, 3):
            done = migrate(run, target)
            assert (done.state, done.remaining_count) == (admin_service_pb2.COLLECTION_STATE_DONE, 0)
        if point.startswith("fleet.leave"):
            daemon.terminate()
            run.revive()
        check(run)
        for number in range(6):
            asked = pb.GetRequest(namespace=SPACE, key=f"key/{number}", consistency=STRONG)
            assert json.loads(run.call("Get", asked).entry.value) == full(number)
    assert run.deaths == 1, f"it did not come by {point}"
