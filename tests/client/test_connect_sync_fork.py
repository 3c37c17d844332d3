"""Forks of a process whose blocking client is connected: a child has connections of its own, or is told why it can't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from statesidecar.testing import RunningSidecar
from tests.client.forking import CHILDREN


def forked(target: str, kind: str, *, support: bool) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.client.forking", target, kind],
        env=os.environ | {"GRPC_ENABLE_FORK_SUPPORT": str(int(support))},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.splitlines()


def test_with_grpcs_support_a_client_works_on_both_sides_of_a_fork(running: RunningSidecar) -> None:
    assert forked(running.target, "idle", support=True) == ["child: True"] * CHILDREN + ["parent: True"]


def test_without_it_a_child_is_told_so_and_does_not_hang(running: RunningSidecar) -> None:
    assert forked(running.target, "busy", support=False) == ["child: CLIENT_FORKED"] * CHILDREN + ["parent: True"]


def test_a_fork_beside_an_asyncio_client_is_told_so(running: RunningSidecar) -> None:
    said = forked(running.target, "asyncio", support=False)
    assert said == ["child: CLIENT_FORKED", "parent: True"]
