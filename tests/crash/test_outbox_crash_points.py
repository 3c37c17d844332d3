"""The outbox dies at every place of its own: every message goes out, in order per key, and few go out twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import sidecar
from sidecar.runtime.failpoints import VARIABLE
from tests.crash.outbox_daemon import COMMITTED, CONFIG, GIVEN, KEYS, ROUNDS

ROOT = Path(__file__).parents[2]
POINTS = (
    "outbox.join.after",
    "outbox.take.before",
    "outbox.take.after",
    "outbox.publish.before",
    "outbox.publish.before:9",
    "outbox.publish.after",
    "outbox.publish.after:9",
    "outbox.mark.before:7",
    "outbox.mark.after:7",
    "outbox.keep.before:3",
    "outbox.keep.after:3",
    "outbox.redrive.before:5",
    "outbox.redrive.after:5",
    "outbox.leave.before",
    "outbox.leave.after",
)
LIFE_S = 60.0


def live(directory: Path, point: str = "") -> int:
    """One life; its exit code."""
    environ = os.environ | {VARIABLE: point}
    command = [sys.executable, "-m", "tests.crash.outbox_daemon", str(directory)]
    done = subprocess.run(command, cwd=ROOT, env=environ, timeout=LIFE_S, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def test_every_place_of_the_outbox_is_tried() -> None:
    sources = Path(sidecar.__file__).parent.rglob("*.py")
    named = {name for path in sources for name in re.findall(r'reach\("(outbox\.[a-z0-9_.]+)"\)', path.read_text())}

    assert named == {point.partition(":")[0] for point in POINTS}


@pytest.mark.parametrize("point", POINTS)
def test_an_outbox_dies_there(tmp_path: Path, point: str) -> None:
    assert live(tmp_path, point) == -signal.SIGKILL, f"it did not come by {point}"
    assert live(tmp_path) == 0

    committed = {name for line in (tmp_path / COMMITTED).read_text().splitlines() for name in line.split()}
    taken = Counter[str]()
    firsts: dict[str, list[str]] = defaultdict(list)
    for line in (tmp_path / GIVEN).read_text().splitlines():
        said, name, key = line.split(maxsplit=2)
        if said == "taken":
            taken[name] += 1
            if taken[name] == 1:
                firsts[key].append(name)

    assert len(committed) == 2 * ROUNDS * len(KEYS)
    assert committed <= set(taken), "nothing is lost"
    assert len(set(taken) - committed) <= 2, "of a commit that the death kept from being told"
    assert sum(taken.values()) - len(taken) <= CONFIG.in_flight_max
    for key in KEYS:
        if key != "poison":  # what was put back comes later
            assert firsts[key] == sorted(firsts[key])
