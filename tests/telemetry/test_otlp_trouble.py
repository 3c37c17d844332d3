"""A collector that is away, hangs or refuses: the daemon answers as ever, counts what is lost, and says so once."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import NoReturn

import grpc
import pytest

from servers.base import free_ports
from sidecar.core.modes import ServingMode, Tier
from sidecar.telemetry.figures import ExportFigures
from sidecar.telemetry.otlp import STOP_S
from sidecar.telemetry.tracing import QUEUE_MAX, Place, SpanQueue, SpanTracer
from tests.support.daemon import RunningDaemon
from tests.support.otlp import Receiver, receiving
from tests.support.process import unstarted_process
from tests.telemetry.traces import SERVICE, received, traced_daemon, written

GONE, BACK = "the collector does not take telemetry", "the collector takes telemetry again"


def exports(daemon: RunningDaemon) -> ExportFigures:
    figures = daemon.daemon._report.exports()
    assert figures is not None
    return figures


async def failed(daemon: RunningDaemon, signal: str, count: int = 1) -> None:
    """Until so many exports failed: counted by a thread that tells nobody."""
    async with asyncio.timeout(30):
        while exports(daemon).failed[signal] < count:  # noqa: ASYNC110  # a count that has no signal
            await asyncio.sleep(0)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "sidecar.telemetry.otlp"]


async def test_spans_wait_for_a_collector_that_is_away_and_the_log_says_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    [port] = free_ports(1)
    receiver = Receiver()
    receiver.port = port
    async with traced_daemon(tmp_path, receiver) as daemon:
        await daemon.state.Set(written())
        await failed(daemon, "traces", 2)
        await failed(daemon, "metrics", 2)
        assert lines(caplog) == [GONE]

        with receiving(port, receiver):
            await received(receiver, f"{SERVICE}/Set")
            await asyncio.to_thread(receiver.until, lambda: receiver.metrics)
            async with asyncio.timeout(10):
                while len(lines(caplog)) < 2:  # noqa: ASYNC110  # written by a thread that tells nobody
                    await asyncio.sleep(0)
            assert lines(caplog) == [GONE, BACK]

    gone, *_ = [record for record in caplog.records if record.name == "sidecar.telemetry.otlp"]
    assert gone.__dict__["code"] == "UNAVAILABLE"
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED])
async def test_a_refusal_is_named_by_its_status_without_the_collectors_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: grpc.StatusCode
) -> None:
    """Also the second within a minute, which the SDK's own log would keep to itself."""
    with receiving() as receiver:
        receiver.refusal = code
        async with traced_daemon(tmp_path, receiver) as daemon:
            await failed(daemon, "metrics")

    assert lines(caplog) == [GONE]
    [gone] = [record for record in caplog.records if record.name == "sidecar.telemetry.otlp"]
    assert gone.__dict__["code"] == code.name
    assert "secret-of-the-collector" not in caplog.text


async def test_a_bug_in_one_export_ends_no_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as receiver:
        async with traced_daemon(tmp_path, receiver) as daemon:

            def broken() -> NoReturn:
                raise RuntimeError("secret-of-a-bug")

            with monkeypatch.context() as planted:
                planted.setattr(daemon.daemon._report, "outbox", broken)
                await failed(daemon, "metrics")
            seen = receiver.exports
            await asyncio.to_thread(receiver.until, lambda: receiver.exports > seen)
            await daemon.state.Set(written())
            await received(receiver, f"{SERVICE}/Set")

    assert lines(caplog)[0] == GONE
    assert "secret-of-a-bug" not in caplog.text


async def test_a_collector_that_hangs_holds_up_neither_requests_nor_a_stop(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.hanging = True
        async with traced_daemon(tmp_path, receiver) as daemon:
            await daemon.state.Set(written())
            await asyncio.to_thread(receiver.until, lambda: receiver.asked)
            async with asyncio.timeout(10):
                for _ in range(100):
                    await daemon.state.Set(written())
            telemetry = daemon.daemon._telemetry
            began_s = time.monotonic()
            await telemetry.stop()
            took_s = time.monotonic() - began_s
            lost = exports(daemon).spans_dropped

    assert took_s < STOP_S + 2
    assert lost >= 100


async def test_what_is_there_when_the_daemon_stops_goes_out(tmp_path: Path) -> None:
    with receiving() as receiver:
        async with traced_daemon(tmp_path, receiver, telemetry={"export_interval_s": 3600.0}) as daemon:
            await daemon.state.Set(written())
        names = {one.span.name for one in receiver.spans}
        metrics = set(receiver.metrics)

    assert f"{SERVICE}/Set" in names
    assert "statesidecar.request.duration" in metrics


def test_more_spans_than_may_wait_are_dropped_and_counted() -> None:
    queue = SpanQueue()
    tracer = SpanTracer(queue, ratio=1.0, places={Tier.HOT: Place("memory", {})})
    for _ in range(QUEUE_MAX + 7):
        span = tracer.request("s", "Get", ())
        assert span is not None
        span.end("OK", None, {"mode": ServingMode.NORMAL.name})

    assert len(queue) == QUEUE_MAX
    assert queue.dropped == 7


def test_a_daemon_without_the_exporter_says_what_to_install(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    # As on a machine where the extra is not installed: nothing below that name is found.
    (hidden / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('opentelemetry.exporter'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    for settings, environ in (
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}),
        ({"telemetry__otlp_endpoint": "http://127.0.0.1:4317"}, {}),
    ):
        with unstarted_process(tmp_path / "data", **settings) as daemon:
            daemon.launch({**environ, "PYTHONPATH": str(hidden)})

            assert daemon.ended() == os.EX_USAGE
            assert any("state-sidecar[telemetry]" in line for line in daemon.lines)
