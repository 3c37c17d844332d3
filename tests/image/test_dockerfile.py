"""What the Dockerfile and .dockerignore say, whatever the bases are."""

from __future__ import annotations

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

import sidecar

ROOT = Path(__file__).parents[2]
INSTRUCTION = re.compile(r"^([A-Z]+) (.*)$", re.DOTALL)


def instructions() -> list[tuple[str, str]]:
    """Instruction and argument, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = [INSTRUCTION.match(line) for line in joined.splitlines() if line.strip()]
    assert None not in found
    return [(match[1], " ".join(match[2].split())) for match in found if match is not None]


def arguments(name: str) -> list[str]:
    return [argument for instruction, argument in instructions() if instruction == name]


def final_stage() -> list[tuple[str, str]]:
    everything = instructions()
    last = max(index for index, (name, _) in enumerate(everything) if name == "FROM")
    return everything[last:]


def test_the_base_is_an_argument() -> None:
    assert arguments("ARG")[0].startswith("BASE=python:3.11")
    assert arguments("FROM") == ["${BASE} AS build", "${RUNTIME_BASE}"]


def test_the_final_stage_needs_no_shell() -> None:
    stage = final_stage()

    assert "RUN" not in [name for name, _ in stage]
    assert all(text.startswith("[") for name, text in stage if name in {"ENTRYPOINT", "CMD", "VOLUME"})


def test_the_daemon_runs_as_the_pod_user_on_a_data_volume() -> None:
    stage = dict(final_stage())
    deployment = yaml.safe_load((ROOT / "k8s/base/deployment.yaml").read_text())
    uid = deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"]

    assert stage["USER"] == f"{uid}:{uid}"
    assert stage["VOLUME"] == '["/data"]'
    assert "STATE_SIDECAR_DATA_DIR=/data" in stage["ENV"]


def test_the_version_is_the_one_that_is_built_and_deployed() -> None:
    labels = dict(pair.split("=", 1) for pair in shlex.split(dict(final_stage())["LABEL"]))
    deployment = yaml.safe_load((ROOT / "k8s/base/deployment.yaml").read_text())
    containers = deployment["spec"]["template"]["spec"]["initContainers"]

    assert labels["org.opencontainers.image.version"] == sidecar.__version__
    assert [container["image"] for container in containers] == [f"state-sidecar:{sidecar.__version__}"]


def test_probes_are_kubernetes_affair() -> None:
    assert not arguments("HEALTHCHECK")


def test_everything_from_outside_comes_with_its_hash() -> None:
    installs = [
        step for run in arguments("RUN") for step in run.split(" && ") if re.search(r"\b(install|wheel)\b", step)
    ]

    assert installs
    for step in installs:
        assert "--require-hashes" in step or "--no-deps" in step, step


@pytest.mark.parametrize("source", ["sidecar/cli/__init__.py", "clients/python/statesidecar/__init__.py", "LICENSE"])
def test_the_context_has_what_is_copied(source: str) -> None:
    assert in_context(source)


@pytest.mark.parametrize(
    "source",
    [
        ".git/config",
        ".venv/bin/python",
        "tests/image/test_dockerfile.py",
        ".state-sidecar/state.db",
        "sidecar/__pycache__/x.pyc",
    ],
)
def test_the_context_has_nothing_else(source: str) -> None:
    assert not in_context(source)


def test_every_copied_path_exists_and_is_in_the_context() -> None:
    for argument in arguments("COPY"):
        if not argument.startswith("--from"):
            for source in argument.split()[:-1]:
                assert (ROOT / source).exists()
                assert in_context(source)


def in_context(path: str) -> bool:
    """As .dockerignore says: the last line that matches the path or a folder above it decides."""
    included = True
    folders = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            # `**/` is at any depth; elsewhere a pattern is of the whole path.
            names = [Path(name).name for name in folders] if "**/" in line else folders
            if any(fnmatch(name, pattern) for name in names):
                included = line.startswith("!")
    return included
