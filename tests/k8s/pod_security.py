"""The profile `restricted` of the Pod Security Standards, as Kubernetes' documentation has it for Linux pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Pod = dict[str, Any]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
SECCOMP = {"RuntimeDefault", "Localhost"}
SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def violations(pod: Pod) -> list[str]:
    """What the profile forbids, by container; empty: the pod would be admitted."""
    return [*_of_pod(pod), *(line for container in _containers(pod) for line in _of_container(container, pod))]


def of_container(pod: Pod, name: str) -> list[str]:
    """The same for one container."""
    return [
        line for container in _containers(pod) if container["name"] == name for line in _of_container(container, pod)
    ]


def _containers(pod: Pod) -> list[dict[str, Any]]:
    return [each for kind in ("initContainers", "containers", "ephemeralContainers") for each in pod.get(kind) or []]


def _of_pod(pod: Pod) -> Iterator[str]:
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    for volume in pod.get("volumes") or []:
        if not volume.keys() - {"name"} <= VOLUMES:
            yield f"volume {volume['name']}"
    for sysctl in pod.get("securityContext", {}).get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"


def _of_container(container: dict[str, Any], pod: Pod) -> Iterator[str]:
    own, shared = container.get("securityContext") or {}, pod.get("securityContext") or {}
    both = shared | own
    capabilities = own.get("capabilities") or {}
    selinux = both.get("seLinuxOptions") or {}
    checks = {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "capabilities.drop": "ALL" in capabilities.get("drop", []),
        "capabilities.add": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot": both.get("runAsNonRoot") is True,
        "runAsUser": both.get("runAsUser") != 0,
        "seccompProfile": (both.get("seccompProfile") or {}).get("type") in SECCOMP,
        "seLinuxOptions": selinux.get("type", "") in SELINUX and not {"user", "role"} & selinux.keys(),
        "appArmorProfile": (both.get("appArmorProfile") or {}).get("type") != "Unconfined",
        "procMount": own.get("procMount", "Default") == "Default",
        "hostProcess": not (both.get("windowsOptions") or {}).get("hostProcess"),
        "hostPort": not any(port.get("hostPort") for port in container.get("ports") or []),
    }
    yield from (f"{container['name']}: {name}" for name, held in checks.items() if not held)
