"""What `kubectl kustomize` makes of the manifests."""

from __future__ import annotations

import copy
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parents[2] / "k8s"
KUBECTL = Path(sys.executable).with_name("kubectl")
# The first with native sidecars on by default, the one where they became stable, and the newest that the schemas have.
VERSIONS = ("1.29", "1.33", "1.37")
Resource = dict[str, Any]


def build(folder: Path) -> list[Resource]:
    """The resources of a kustomization, patched."""
    return copy.deepcopy(_built(folder))


def one(resources: list[Resource], kind: str) -> Resource:
    [found] = [resource for resource in resources if resource["kind"] == kind]
    return found


def mounts(container: Resource) -> dict[str, Resource]:
    return {mount["name"]: mount for mount in container["volumeMounts"]}


def values(container: Resource) -> dict[str, str]:
    """The environment that is written down; what comes from a Secret is not."""
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


@cache
def _built(folder: Path) -> list[Resource]:
    made = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, check=False, text=True)
    assert made.returncode == 0, made.stderr
    assert not made.stderr, "nothing is deprecated"
    return [document for document in yaml.safe_load_all(made.stdout) if document is not None]
