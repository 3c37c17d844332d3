"""`python -m tests.sim --seeds N [--jobs 2]`, or `--seed S [--trace]` to see one again."""

from __future__ import annotations

import argparse
import sys

from tests.sim.runs import console, run_seeds
from tests.sim.world import run


def main() -> int:
    """Exit status 1: a promise was broken, or never exercised."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="replay this one only")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--trace", action="store_true", help="print every step's effect (with --seed)")
    arguments = parser.parse_args()
    if arguments.seed is None:
        return run_seeds(range(arguments.first, arguments.first + arguments.seeds), arguments.jobs, console())
    if arguments.trace:
        for line in run(arguments.seed, traced=True).trace:
            print(line)
    return run_seeds(range(arguments.seed, arguments.seed + 1), 1, console())


if __name__ == "__main__":
    sys.exit(main())
