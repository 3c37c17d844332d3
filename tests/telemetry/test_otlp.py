"""Metrics by OTLP, as a collector gets them: the figures of /metrics, histograms whose quantiles are true, and exemplars."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from sidecar.core.histograms import Histogram
from sidecar.telemetry.figures import RequestFigures
from statesidecar.v1 import state_service_pb2 as pb
from tests.support.otlp import Receiver, attributes, receiving
from tests.telemetry.traces import NS, SERVICE, received, traced_daemon, written

REQUESTS = "statesidecar.request.duration"
CUMULATIVE = 2


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


async def told(receiver: Receiver, name: str, **labels: str) -> Any:
    """The latest point of a metric with those labels, once it is there."""

    def found() -> Any:
        metric: Any = receiver.metrics.get(name)
        if metric is None:
            return None
        points = getattr(metric, metric.WhichOneof("data")).data_points
        return next((one for one in points if labels.items() <= attributes(one.attributes).items()), None)

    return await asyncio.to_thread(receiver.until, found)


def quantile(point: Any, q: float) -> float:
    """Of an exponential histogram, as whoever has only that computes it."""
    base, rank, below = 2.0 ** (2.0**-point.scale), q * point.count, 0
    for index, count in enumerate(point.positive.bucket_counts, point.positive.offset):
        if count and below + count >= rank:
            return float(base ** (index + (rank - below) / count))
        below += count
    raise AssertionError("nothing was recorded")


async def test_what_prometheus_is_told_a_collector_is_told_too(tmp_path: Path, receiver: Receiver) -> None:
    async with traced_daemon(tmp_path, receiver) as daemon:
        for version in (0, 5):
            with_version = pb.CASRequest(namespace=NS, key="k", value=b"v", expected_version=version)
            if version:
                with pytest.raises(grpc.aio.AioRpcError):
                    await daemon.state.CAS(with_version)
            else:
                await daemon.state.CAS(with_version)
        lost = await told(receiver, "statesidecar.conflicts", rpc="CAS", kind="session")
        mode = await told(receiver, "statesidecar.mode", mode="normal")
        memory = await told(receiver, "process.memory.usage")

    metric = receiver.metrics["statesidecar.conflicts"]
    assert metric.sum.is_monotonic
    assert metric.sum.aggregation_temporality == CUMULATIVE
    assert metric.unit == "{request}"
    assert lost.as_double + lost.as_int == 1
    assert 0 < lost.start_time_unix_nano < lost.time_unix_nano
    assert receiver.metrics["statesidecar.mode"].WhichOneof("data") == "gauge"
    assert mode.as_int == 1
    assert memory.as_int > 10_000_000
    assert {attributes(one.attributes)["cpu.mode"] for one in receiver.metrics["process.cpu.time"].sum.data_points} == {
        "user",
        "system",
    }
    assert receiver.resource["service.name"] == "state-sidecar"
    assert receiver.resource["service.instance.id"]


async def test_quantiles_of_what_was_recorded_are_true(tmp_path: Path, receiver: Receiver) -> None:
    """1 to 100 ms, evenly: told within the 4.5 % that a bucket of scale 3 leaves open."""
    async with traced_daemon(tmp_path, receiver) as daemon:
        histogram = Histogram()
        for millisecond in range(1, 101):
            histogram.record(millisecond / 1000)
        report = daemon.daemon._report
        taken = histogram.distribution()
        report.requests = lambda: RequestFigures(durations={("Get", "cart", "normal", "ok"): taken})  # type: ignore[method-assign]
        point = await told(receiver, REQUESTS, kind="cart")

    assert (point.scale, point.count, point.zero_count) == (3, 100, 0)
    assert point.sum == pytest.approx(5.05)
    assert quantile(point, 0.5) == pytest.approx(0.050, rel=0.045)
    assert quantile(point, 0.95) == pytest.approx(0.095, rel=0.045)
    assert quantile(point, 0.99) == pytest.approx(0.099, rel=0.045)
    assert point.min <= 0.001
    assert point.max >= 0.1


async def test_an_exemplar_is_a_request_whose_trace_was_sent(tmp_path: Path, receiver: Receiver) -> None:
    async with traced_daemon(tmp_path, receiver) as daemon:
        await daemon.state.Set(written())
        await received(receiver, f"{SERVICE}/Set")
        point = await told(receiver, REQUESTS, rpc="Set")

    [exemplar] = point.exemplars
    [server] = receiver.named(f"{SERVICE}/Set")
    assert (exemplar.trace_id, exemplar.span_id) == (server.span.trace_id, server.span.span_id)
    took_s = (server.span.end_time_unix_nano - server.span.start_time_unix_nano) / 1e9
    assert exemplar.as_double == pytest.approx(took_s, abs=0.005)
    assert point.positive.bucket_counts == [1]


async def test_the_environment_says_where_with_which_headers_and_for_whom(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "state-of-chat")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.instance.id=pod-1")
    async with traced_daemon(tmp_path, receiver, telemetry={"otlp_endpoint": None}) as daemon:
        await daemon.state.Set(written())
        await received(receiver, f"{SERVICE}/Set")
        await told(receiver, REQUESTS)

    assert ("api-key", "s3cret") in receiver.metadata
    assert receiver.resource["service.name"] == "state-of-chat"
    assert receiver.resource["service.instance.id"] == "pod-1"
    assert receiver.resource["deployment.environment.name"] == "test"
    assert receiver.spans[0].resource == receiver.resource


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        pytest.param({"OTEL_SDK_DISABLED": "true"}, None, id="the SDK is disabled"),
        pytest.param({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "", id="set to nothing"),
        pytest.param({}, None, id="nobody says where"),
    ],
)
async def test_nothing_is_exported(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], endpoint: str | None
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    given = receiver.endpoint if "OTEL_SDK_DISABLED" in environ else endpoint
    async with traced_daemon(tmp_path, receiver, telemetry={"otlp_endpoint": given}) as daemon:
        await daemon.state.Set(written())

        assert daemon.daemon._telemetry.tracer is None
        assert daemon.daemon._report.exports() is None
    assert receiver.asked == 0


async def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(certificate))
    chain = b"".join(one.bytes() for one in issued.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(certificate))
    with receiving(credentials=credentials) as receiver:
        endpoint = receiver.endpoint.replace("http:", "https:")
        async with traced_daemon(tmp_path / "data", receiver, telemetry={"otlp_endpoint": endpoint}) as daemon:
            await daemon.state.Set(written())
            await received(receiver, f"{SERVICE}/Set")
