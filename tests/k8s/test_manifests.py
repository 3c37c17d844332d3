"""The manifests: valid for Kubernetes, restricted, and with settings that the daemon takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from sidecar.cli.inject.pods import Options, with_sidecar
from sidecar.cli.inject.workloads import with_pods
from sidecar.runtime.settings import Settings, load_settings
from tests.k8s import pod_security
from tests.k8s.manifests import K8S, VERSIONS, Resource, build, mounts, one, values

MONITORING, EXAMPLES = K8S / "monitoring", K8S / "examples"
KUSTOMIZATIONS = sorted(path.parent for path in K8S.rglob("kustomization.yaml"))
# What an operator takes as it is; the examples have their own tests.
FOLDERS = [folder for folder in KUSTOMIZATIONS if folder != MONITORING and EXAMPLES not in folder.parents]
# For Prometheus, by other ways than kustomize.
FOR_PROMETHEUS = {"alerts.yaml", "pod-monitor.yaml", "prometheus-rule.head.yaml", "scrape.yaml"}
NAMES = [folder.name for folder in FOLDERS]
SHARED = ("aws", "redis-postgres-s3")


@pytest.fixture(params=FOLDERS, ids=NAMES)
def folder(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    return chosen


@pytest.fixture
def resources(folder: Path) -> list[Resource]:
    return build(folder)


@pytest.fixture
def deployment(resources: list[Resource]) -> Resource:
    return one(resources, "Deployment")


@pytest.fixture
def pod(deployment: Resource) -> Resource:
    spec: Resource = deployment["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def daemon(pod: Resource) -> Resource:
    [container] = pod["initContainers"]
    return container  # type: ignore[no-any-return]  # YAML


@pytest.fixture
def settings(resources: list[Resource], folder: Path, daemon: Resource, tmp_path: Path) -> Settings:
    """What the daemon reads in the pod, with Secrets as the comments have them."""
    file = tmp_path / "settings.yaml"
    file.write_text(one(resources, "ConfigMap")["data"]["settings.yaml"])
    return load_settings(file, [], values(daemon) | secrets(folder))


def secrets(folder: Path) -> dict[str, str]:
    """Variables of a Secret for tiers, and the URLs that the comments above them show."""
    files = "".join(path.read_text() for path in folder.glob("deployment.yaml"))
    return {name: url for url, name in re.findall(r"# (\S+://\S+)\n\s+- name: (STATE_SIDECAR_TIERS\w+)", files)}


def rules(resources: list[Resource], direction: str) -> list[Resource]:
    found: list[Resource] = one(resources, "NetworkPolicy")["spec"][direction]
    return found


def test_the_kustomizations_are_the_ones_that_are_known() -> None:
    assert NAMES == ["base", "aws", "embedded", "redis-postgres-s3"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid_and_has_no_unknown_field(resources: list[Resource], version: str) -> None:
    for resource in resources:
        used = kubernetes_validate.validate(resource, version, strict=True)
        assert used == version, "the schemas of this version are there"


def test_the_schemas_refuse_a_misspelt_field(deployment: Resource) -> None:
    deployment["spec"]["template"]["spec"]["initContainers"][0]["restartPolice"] = "Always"

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_every_file_is_part_of_a_kustomization() -> None:
    used = {MONITORING / name for name in FOR_PROMETHEUS}
    for folder in KUSTOMIZATIONS:
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        named = [*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", []))]
        named += [name for each in kustomization.get("configMapGenerator", []) for name in each["files"]]
        used |= {folder / "kustomization.yaml", *((folder / name).resolve() for name in named)}

    assert {path for path in K8S.rglob("*") if path.is_file()} <= used


def test_the_settings_load_without_a_warning(settings: Settings) -> None:
    assert settings.warnings == []


def test_the_daemon_is_what_inject_adds(deployment: Resource) -> None:
    """One truth: the manifests do not drift from the command, nor the command from the manifests."""
    options = Options(config_map="state-sidecar")
    again, _ = with_pods(deployment, lambda pod, shape: with_sidecar(pod, shape, options))

    assert again == deployment


def test_the_daemon_is_a_native_sidecar_that_reads_the_settings(daemon: Resource, pod: Resource) -> None:
    mount = mounts(daemon)["state-sidecar-settings"]

    assert daemon["restartPolicy"] == "Always"
    assert daemon["args"] == ["serve", "--config", f"{mount['mountPath']}/settings.yaml"]
    assert {"name": mount["name"], "configMap": {"name": "state-sidecar"}} in pod["volumes"]


def test_only_the_socket_serves_grpc_and_the_model_server_is_told_where(
    daemon: Resource, pod: Resource, settings: Settings
) -> None:
    [container] = pod["containers"]
    [address] = settings.listen_addresses()
    socket = mounts(daemon)["state-sidecar-socket"]

    assert values(container)["STATE_SIDECAR_TARGET"] == values(daemon)["STATE_SIDECAR_TARGET"] == address
    assert address.startswith(f"unix://{socket['mountPath']}/")
    assert mounts(container)["state-sidecar-socket"] == socket | {"readOnly": True}


def test_the_data_directory_is_a_volume(daemon: Resource, settings: Settings) -> None:
    mount = mounts(daemon)["state-sidecar-data"]

    assert str(settings.data_dir) == mount["mountPath"]
    assert "readOnly" not in mount


def test_every_mount_has_its_volume_and_every_volume_its_mount(pod: Resource) -> None:
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounted = {name for container in [*pod["initContainers"], *pod["containers"]] for name in mounts(container)}

    assert mounted == volumes


def test_the_kubelet_reaches_the_probes(daemon: Resource, settings: Settings) -> None:
    [port] = daemon["ports"]
    paths = {name: daemon[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}

    assert settings.http_listen == f"0.0.0.0:{port['containerPort']}"
    assert {daemon[f"{name}Probe"]["httpGet"]["port"] for name in paths} == {port["name"]}
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}


def test_the_pod_waits_longer_than_the_daemon_drains(pod: Resource, settings: Settings) -> None:
    # The writes under way and the followups come after the grace period.
    longest_s = settings.grace_period_s + settings.write_timeout_s

    assert pod["terminationGracePeriodSeconds"] > longest_s


def test_the_cache_fits_the_memory_limit_twice(daemon: Resource, settings: Settings) -> None:
    limit = daemon["resources"]["limits"]["memory"]

    assert limit.endswith("Mi")
    assert settings.cache_bytes_max * 2 <= int(limit.removesuffix("Mi")) * 1024 * 1024


def test_pod_security_is_restricted(pod: Resource) -> None:
    """And a read-only root besides, one user for the socket and the volumes, and no token of Kubernetes."""
    context: dict[str, Any] = pod["securityContext"]

    assert pod_security.violations(pod) == []
    assert all(
        each["securityContext"]["readOnlyRootFilesystem"] is True
        for each in [*pod["initContainers"], *pod["containers"]]
    )
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 10001
    assert pod["automountServiceAccountToken"] is False


def test_every_container_says_what_it_needs(pod: Resource) -> None:
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert not container["image"].endswith(":latest")


def test_temporary_volumes_are_bounded(pod: Resource) -> None:
    assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_secrets_are_named_and_never_there(resources: list[Resource], daemon: Resource) -> None:
    """Nothing has a password in it, neither in the environment nor in the settings."""
    written = [*values(daemon).values(), one(resources, "ConfigMap")["data"]["settings.yaml"]]

    assert "Secret" not in {resource["kind"] for resource in resources}
    assert not [text for text in written if re.search(r"://[^/\s]*@", text)]


def test_the_network_lets_in_the_model_server_and_metrics_alone(
    resources: list[Resource], pod: Resource, daemon: Resource
) -> None:
    policy = one(resources, "NetworkPolicy")["spec"]
    ports = {port["containerPort"] for port in [*pod["containers"][0]["ports"], *daemon["ports"]]}

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["podSelector"] == one(resources, "Deployment")["spec"]["selector"]
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == ports
    # By number: not every network plugin knows names of an init container's ports.
    assert all(rule["from"] for rule in policy["ingress"])


@pytest.mark.parametrize(
    ("name", "ports"),
    [("base", set()), ("embedded", set()), ("redis-postgres-s3", {6379, 5432, 9000}), ("aws", {6379, 443})],
)
def test_the_network_lets_out_to_names_the_collector_and_the_backends_alone(name: str, ports: set[int]) -> None:
    [folder] = [folder for folder in FOLDERS if folder.name == name]
    found = rules(build(folder), "egress")

    assert {port["port"] for rule in found for port in rule["ports"]} == {53, 4317} | ports
    assert all(rule["to"] for rule in found)


def test_the_network_keeps_the_nodes_own_role_out_of_reach() -> None:
    blocks = [
        to["ipBlock"] for rule in rules(build(K8S / "overlays/aws"), "egress") for to in rule["to"] if "ipBlock" in to
    ]

    assert [block["except"] for block in blocks if block["cidr"] == "0.0.0.0/0"] == [["169.254.0.0/16"]]


@pytest.mark.parametrize("name", SHARED)
def test_state_that_is_shared_is_in_servers(name: str, tmp_path: Path) -> None:
    folder = K8S / "overlays" / name
    resources = build(folder)
    pod = one(resources, "Deployment")["spec"]["template"]["spec"]
    [daemon] = pod["initContainers"]
    given = {each["name"]: each["valueFrom"]["secretKeyRef"]["name"] for each in daemon["env"] if "valueFrom" in each}
    file = tmp_path / "settings.yaml"
    file.write_text(one(resources, "ConfigMap")["data"]["settings.yaml"])
    urls = load_settings(file, [], values(daemon) | secrets(folder)).tier_urls()
    schemes = {url.partition("://")[0] for url in (urls.hot, urls.warm, urls.cold)}

    assert secrets(folder).keys() == {variable for variable in given if variable.startswith("STATE_SIDECAR_")}
    assert set(given.values()) == {"state-sidecar-backends"}
    assert schemes == {"rediss", "s3", "dynamodb" if name == "aws" else "postgresql"}
    assert one(resources, "Deployment")["spec"]["replicas"] > 1


@pytest.mark.parametrize("name", ["base", "overlays/embedded"])
def test_embedded_state_belongs_to_one_pod(name: str) -> None:
    assert one(build(K8S / name), "Deployment")["spec"]["replicas"] == 1


def test_the_embedded_overlay_keeps_state_beyond_the_pod() -> None:
    resources = build(K8S / "overlays/embedded")
    spec = one(resources, "Deployment")["spec"]
    claim = one(resources, "PersistentVolumeClaim")
    [state] = [volume for volume in spec["template"]["spec"]["volumes"] if volume["name"] == "state-sidecar-data"]

    assert state == {"name": state["name"], "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
    assert spec["strategy"] == {"type": "Recreate"}, "the old pod has to let the volume go first"
