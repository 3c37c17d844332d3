"""What `kubectl kustomize` makes of the manifests, as far as they use it: resources, ConfigMaps of files, RFC 6902 patches."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parents[2] / "k8s"
Resource = dict[str, Any]


def build(folder: Path) -> list[Resource]:
    """The resources of a kustomization, patched."""
    kustomization = _load(folder / "kustomization.yaml")[0]
    known = {"apiVersion", "kind", "resources", "patches", "configMapGenerator"}
    assert kustomization.keys() <= known, f"teach tests/k8s about {sorted(kustomization.keys() - known)}"
    resources: list[Resource] = []
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        resources += build(path) if path.is_dir() else _load(path)
    resources += [_config_map(folder, generator) for generator in kustomization.get("configMapGenerator", [])]
    for patch in kustomization.get("patches", []):
        hit = [resource for resource in resources if _is(resource, patch["target"])]
        assert hit, f"{folder.name}: no resource is {patch['target']}"
        for resource in hit:
            for operation in _load(folder / patch["path"])[0]:
                apply(resource, operation)
    return resources


def apply(resource: Resource, operation: dict[str, Any]) -> None:
    """One operation of RFC 6902, in place."""
    *parents, last = operation["path"].strip("/").split("/")
    section: Any = resource
    for name in parents:
        section = section[int(name) if isinstance(section, list) else name]
    key: Any = int(last) if isinstance(section, list) else last
    match operation["op"]:
        case "test":
            assert section[key] == operation["value"], operation["path"]
        case "replace":
            assert section[key] is not None, operation["path"]
            section[key] = copy.deepcopy(operation["value"])
        case "add" if isinstance(section, dict):
            section[key] = copy.deepcopy(operation["value"])
        case other:
            raise AssertionError(f"teach tests/k8s about {other}")


def _config_map(folder: Path, generator: dict[str, Any]) -> Resource:
    options = generator["options"]
    assert options["disableNameSuffixHash"], f"teach tests/k8s about the suffix of {generator['name']}"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": generator["name"], "labels": options["labels"]},
        "data": {name: (folder / name).read_text() for name in generator["files"]},
    }


def _is(resource: Resource, target: dict[str, str]) -> bool:
    return (resource["kind"], resource["metadata"]["name"]) == (target["kind"], target["name"])


def _load(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
