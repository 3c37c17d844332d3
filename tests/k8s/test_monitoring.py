"""What watches the daemons in Kubernetes: a collector, and what Prometheus is told. The collector's program is not run here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.k8s import pod_security
from tests.k8s.manifests import K8S, VERSIONS, Resource, build, one

FOLDER = K8S / "monitoring"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def resources() -> list[Resource]:
    return build(FOLDER)


@pytest.fixture
def pod(resources: list[Resource]) -> Resource:
    spec: Resource = one(resources, "Deployment")["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def collector(resources: list[Resource]) -> dict[str, Any]:
    [maps] = [
        each for each in resources if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "otel-collector"
    ]
    configuration: dict[str, Any] = yaml.safe_load(maps["data"]["config.yaml"])
    return configuration


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid_and_has_no_unknown_field(resources: list[Resource], version: str) -> None:
    for resource in resources:
        assert kubernetes_validate.validate(resource, version, strict=True) == version


def test_pipelines_use_what_is_defined_and_all_of_it(collector: dict[str, Any]) -> None:
    pipelines = collector["service"]["pipelines"]

    assert pipelines.keys() == {"traces", "metrics"}
    for part in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines.values() for name in pipeline[part]} == collector[part].keys()
    assert set(collector["service"]["extensions"]) == collector["extensions"].keys()


def test_memory_is_bounded_before_anything_else(collector: dict[str, Any], pod: Resource) -> None:
    [container] = pod["containers"]
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    soft = int({each["name"]: each["value"] for each in container["env"]}["GOMEMLIMIT"].removesuffix("MiB"))

    assert all(pipeline["processors"][0] == "memory_limiter" for pipeline in collector["service"]["pipelines"].values())
    assert soft < limit


def test_every_variable_of_the_configuration_is_set(collector: dict[str, Any], pod: Resource) -> None:
    [container] = pod["containers"]
    named = set(re.findall(r"\$\{env:(\w+)\}", json.dumps(collector)))

    assert named <= {each["name"] for each in container["env"]}


def test_daemons_reach_it(resources: list[Resource], collector: dict[str, Any], pod: Resource) -> None:
    service = one(resources, "Service")
    [port] = service["spec"]["ports"]
    ports = {each["name"]: each["containerPort"] for each in pod["containers"][0]["ports"]}

    assert collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == f"0.0.0.0:{ports[port['targetPort']]}"
    assert collector["extensions"]["health_check"]["endpoint"] == f"0.0.0.0:{ports['health']}"
    assert service["spec"]["selector"] == one(resources, "Deployment")["spec"]["selector"]["matchLabels"]
    shown = f"otlp_endpoint: http://{service['metadata']['name']}:{port['port']}"
    assert shown in (FOLDER / "otel-collector.yaml").read_text()
    assert shown in (ROOT / "docs/metrics.md").read_text()


def test_pod_security_is_restricted(pod: Resource) -> None:
    [container] = pod["containers"]

    assert pod_security.violations(pod) == []
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is False
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+", container["image"])


def test_the_dashboard_comes_as_it_is_and_fits_a_config_map(resources: list[Resource]) -> None:
    [found] = [each for each in resources if each["metadata"]["name"] == "state-sidecar-dashboard"]

    assert found["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert found["data"] == {"dashboard.json": (FOLDER / "dashboard.json").read_text()}
    # What `kubectl apply` keeps of it in an annotation has to fit, too.
    assert len(json.dumps(found)) < 262_144


def test_the_rule_of_the_operator_has_all_alerts() -> None:
    """As docs/metrics.md puts it together."""
    head, alerts = ((FOLDER / name).read_text() for name in ("prometheus-rule.head.yaml", "alerts.yaml"))
    shown = "sed 's/^/  /' k8s/monitoring/alerts.yaml"
    made = yaml.safe_load(head + re.sub(r"^", "  ", alerts, flags=re.MULTILINE))

    assert shown in (ROOT / "docs/metrics.md").read_text()
    assert (made["apiVersion"], made["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert made["spec"] == yaml.safe_load(alerts)


def test_daemons_are_found_by_the_port_that_they_have() -> None:
    deployment = one(build(K8S / "base"), "Deployment")
    [daemon] = deployment["spec"]["template"]["spec"]["initContainers"]
    [port] = daemon["ports"]
    monitor = yaml.safe_load((FOLDER / "pod-monitor.yaml").read_text())
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    [job] = yaml.safe_load((FOLDER / "scrape.yaml").read_text())["scrape_configs"]

    assert endpoint["port"] == port["name"]
    assert monitor["spec"]["selector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]
    assert job["relabel_configs"][0]["regex"] == f"{daemon['name']};{port['name']}"
