"""The daemon dies at every place before and after an effect that the outside can see; nothing is lost, nothing twice."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

import sidecar
from sidecar.runtime.failpoints import VARIABLE
from statesidecar.v1 import state_service_pb2 as pb
from tests.chaos.proxies import Proxy, ProxyLoop
from tests.crash.keeping import KEEPING
from tests.crash.migrating import MIGRATING
from tests.crash.resealing import RESEALING
from tests.crash.workload import HOT, Run, check, drive
from tests.support.backends import shared_tiers
from tests.support.process import DaemonProcess, unstarted_process

_PAUSE = threading.Event()
"""Never set: to let time pass."""
SOURCES = Path(sidecar.__file__).parent
NAMED = re.compile(r'reach\("([a-z0-9_.]+)"\)')

EMBEDDED = (
    "start.opened",
    "start.serving",
    "write.commit.before:5",
    "write.commit.after:5",
    "write.cache.told:5",
    "sqlite.commit.before:8",
    "sqlite.commit.after:8",
    "followup.fill.before:2",
    "followup.fill.after:2",
    "followup.touch.before",
    "followup.touch.after",
    "touch.commit.after",
    "delete_prefix.batch.after",
    "sweep.commit.after:2",
    "stop.drain.before",
    "stop.drain.after",
)
SERVERS = (
    "postgres.migration.before",
    "postgres.migration.after",
    "postgres.commit.before:7",
    "postgres.commit.after:7",
    "redis.script.before:4",
    "redis.script.after:4",
    "repair.tell.before:2",
    "repair.tell.after:2",
    "repair.generation.before",
)
BUFFERING = (
    "journal.append.before_write:3",
    "journal.append.before_sync:3",
    "journal.append.after_sync:3",
    "journal.segment.created",
    "replay.commit.before:2",
    "replay.commit.after:2",
    "replay.settle.before:2",
    "replay.settle.after:2",
)
ELSEWHERE = {
    "journal.": "tests/stores/journal: they need dead writes, or a journal that is mostly settled",
    "s3.": "cold blobs: tests/stores/s3",
    "dynamodb.": "tests/stores/dynamodb: the same transaction, with its reply lost",
    "collect.": "tests/unit/test_blobs_crash.py: minutes have to pass before, and there the clock is moved",
    "content.": "tests/unit/test_checkpoints_crashes.py: as above",
    "archive.": "tests/unit/test_blobs_crash.py: as above",
    "wake.": "tests/unit/test_blobs_crash.py: as above",
    "outbox.": "tests/crash/test_outbox_crash_points.py",
    "followup.repair.": "a copy that is older than a caller's floor: the simulation kills sidecars there",
}


def named() -> set[str]:
    """Every place in the sources."""
    return {name for path in SOURCES.rglob("*.py") for name in NAMED.findall(path.read_text())}


def test_every_place_is_tried() -> None:
    tried = {point.partition(":")[0] for point in (*EMBEDDED, *SERVERS, *BUFFERING, *KEEPING, *MIGRATING, *RESEALING)}

    assert len(tried) >= 50
    assert {name for name in named() - tried if not name.startswith(tuple(ELSEWHERE))} == set()


def started(daemon: DaemonProcess, point: str, namespace: str) -> Run:
    """The daemon with this place armed. It may die of it before it serves."""
    daemon.launch({VARIABLE: point})
    run = Run(daemon, namespace)
    try:
        daemon.wait_serving()
    except AssertionError:
        daemon.ended()  # its last words come before its end does
    return run


def touching(run: Run, number: int) -> None:
    """Sliding ends, copies to fill, a prefix to delete."""
    session, key = "session", f"touched/{number}"
    run.call("Set", pb.SetRequest(namespace=session, key=key, value=b"v", ttl=Duration(seconds=1)))
    run.call("Touch", pb.TouchRequest(namespace=session, key=key, ttl=Duration(seconds=2)))
    _PAUSE.wait(0.25)  # more than a tenth of its ttl
    for _ in range(3):
        run.call("Get", pb.GetRequest(namespace=session, key=key))
        run.call("Get", pb.GetRequest(namespace=session, key=f"nothing/{number}"))
    run.call("Set", pb.SetRequest(namespace=session, key=f"gone/{number}", value=b"v"))
    run.call("DeletePrefix", pb.DeletePrefixRequest(namespace=session, key_prefix=f"gone/{number}"))


@pytest.mark.parametrize("point", EMBEDDED)
def test_a_daemon_on_embedded_tiers_dies_there(tmp_path: Path, point: str) -> None:
    settings = {"sweep_interval_s": "0.2", "listen": "127.0.0.1:0"}
    with unstarted_process(tmp_path / "data", **settings) as daemon:
        run = started(daemon, point, "process")
        drive(run, touching)
        for _ in range(20):
            if run.deaths or point.startswith("stop."):
                break
            touching(run, 100)
        if point.startswith("stop."):
            daemon.terminate()
            run.revive()
        check(run)
    assert run.deaths == 1, f"it did not come by {point}"


def counting(run: Run, number: int) -> None:
    """What lives in Redis."""
    add = pb.UpdateRequest(
        namespace="system", key=HOT, increment=pb.Increment(delta=1), create=True, request_id=f"hot {number}"
    )
    run.write("Update", add)
    assert run.call("Get", pb.GetRequest(namespace="system", key=HOT)).entry.value == b"%d" % (number + 1)


@pytest.fixture
def tiers() -> Iterator[dict[str, str]]:
    with shared_tiers() as tiers:
        yield tiers


@pytest.mark.parametrize("point", SERVERS)
def test_a_daemon_on_servers_dies_there(tmp_path: Path, tiers: dict[str, str], point: str) -> None:
    with unstarted_process(tmp_path / "data", **tiers) as daemon:
        run = started(daemon, point, "process")
        drive(run, counting)
        for number in range(6, 400):
            if run.deaths:
                break
            counting(run, number)
            run.write("Set", pb.SetRequest(namespace="process", key=f"more/{number}", request_id=f"more {number}"))
        check(run)
    assert run.deaths == 1, f"it did not come by {point}"


@pytest.mark.parametrize("point", BUFFERING)
def test_a_daemon_that_buffers_dies_there(tmp_path: Path, tiers: dict[str, str], point: str) -> None:
    host, _, port = tiers["tiers.warm"].rpartition("@")[2].partition("/")[0].partition(":")
    with ProxyLoop() as loop:
        proxy = Proxy(loop, (host, int(port)), host="127.0.0.1", port=0, seed=1)
        proxy.start()
        cut = tiers | {
            "tiers.warm": tiers["tiers.warm"].replace(f"{host}:{port}", f"127.0.0.1:{proxy.port}"),
            "namespaces.chat.on_outage": "buffer",
            "namespaces.chat.reconcile": "merge",
        }
        try:
            with unstarted_process(tmp_path / "data", **cut) as daemon:
                run = started(daemon, point, "chat")
                run.call("Get", pb.GetRequest(namespace="chat", key="any"))
                proxy.refuse()
                drive(run, lambda _run, _number: None)
                proxy.accept()
                run.settled()
                check(run)
        finally:
            proxy.stop()
    assert run.deaths == 1, f"it did not come by {point}"
