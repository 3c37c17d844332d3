"""Which kinds of Kubernetes have pods, where in them, and what those pods can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
PREDICTORS = frozenset(
    {
        *("model", "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm"),
        "paddle",
    }
)
"""Of KServe's predictors: each is a container whose image and name come from a runtime."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a kind has its pod. `native`: that place takes init containers and what is set for the pod as a whole."""

    path: tuple[str, ...]
    native: bool = True


_TEMPLATE = Shape(("spec", "template", "spec"))
_SHAPES = {
    ("v1", "Pod"): Shape(("spec",)),
    ("v1", "ReplicationController"): _TEMPLATE,
    ("apps/v1", "Deployment"): _TEMPLATE,
    ("apps/v1", "StatefulSet"): _TEMPLATE,
    ("apps/v1", "DaemonSet"): _TEMPLATE,
    ("apps/v1", "ReplicaSet"): _TEMPLATE,
    ("batch/v1", "Job"): _TEMPLATE,
    ("batch/v1", "CronJob"): Shape(("spec", "jobTemplate", "spec", "template", "spec")),
    ("serving.kserve.io/v1beta1", "InferenceService"): Shape(("spec", "predictor")),
    # KServe's ServingRuntimePodSpec: containers and volumes, no init containers, no security context.
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): Shape(("spec",), native=False),
    ("serving.kserve.io/v1alpha1", "ClusterServingRuntime"): Shape(("spec",), native=False),
}


class NotInjectable(Exception):
    """The manifest has to be changed first; the message says what."""


def with_pods(document: Any, change: Callable[[Document, Shape], Document]) -> tuple[Any, list[str]]:
    """The document with every pod in it changed, and the names of the workloads (`Deployment/shop`).

    Documents of other kinds come back as they are. Raises NotInjectable, with the workload's name, as `change` does.
    """
    if not isinstance(document, dict):
        return document, []
    if document.get("kind") == "List" and isinstance(document.get("items"), list):
        changed = [with_pods(item, change) for item in document["items"]]
        return document | {"items": [item for item, _ in changed]}, [name for _, names in changed for name in names]
    kind = str(document.get("kind"))
    shape = _SHAPES.get((str(document.get("apiVersion")), kind))
    if shape is None:
        return document, []
    told = kind
    try:
        metadata = mapping(document, "metadata")
        told = f"{kind}/{metadata.get('name') or metadata.get('generateName')}"
        return _changed(document, shape.path, lambda pod: change(pod, shape)), [told]
    except NotInjectable as error:
        raise NotInjectable(f"{told}: {error}") from None


def app_containers(pod: Document) -> list[Document]:
    """The containers that are the workload's own: of a predictor of KServe, also the one that a runtime completes."""
    completed = [mapping(pod, name) for name in sorted(PREDICTORS & pod.keys())]
    return [*items(pod, "containers"), *completed]


def items(section: Document, name: str) -> list[Document]:
    """A list of mappings in the section, empty where there is none; NotInjectable if it is something else."""
    found = section.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise NotInjectable(f"{name} is not a list of mappings")
    return found


def mapping(section: Document, name: str) -> Document:
    """A mapping in the section, empty where there is none; NotInjectable if it is something else."""
    found = section.get(name)
    if found is not None and not isinstance(found, dict):
        raise NotInjectable(f"{name} is not a mapping")
    return found or {}


def _changed(section: Document, path: tuple[str, ...], change: Callable[[Document], Document]) -> Document:
    if not path:
        return change(section)
    return section | {path[0]: _changed(mapping(section, path[0]), path[1:], change)}
