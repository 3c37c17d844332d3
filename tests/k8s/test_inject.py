"""`state-sidecar inject`: five public shapes of workloads get the sidecar once, and stay valid; the rest stays as it is."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from click.testing import CliRunner, Result

from sidecar import __version__
from sidecar.cli import main
from sidecar.cli.inject import inject as inject_command
from sidecar.cli.inject.workloads import app_containers, with_pods
from tests.cli.test_serve import serving
from tests.k8s import kserve, pod_security
from tests.k8s.manifests import K8S, VERSIONS, Resource, build, mounts, values
from tests.support.probes import probe_now

SHAPES = sorted((Path(__file__).parent / "shapes").glob("*.yaml"))
PROBES = ("startup", "readiness", "liveness")
CHANGED = ("vllm/deployment.yaml", "kserve/inference-service.yaml", "kserve/serving-runtime.yaml")


def inject(text: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["inject", "-f", "-", *options], input=text)


def injected(text: str, *options: str) -> str:
    result = inject(text, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def workloads(text: str) -> Iterator[tuple[Resource, Resource, bool]]:
    """Resource, its pod, and whether it takes a native sidecar."""
    for document in yaml.safe_load_all(text):
        for resource in document["items"] if document["kind"] == "List" else [document]:
            pods: list[tuple[Resource, bool]] = []

            def seen(pod: Resource, shape: Any, pods: list[tuple[Resource, bool]] = pods) -> Resource:
                pods.append((pod, shape.native))
                return pod

            with_pods(resource, seen)
            yield from ((resource, pod, native) for pod, native in pods)


def by_name(value: Any) -> Any:
    """Lists of named things as mappings: a strategic merge has an order of its own."""
    if isinstance(value, dict):
        return {key: by_name(inner) for key, inner in value.items()}
    if isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value):
        return {item["name"]: by_name(item) for item in value}
    return value


@pytest.fixture(params=SHAPES, ids=[path.stem for path in SHAPES])
def shape(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text()


def test_the_shapes_are_the_five() -> None:
    assert [path.stem for path in SHAPES] == [
        "deployment",
        "job",
        "multi-container-pod",
        "serving-runtime",
        "statefulset",
    ]


@pytest.mark.parametrize("options", [(), ("--config-map", "shop", "--secret", "backends", "--image", "mine:2")])
def test_a_second_time_changes_nothing(shape: str, options: tuple[str, ...]) -> None:
    once = injected(shape, *options)

    assert once != shape
    assert injected(once, *options) == once
    # What was asked for stays when it is not asked for again, as with a new version.
    assert injected(once) == once
    assert inject(once, "--check", *options).exit_code == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_what_comes_out_is_valid_and_has_no_unknown_field(shape: str, version: str) -> None:
    for resource, _, _ in workloads(injected(shape, "--config-map", "shop", "--secret", "backends")):
        if "kserve" in resource["apiVersion"]:
            kserve.validate(resource, version)
        else:
            assert kubernetes_validate.validate(resource, version, strict=True) == version


def test_nothing_else_is_changed(shape: str) -> None:
    """Taken out again, what was put in leaves what was there."""
    for (before, pod, _), (after, made, _) in zip(workloads(shape), workloads(injected(shape)), strict=True):
        assert before["metadata"] == after["metadata"]
        for container, was in zip(app_containers(made), app_containers(pod), strict=False):
            if container.get("name") != "state-sidecar":
                container["env"] = [each for each in container["env"] if each["name"] != "STATE_SIDECAR_TARGET"]
                container["volumeMounts"] = [
                    each for each in container.get("volumeMounts", []) if each["name"] != "state-sidecar-socket"
                ]
                assert {key: value for key, value in container.items() if value or key in was} == was
        for name in ("initContainers", "containers", "volumes"):
            left = [each for each in made.get(name, []) if not each["name"].startswith("state-sidecar")]
            assert [each["name"] for each in left] == [each["name"] for each in pod.get(name, [])]
        changed = {name for name in made if made[name] != pod.get(name)}
        assert changed <= {
            *("initContainers", "containers", "volumes", "securityContext", "terminationGracePeriodSeconds"),
            "model",
        }


def test_every_caller_reaches_the_sidecar(shape: str) -> None:
    for _, pod, native in workloads(injected(shape)):
        [daemon] = [
            each for each in pod["initContainers" if native else "containers"] if each["name"] == "state-sidecar"
        ]
        address = values(daemon)["STATE_SIDECAR_LISTEN"]
        callers = [container for container in app_containers(pod) if container.get("name") != "state-sidecar"]

        assert daemon.get("restartPolicy") == ("Always" if native else None)
        assert address.startswith("unix://" if native else "127.0.0.1:")
        assert {values(container)["STATE_SIDECAR_TARGET"] for container in callers} == {address}
        if native:
            folder = mounts(daemon)["state-sidecar-socket"]["mountPath"]
            assert address.startswith(f"unix://{folder}/")
            assert all(
                mounts(each)["state-sidecar-socket"]
                == {"name": "state-sidecar-socket", "mountPath": folder, "readOnly": True}
                for each in callers
            )
            # The group that the socket is open to: the directory's, which is the fsGroup, or the daemon's own.
            context = pod["securityContext"]
            assert "fsGroup" in context or daemon["securityContext"]["runAsGroup"] in context["supplementalGroups"]


def test_the_sidecar_keeps_to_the_restricted_profile_whatever_the_pod_does(shape: str) -> None:
    for _, pod, _ in workloads(injected(shape)):
        assert pod_security.of_container(pod, "state-sidecar") == []


def test_a_restricted_pod_stays_restricted() -> None:
    [path] = [path for path in SHAPES if path.stem == "multi-container-pod"]
    [(_, pod, _)] = workloads(injected(path.read_text()))

    assert pod_security.violations(pod) == []
    assert pod["securityContext"]["supplementalGroups"] == [4000, 10001]


def test_the_pod_waits_for_the_daemon_and_not_shorter_than_before(shape: str) -> None:
    for (_, before, _), (_, after, native) in zip(workloads(shape), workloads(injected(shape)), strict=True):
        if native:
            assert after["terminationGracePeriodSeconds"] >= max(60, before.get("terminationGracePeriodSeconds", 0))
        else:
            [daemon] = [each for each in after["containers"] if each["name"] == "state-sidecar"]
            # Of the 30 s that Kubernetes gives, with the 10 s of write_timeout_s.
            assert int(values(daemon)["STATE_SIDECAR_GRACE_PERIOD_S"]) + 10 < 30


def test_documents_that_do_not_change_stay_byte_for_byte() -> None:
    [text] = [path.read_text() for path in SHAPES if path.stem == "deployment"]
    first, _, last = text.split("---\n")
    made = injected(text)

    assert made.startswith(first)
    assert made.endswith("---\n" + last)


def test_options_reach_the_container() -> None:
    text = injected(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: a}, {name: b, image: b}]}\n",
        *("--image", "mine:2", "--config-map", "shop", "--secret", "backends", "--container", "b"),
    )
    [(_, pod, _)] = workloads(text)
    [daemon] = pod["initContainers"]
    first, second = pod["containers"]

    assert daemon["image"] == "mine:2"
    assert daemon["args"] == ["serve", "--config", "/etc/state-sidecar/settings.yaml"]
    assert daemon["envFrom"] == [{"secretRef": {"name": "backends"}}]
    assert {"name": "state-sidecar-settings", "configMap": {"name": "shop"}} in pod["volumes"]
    assert first == {"name": "a", "image": "a"}
    assert values(second) == {"STATE_SIDECAR_TARGET": "unix:///run/state-sidecar/state.sock"}


@pytest.mark.parametrize("path", CHANGED)
def test_the_patches_of_the_examples_add_what_inject_adds(path: str) -> None:
    file = K8S / "examples" / path
    [wanted] = yaml.safe_load_all(injected(file.read_text()))
    [patched] = [each for each in build(file.parent) if each["kind"] == wanted["kind"]]

    assert by_name(patched) == by_name(wanted)
    assert f"image: state-sidecar:{__version__}" in injected(file.read_text())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["vllm", "kserve"])
def test_the_examples_are_valid(name: str, version: str) -> None:
    for resource, pod, _ in workloads(yaml.safe_dump_all(build(K8S / "examples" / name))):
        assert pod_security.of_container(pod, "state-sidecar") == []
        if "kserve" in resource["apiVersion"]:
            kserve.validate(resource, version)
        else:
            assert kubernetes_validate.validate(resource, version, strict=True) == version


def test_a_daemon_as_injected_answers_probes_and_callers(tmp_path: Path) -> None:
    """Its arguments and environment as they are in the pod; the volumes are folders here, and the port a free one."""
    [(_, pod, _)] = workloads(injected((K8S / "examples" / CHANGED[0]).read_text()))
    [daemon] = pod["initContainers"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    volumes = {"/run/state-sidecar": str(tmp_path / "run"), "/data": str(tmp_path / "data"), ":7421": f":{port}"}
    assert {mount["mountPath"] for mount in daemon["volumeMounts"]} <= volumes.keys()
    (tmp_path / "run").mkdir()
    environ = values(daemon)
    for place, here in volumes.items():
        environ = {name: value.replace(place, here) for name, value in environ.items()}
    given = {name.removeprefix("STATE_SIDECAR_"): value for name, value in environ.items()}

    with serving(*daemon["args"][1:], cwd=tmp_path, **given):
        answers = {probe_now(f"127.0.0.1:{port}", daemon[f"{name}Probe"]["httpGet"]["path"])[0] for name in PROBES}
        target = environ["STATE_SIDECAR_TARGET"]
        result = CliRunner().invoke(main, ["set", "session", "a", "1", "--target", target])

    assert answers == {200}
    assert result.exit_code == 0, result.output


def test_every_option_is_documented() -> None:
    document = (K8S.parent / "docs/kubernetes.md").read_text()
    shown = set(re.findall(r"^\| `(--[\w-]+)", document, re.MULTILINE))

    assert shown == {option.opts[-1] for option in inject_command.params} - {"--filename"}
    assert all(version in document for version in VERSIONS)
