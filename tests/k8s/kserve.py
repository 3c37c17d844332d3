"""KServe's kinds, as far as they can be judged without its schemas, which are two megabytes.

The names of the fields are those of KServe's Go types (`ServingRuntimeSpec`, `PredictorSpec`); what is a container, a volume
or a pod there is Kubernetes' own type, and is validated as part of a Pod.
"""

from __future__ import annotations

from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]

Resource = dict[str, Any]

RUNTIME_POD = {
    *("containers", "volumes", "nodeSelector", "affinity", "tolerations", "labels", "annotations"),
    *("imagePullSecrets", "hostIPC", "schedulerName", "resourceClaims"),
}
RUNTIME = {
    *("supportedModelFormats", "multiModel", "disabled", "protocolVersions", "workerSpec", "grpcEndpoint"),
    *("grpcDataEndpoint", "httpDataEndpoint", "replicas", "storageHelper", "builtInAdapter"),
}
COMPONENT = {
    *("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling", "logger"),
    *("containerConcurrency", "timeout", "canaryTrafficPercent", "batcher", "labels", "annotations"),
    "deploymentStrategy",
}
PREDICTOR_CONTAINER = {"modelFormat", "runtime", "storageUri", "runtimeVersion", "protocolVersion", "storage"}


def validate(resource: Resource, version: str) -> None:
    """Raises if a field is unknown, or a pod made of the resource is not valid for that version of Kubernetes."""
    match resource["kind"]:
        case "ServingRuntime" | "ClusterServingRuntime":
            spec = dict(resource["spec"])
            assert spec.keys() <= RUNTIME_POD | RUNTIME, spec.keys() - RUNTIME_POD - RUNTIME
            pod = {name: value for name, value in spec.items() if name in RUNTIME_POD - {"labels", "annotations"}}
        case "InferenceService":
            assert resource["spec"].keys() == {"predictor"}
            predictor = dict(resource["spec"]["predictor"])
            pod = {name: value for name, value in predictor.items() if name not in COMPONENT | {"model"}}
            own = {name: value for name, value in predictor["model"].items() if name not in PREDICTOR_CONTAINER}
            # As KServe completes it from a runtime.
            completed = {"name": "kserve-container", "image": "runtime:1.0.0"} | own
            pod["containers"] = [completed, *pod.get("containers", [])]
        case other:
            raise AssertionError(other)
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "made"}, "spec": pod}
    assert kubernetes_validate.validate(made, version, strict=True) == version
