"""What a pod with the daemon in it has. What people tune (image, resources, probes' times, volumes) stays as they have it.

A native sidecar (Kubernetes 1.29) shares a Unix socket with the other containers. Where a kind takes none, the daemon is an
ordinary container, and listens on the pod's loopback.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from sidecar import __version__
from sidecar.cli.inject.workloads import Document, NotInjectable, Shape, app_containers, items, mapping

NAME = "state-sidecar"
SOCKET_VOLUME, DATA_VOLUME, SETTINGS_VOLUME = f"{NAME}-socket", f"{NAME}-data", f"{NAME}-settings"
SOCKET_FOLDER = "/run/state-sidecar"
SETTINGS_FOLDER = "/etc/state-sidecar"
LOOPBACK = "127.0.0.1:7420"
SOCKET = f"unix://{SOCKET_FOLDER}/state.sock"
HTTP_PORT = 7421
COMPLETED = "kserve-container"
"""The name of the container that a runtime of KServe completes."""
USER = 10001
"""Of the image, and the group that the socket is open to."""
POD_GRACE_S = 60
"""At least, for a pod with a native sidecar: it stops after the others, and drains for 20 s and the writes under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the sidecar is given. `containers`: the ones that may call it; empty: all."""

    image: str | None = None
    config_map: str | None = None
    secret: str | None = None
    containers: tuple[str, ...] = ()


def with_sidecar(pod: Document, shape: Shape, options: Options) -> Document:
    """The pod with the sidecar, its volumes, and callers that know where it is. Raises NotInjectable.

    Of one that has them already, only what is wrong is changed: a second time changes nothing.
    """
    pod = copy.deepcopy(pod)
    _check(pod, shape)
    place = "initContainers" if shape.native else "containers"
    pod[place] = _merged(items(pod, place), [_container(_find(items(pod, place), NAME), options, shape)])
    pod["volumes"] = _kept(items(pod, "volumes"), _volumes(options, shape))
    callers = [
        container
        for container in app_containers(pod)
        if (name := container.get("name", COMPLETED)) != NAME and (not options.containers or name in options.containers)
    ]
    if not callers:
        raise NotInjectable(f"it has no container {' or '.join(options.containers) or 'that could call the sidecar'}")
    for container in callers:
        _tell(container, shape)
    if shape.native:
        _set_pod(pod)
    return pod


def _container(have: Document, options: Options, shape: Shape) -> Document:
    """The sidecar's container, over the one that is there (`have`, else empty)."""
    made: Document = {"name": NAME, "image": f"{NAME}:{__version__}"}
    if shape.native:
        made["restartPolicy"] = "Always"
    made["args"] = ["serve", "--config", f"{SETTINGS_FOLDER}/settings.yaml"] if options.config_map else ["serve"]
    made["env"] = _merged(items(have, "env"), _environment(shape))
    if options.secret:
        reference = {"secretRef": {"name": options.secret}}
        others = items(have, "envFrom")
        made["envFrom"] = others if reference in others else [*others, reference]
    made["ports"] = _merged(items(have, "ports"), [{"name": "probes", "containerPort": HTTP_PORT}])
    made |= _probes(have)
    # No CPU limit: throttling would show as latency of every call. Memory: cache_bytes_max and what is under way.
    made["resources"] = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
    made["securityContext"] = mapping(have, "securityContext") | _restricted()
    made["volumeMounts"] = _merged(items(have, "volumeMounts"), _mounts(options, shape))
    # What was asked for before, and is not now, stays: a new version is not to lose the settings.
    kept = ("image", "resources") if options.config_map else ("image", "resources", "args")
    made |= {name: have[name] for name in kept if name in have}
    return have | made | ({"image": options.image} if options.image else {})


def _environment(shape: Shape) -> list[Document]:
    """What follows from the pod: the environment wins over the ConfigMap, which then cannot break it."""
    address = SOCKET if shape.native else LOOPBACK
    values = {
        # For `kubectl exec … -- state-sidecar status`, and the other commands.
        "STATE_SIDECAR_TARGET": address,
        "STATE_SIDECAR_LISTEN": address,
        # The kubelet probes from outside the pod. No keys and no values are told here.
        "STATE_SIDECAR_HTTP_LISTEN": f"0.0.0.0:{HTTP_PORT}",
        "STATE_SIDECAR_DATA_DIR": "/data",
        # With the writes under way, below the pod's terminationGracePeriodSeconds.
        "STATE_SIDECAR_GRACE_PERIOD_S": "20" if shape.native else "10",
        # Below the container's memory limit, with room for the daemon itself (about 100 MiB) and requests under way.
        "STATE_SIDECAR_CACHE_BYTES_MAX": "128MiB",
        "STATE_SIDECAR_LOG_FORMAT": "json",
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _probes(have: Document) -> Document:
    """Probes of another port or path than ours are replaced; of those that are right, the times are kept."""
    # The daemon is up within a second; opening a large database after a crash may take longer. Alive is whether the process
    # answers: a backend that is away is no reason to restart the daemon.
    wanted: dict[str, Document] = {
        "startupProbe": {"httpGet": {"path": "/readyz"}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"httpGet": {"path": "/readyz"}, "periodSeconds": 5, "timeoutSeconds": 2},
        "livenessProbe": {"httpGet": {"path": "/healthz"}, "periodSeconds": 10, "timeoutSeconds": 2},
    }
    made = {}
    for name, probe in wanted.items():
        probe["httpGet"]["port"] = "probes"
        there = mapping(have, name)
        asks = mapping(there, "httpGet")
        right = all(asks.get(key) == value for key, value in probe["httpGet"].items())
        made[name] = there if right else probe
    return made


def _restricted() -> Document:
    """The profile `restricted` of the Pod Security Standards, whatever the pod says; and a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": USER,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _mounts(options: Options, shape: Shape) -> list[Document]:
    settings = [{"name": SETTINGS_VOLUME, "mountPath": SETTINGS_FOLDER, "readOnly": True}] if options.config_map else []
    socket = [{"name": SOCKET_VOLUME, "mountPath": SOCKET_FOLDER}] if shape.native else []
    return [*settings, *socket, {"name": DATA_VOLUME, "mountPath": "/data"}]


def _volumes(options: Options, shape: Shape) -> list[Document]:
    settings = [{"name": SETTINGS_VOLUME, "configMap": {"name": options.config_map}}] if options.config_map else []
    socket = [{"name": SOCKET_VOLUME, "emptyDir": {"sizeLimit": "1Mi"}}] if shape.native else []
    return [*settings, *socket, {"name": DATA_VOLUME, "emptyDir": {"sizeLimit": "1Gi"}}]


def _tell(container: Document, shape: Shape) -> None:
    """A caller knows the address, and has the socket."""
    target = {"name": "STATE_SIDECAR_TARGET", "value": SOCKET if shape.native else LOOPBACK}
    container["env"] = _merged(items(container, "env"), [target])
    if shape.native:
        mounts = items(container, "volumeMounts")
        for mount in mounts:
            if str(mount.get("mountPath")).rstrip("/") == SOCKET_FOLDER and mount.get("name") != SOCKET_VOLUME:
                raise NotInjectable(f"container {container.get('name')} has another volume at {SOCKET_FOLDER}")
        # Read-only: it may connect to the socket, and not put another in its place.
        container["volumeMounts"] = _merged(
            mounts, [{"name": SOCKET_VOLUME, "mountPath": SOCKET_FOLDER, "readOnly": True}]
        )


def _set_pod(pod: Document) -> None:
    """Callers are in the group that the socket is open to, and the pod waits until the daemon has drained.

    With an fsGroup the kubelet gives the socket's directory to that group, and every container is in it. Without one, the
    group is added; an fsGroup would change the owner of all files in the pod's other volumes.
    """
    context = mapping(pod, "securityContext")
    groups = context.get("supplementalGroups") or []
    if "fsGroup" not in context and USER not in groups:
        pod["securityContext"] = context | {"supplementalGroups": [*groups, USER]}
    grace_s = pod.get("terminationGracePeriodSeconds")
    if not isinstance(grace_s, int) or grace_s < POD_GRACE_S:
        pod["terminationGracePeriodSeconds"] = POD_GRACE_S


def _check(pod: Document, shape: Shape) -> None:
    if pod.get("hostNetwork"):
        raise NotInjectable(f"hostNetwork: port {HTTP_PORT} would be the node's; leave it out")
    if mapping(pod, "os").get("name") == "windows":
        raise NotInjectable("the daemon runs on Linux, and os.name is windows")
    if _find(items(pod, "containers" if shape.native else "initContainers"), NAME):
        raise NotInjectable(f"it has another container called {NAME}: take that out")
    for container in [*items(pod, "initContainers"), *app_containers(pod)]:
        ports = {port.get("containerPort") for port in items(container, "ports")}
        if container.get("name") != NAME and HTTP_PORT in ports:
            raise NotInjectable(f"container {container.get('name')} has port {HTTP_PORT}: choose another")


def _find(have: list[Document], name: str) -> Document:
    return next((item for item in have if item.get("name") == name), {})


def _merged(have: list[Document], wanted: list[Document]) -> list[Document]:
    """The wanted items in the places of those with their names, the others at the end."""
    named = {item["name"]: item for item in wanted}
    known = {item.get("name") for item in have}
    return [*(named.get(item.get("name", ""), item) for item in have), *(i for i in wanted if i["name"] not in known)]


def _kept(have: list[Document], wanted: list[Document]) -> list[Document]:
    """As `_merged`, and what is there stays as it is."""
    return _merged(have, [_find(have, item["name"]) or item for item in wanted])
