"""The manifests: valid for Kubernetes, restricted, and with settings that the daemon takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from sidecar.runtime.settings import Settings, load_settings
from tests.k8s.manifests import K8S, Resource, build

# The first with native sidecars on by default, the one where they became stable, and the newest that the schemas have.
VERSIONS = ("1.29", "1.33", "1.37")
MONITORING = K8S / "monitoring"
FOLDERS = sorted(path.parent for path in K8S.rglob("kustomization.yaml") if path.parent != MONITORING)
# For Prometheus, by other ways than kustomize.
FOR_PROMETHEUS = {"alerts.yaml", "pod-monitor.yaml", "prometheus-rule.head.yaml", "scrape.yaml"}
NAMES = [folder.name for folder in FOLDERS]


@pytest.fixture(params=FOLDERS, ids=NAMES)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return build(request.param)


def one(resources: list[Resource], kind: str) -> Resource:
    [found] = [resource for resource in resources if resource["kind"] == kind]
    return found


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
def settings(resources: list[Resource], tmp_path: Path) -> Settings:
    file = tmp_path / "settings.yaml"
    file.write_text(one(resources, "ConfigMap")["data"]["settings.yaml"])
    return load_settings(file, [], {})


def mounts(container: Resource) -> dict[str, Resource]:
    return {mount["name"]: mount for mount in container["volumeMounts"]}


def test_the_kustomizations_are_the_ones_that_are_known() -> None:
    assert NAMES == ["base", "embedded"]


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
    for folder in (*FOLDERS, MONITORING):
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        named = [*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", []))]
        named += [name for each in kustomization.get("configMapGenerator", []) for name in each["files"]]
        used |= {folder / "kustomization.yaml", *((folder / name).resolve() for name in named)}

    assert {path for path in K8S.rglob("*") if path.is_file()} <= used


def test_the_settings_load_without_a_warning(settings: Settings) -> None:
    assert settings.warnings == []


def test_the_daemon_is_a_native_sidecar_that_reads_the_settings(daemon: Resource, pod: Resource) -> None:
    mount = mounts(daemon)["settings"]

    assert daemon["restartPolicy"] == "Always"
    assert daemon["args"] == ["serve", "--config", f"{mount['mountPath']}/settings.yaml"]
    assert {"name": "settings", "configMap": {"name": "state-sidecar"}} in pod["volumes"]


def test_only_the_socket_serves_grpc_and_the_model_server_is_told_where(
    daemon: Resource, pod: Resource, settings: Settings
) -> None:
    [container] = pod["containers"]
    told = {variable["name"]: variable["value"] for variable in container["env"]}
    [address] = settings.listen_addresses()

    assert told["STATE_SIDECAR_TARGET"] == address
    assert address.startswith(f"unix://{mounts(daemon)['socket']['mountPath']}/")
    assert mounts(container)["socket"] == mounts(daemon)["socket"] | {"readOnly": True}


def test_the_data_directory_is_a_volume(daemon: Resource, settings: Settings) -> None:
    assert str(settings.data_dir) == mounts(daemon)["state"]["mountPath"]
    assert "readOnly" not in mounts(daemon)["state"]


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
    """The profile `restricted` of the Pod Security Standards, and a read-only root besides."""
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    context: dict[str, Any] = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 10001
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod)
    assert all({"hostPath", "hostPort"}.isdisjoint(volume) for volume in pod["volumes"])
    assert pod["automountServiceAccountToken"] is False


def test_every_container_says_what_it_needs(pod: Resource) -> None:
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert not container["image"].endswith(":latest")


def test_temporary_volumes_are_bounded(pod: Resource) -> None:
    assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_embedded_state_belongs_to_one_pod(deployment: Resource) -> None:
    assert deployment["spec"]["replicas"] == 1


def test_the_embedded_overlay_keeps_state_beyond_the_pod() -> None:
    resources = build(K8S / "overlays/embedded")
    spec = one(resources, "Deployment")["spec"]
    claim = one(resources, "PersistentVolumeClaim")
    [state] = [volume for volume in spec["template"]["spec"]["volumes"] if volume["name"] == "state"]

    assert state == {"name": "state", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
    assert spec["strategy"] == {"type": "Recreate"}, "the old pod has to let the volume go first"
