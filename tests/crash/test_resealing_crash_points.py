"""The daemon dies amid sealing anew: the next one goes on, nothing is lost, and in the end the old key can go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from statesidecar.v1 import admin_service_pb2
from statesidecar.v1 import state_service_pb2 as pb
from tests.crash.resealing import RESEALING
from tests.crash.test_crash_points import started
from tests.crash.workload import PATIENCE_S, STRONG, Run
from tests.support.keys import write_key
from tests.support.process import Caller, unstarted_process

NAMESPACE = "plans"
MANY = 120
"""More than a page."""
LARGE = 30
"""So many of them are in cold."""


def value_of(number: int) -> bytes:
    return b"%d" % number * (2000 if number < LARGE else 1)


def resealed(run: Run) -> Any:
    """Until it came to its end, and nothing remained."""
    for _ in range(20):
        run.revive()
        try:
            with Caller(run.daemon.target) as caller:
                *_, told = caller.admin.Reseal(admin_service_pb2.ResealRequest(namespace=NAMESPACE), timeout=PATIENCE_S)
        except grpc.RpcError:
            continue
        if told.state == admin_service_pb2.COLLECTION_STATE_DONE and not told.remaining_count:
            return told
    raise AssertionError(f"it did not end: {run.daemon.lines[-5:]}")


@pytest.mark.parametrize("point", RESEALING)
def test_a_daemon_that_seals_anew_dies_there(tmp_path: Path, point: str) -> None:
    keys = tmp_path / "keys"
    write_key(keys, "first")
    settings = {
        "encryption.keys": str(keys),
        "tiers.cold": f"file://{tmp_path}/cold",
        f"namespaces.{NAMESPACE}.large_value_bytes": "1000",
        "listen": "127.0.0.1:0",
    }
    with unstarted_process(tmp_path / "data", **settings) as daemon:
        run = started(daemon, point, "process")
        versions = {}
        for number in range(MANY):
            request = pb.SetRequest(namespace=NAMESPACE, key=f"{number:03}", value=value_of(number))
            versions[number] = run.call("Set", request).version
        write_key(keys, "second")
        while not run.deaths:
            resealed(run)
            write_key(keys, f"again-{run.deaths}")
        assert run.deaths == 1
        write_key(keys, "last")
        daemon.terminate()
        run.revive()
        resealed(run)
        for key in keys.glob("*.key"):
            if key.name != "last.key":
                key.unlink()
        daemon.terminate()
        run.revive()
        for number in range(MANY):
            found = run.call("Get", pb.GetRequest(namespace=NAMESPACE, key=f"{number:03}", consistency=STRONG)).entry
            assert (found.value, found.version) == (value_of(number), versions[number])
