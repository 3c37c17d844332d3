"""The simulation in short, its determinism, and its power: every mutant is caught. `make sim` runs thousands of seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.mutants import MUTANTS
from tests.sim.runs import Report, minimal_trace
from tests.sim.world import run

ROOT = Path(__file__).parents[2]
SHORT = range(100)
REPLAYED = 8
MUTANT_SEEDS_MAX = 600
FIRST_SEEDS = {
    "a writer creates cache entries": 45,
    "fills are unguarded": 25,
    "fills are guarded by version, without lease": 25,
    "the repairer skips what the cache did not hear": 500,
    "a turn that is taken over begins at the newest change": 20,
    "the near tier trusts a channel that is silent": 450,
    "joined reads skip the floor": 60,
    "a touch does not invalidate": 40,
}
"""Where a rare one is looked for: those before show nothing, and each of them costs a tenth of a second."""


def test_every_promise_is_exercised_and_kept() -> None:
    report = Report()
    for seed in SHORT:
        report.add(run(seed))

    told = [f"SEED={result.seed} {result.promise}: {result.failure}" for result in report.failed]
    assert not told, "\n".join([*told, *minimal_trace(report.failed[0])])
    assert not report.untested


def test_a_seed_replays_identically() -> None:
    first = [run(seed) for seed in range(REPLAYED)]

    # A trace costs no step and changes no draw.
    again = [run(seed, traced=True) for seed in range(REPLAYED)]
    assert [(result.digest, result.ticks) for result in again] == [(result.digest, result.ticks) for result in first]
    assert len({result.digest for result in first}) == REPLAYED


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_replays_identically_in_another_process(hash_seed: str) -> None:
    code = f"from tests.sim.world import run\nfor seed in range({REPLAYED}): print(run(seed).digest)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )

    assert [int(line) for line in told.stdout.split()] == [run(seed).digest for seed in range(REPLAYED)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    first = FIRST_SEEDS.get(name, 0)
    for seed in range(first, first + MUTANT_SEEDS_MAX):
        caught = run(seed, MUTANTS[name])
        if caught.promise:
            print(f"{name}: {caught.promise}, after {seed - first + 1} seeds")
            return

    pytest.fail(f"{name}: not caught in {MUTANT_SEEDS_MAX} seeds")
