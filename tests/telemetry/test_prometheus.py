"""Prometheus itself: it scrapes a daemon, keeps every label as it is, and says which tier is away."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from servers.base import binary
from servers.prometheus import Prometheus
from servers.redis import Valkey
from sidecar.telemetry.instruments import INSTRUMENTS
from statesidecar import StateClient
from tests.support.process import DaemonProcess, daemon_process
from tests.telemetry.panels import TARGET, query
from tests.telemetry.waiting import until

ROOT = Path(__file__).parents[2]
RULES = ROOT / "k8s/monitoring/alerts.yaml"
METRICS = ROOT / "docs/metrics.md"
SCRAPE = ROOT / "k8s/monitoring/scrape.yaml"
# What Kubernetes tells of a pod; Debian's Prometheus can't ask it.
POD = {
    "__meta_kubernetes_namespace": "shop",
    "__meta_kubernetes_pod_name": "till-0",
    "__meta_kubernetes_pod_label_app_kubernetes_io_name": "till",
    "__meta_kubernetes_pod_phase": "Running",
    "__meta_kubernetes_pod_container_name": "state-sidecar",
    "__meta_kubernetes_pod_container_port_name": "probes",
}
OTHERS = {
    "127.0.0.1:1": POD | {"__meta_kubernetes_pod_container_name": "model-server"},
    "127.0.0.1:2": POD | {"__meta_kubernetes_pod_container_port_name": "http"},
    "127.0.0.1:3": POD | {"__meta_kubernetes_pod_phase": "Succeeded"},
}


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture(scope="module")
def daemon(redis: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with daemon_process(tmp_path_factory.mktemp("daemon"), tiers__hot=redis.url) as started:
        with StateClient(started.target) as client:
            client.set("session", "alice", b"1")
            client.get("session", "alice")
        yield started


@pytest.fixture(scope="module")
def prometheus(daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """With the rules as they are, but for how long something has to last."""
    rules = yaml.safe_load(RULES.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule.pop("for", None)
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    [job] = yaml.safe_load(SCRAPE.read_text())["scrape_configs"]
    targets = {daemon.http_address: POD} | OTHERS
    with Prometheus(targets, rules=[file], relabelings=job["relabel_configs"]) as server:
        until(lambda: server.query("statesidecar_request_duration_seconds_count"))
        yield server


def test_the_daemons_of_pods_are_found_and_nothing_else(prometheus: Prometheus, daemon: DaemonProcess) -> None:
    [found] = prometheus.query("up")

    assert found["metric"] == {"__name__": "up", "job": "state-sidecar", "instance": daemon.http_address} | TARGET
    assert len(prometheus.ask("targets")["droppedTargets"]) == len(OTHERS)


def test_every_metric_has_the_type_and_help_of_its_instrument(prometheus: Prometheus) -> None:
    told = prometheus.ask("metadata")
    known = {instrument.prometheus: instrument for instrument in INSTRUMENTS}
    ours = {name: entry for name, [entry] in told.items() if name.startswith("statesidecar")}

    assert len(ours) > 30
    for name, entry in ours.items():
        instrument = known[name.removesuffix("_total")]
        assert entry["type"] == instrument.form.value, name
        assert entry["help"].rstrip(".") == instrument.meaning, name


def test_no_label_of_ours_is_one_that_scrapers_add(prometheus: Prometheus) -> None:
    """Prometheus would call it `exported_…`."""
    labels = prometheus.ask("labels")

    assert {"pod", "tier", "cleaning_job"} <= set(labels)
    assert [label for label in labels if label.startswith("exported_")] == []


def test_histograms_answer_quantiles(prometheus: Prometheus) -> None:
    buckets = 'sum by (le) (statesidecar_request_duration_seconds_bucket{rpc="Get"})'
    [found] = prometheus.query(f"histogram_quantile(0.5, {buckets})")

    assert 0 < float(found["value"][1]) < 1


def test_buckets_can_be_dropped_as_the_document_says(daemon: DaemonProcess) -> None:
    [shown] = re.findall(r"```yaml\n(metric_relabel_configs:.*?)```", METRICS.read_text(), re.DOTALL)
    relabelings = yaml.safe_load(shown)["metric_relabel_configs"]

    _, text = daemon.probe("/metrics")

    with Prometheus({daemon.http_address: TARGET}, metric_relabelings=relabelings) as server:
        until(lambda: server.query("statesidecar_request_duration_seconds_count"))
        for name in ("request_duration", "tier_operation_duration", "event_loop_lag"):
            bucket = f"statesidecar_{name}_seconds_bucket"
            exposed = {float(bound) for bound in re.findall(bucket + r'{.*le="(.*?)"', text)}
            kept = {float(one["metric"]["le"]) for one in server.query(f"count by (le) ({bucket})")}
            assert kept == {bound for bound in exposed if bound == math.inf or whole(math.log2(bound))}
        assert not [label for label in server.ask("labels") if label.startswith("__tmp")]
        assert server.query("statesidecar_build_info")


def whole(number: float) -> bool:
    """But for the six digits that bounds are written with."""
    return abs(number - round(number)) < 1e-5


def test_promtool_finds_nothing_wrong_with_what_is_exposed(daemon: DaemonProcess) -> None:
    _, text = daemon.probe("/metrics")

    linted = subprocess.run(
        [binary("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_an_outage_is_told_with_the_tier_and_what_failed(
    prometheus: Prometheus, daemon: DaemonProcess, redis: Valkey
) -> None:
    def firing() -> dict[str, dict[str, Any]]:
        return {alert["labels"]["alertname"]: alert for alert in prometheus.alerts() if alert["state"] == "firing"}

    def down() -> dict[str, Any]:
        client.get("session", "alice")
        return firing().get("StateSidecarTierDown", {})

    assert firing() == {}
    redis.kill()
    try:
        with StateClient(daemon.target) as client:
            told = until(down, lambda alert: "minutes: get " in alert.get("annotations", {}).get("description", ""))
            away = [one["metric"]["tier"] for one in prometheus.query(f"({query('Tiers that do not answer')}) == 1")]
            failed = [one["metric"] for one in prometheus.query(f"({query('Operations failed')}) > 0")]
    finally:
        redis.restart()

    assert away == ["hot"]
    assert {"tier": "hot", "operation": "get"} in failed
    assert {one["tier"] for one in failed} == {"hot"}
    assert told["labels"]["tier"] == "hot"
    assert told["labels"]["pod"] == "till-0"
    assert told["annotations"]["summary"] == "The hot tier of till-0 does not answer"
    until(firing, lambda alerts: "StateSidecarTierDown" not in alerts)
