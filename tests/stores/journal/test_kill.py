"""kill -9 at any moment, again and again: every acknowledged write is found once, in order, as what it was told to be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.stores.journal.subjects import opened_files

ROOT = Path(__file__).parents[3]
KILLS = 50


@dataclass
class Told:
    """What the processes said, over all their lives."""

    key: dict[int, str] = field(default_factory=dict)
    state: dict[int, set[str]] = field(default_factory=dict)
    """What a sequence may be found as."""

    def hear(self, line: str) -> None:
        """A line of the process."""
        what, *rest = line.split()
        if what == "+":
            sequence = int(rest[1])
            assert sequence not in self.key, "a sequence is used again"
            self.key[sequence] = rest[0]
            self.state[sequence] = {"pending"}
            return
        ends = {
            "s": {"pending", "gone"},
            "X": {"pending", "dead"},
            "x": {"dead"},
            "R": {"dead", "gone"},
            "r": {"gone"},
        }
        self.state[int(rest[0])] = ends[what]

    def check(self, found: dict[int, tuple[str, str]]) -> None:
        """What is found by the next process; from then on it is certain."""
        for sequence, allowed in self.state.items():
            state = found[sequence][0] if sequence in found else "gone"
            assert state in allowed, (sequence, state, allowed)
        for sequence, (state, key) in found.items():
            # What was not acknowledged may be found too.
            assert self.key.setdefault(sequence, key) == key
            self.state[sequence] = {state}
        for sequence in self.state.keys() - found.keys():
            self.state[sequence] = {"gone"}


def kill_after(directory: Path, life: int, lines: int) -> list[str]:
    """What a process told that was killed at some moment after it had told some lines."""
    command = [sys.executable, "-m", "tests.stores.journal.child", str(directory), str(life)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    return [line for line in told if line.endswith("\n")]


@pytest.mark.timeout(600)  # fifty processes, on a busy machine
async def test_nothing_acknowledged_is_lost_or_told_twice_by_kills(tmp_path: Path) -> None:
    told = Told()
    random = Random(1)
    for life in range(KILLS):
        for line in kill_after(tmp_path, life, random.randint(1, 400)):
            told.hear(line)
        async with opened_files(tmp_path, bytes_max=1 << 30) as journal:
            pending, dead = journal.pending(), journal.dead()
        assert [each.sequence for each in pending] == sorted({each.sequence for each in pending})
        for each in pending:
            key = each.write.operation.key
            assert getattr(each.write.operation, "value", b"").replace(key.encode(), b"") == b""
        found = {each.sequence: ("pending", each.write.operation.key) for each in pending}
        buried = {each.buffered.sequence: ("dead", each.buffered.write.operation.key) for each in dead}
        assert not found.keys() & buried.keys()
        told.check(found | buried)

    states = [next(iter(ends)) for ends in told.state.values()]
    assert len(states) > 1000
    assert min(states.count("pending"), states.count("dead"), states.count("gone")) > 50
