"""The repository as the tidy checks see it: what git has or would add."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("sidecar/", "clients/", "servers/", "tools/", "bench/", "examples/")
DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"),
    *("docs/settings.md", "docs/metrics.md", "docs/runbooks.md", "docs/kubernetes.md"),
    *("docs/security/calls.md", "docs/security/encryption.md", "docs/security/pod.md"),
)


@cache
def repository() -> tuple[str, ...]:
    """Every file, by its path from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = sorted(name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file())
    assert len(names) > 100, "git lists the repository"
    return tuple(names)


@cache
def text(name: str) -> str:
    """A file's content; empty for one that is no text."""
    try:
        return (ROOT / name).read_text()
    except UnicodeDecodeError:
        return ""


@cache
def tree(name: str) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(text(name))


def modules(*folders: str) -> list[str]:
    """Python files that people write, in these folders."""
    return [name for name in repository() if name.endswith(".py") and name.startswith(folders) and "_pb2" not in name]
