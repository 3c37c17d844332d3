"""One comparison by itself: `python -m bench.NAME [--rounds N] [--block SECONDS] [--loop uvloop]`, a table, exit code 1 for a missed target."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from bench import report
from bench.racing import ROUNDS_MIN, Race, Size

FULL = Size(rounds=7, block_s=0.25)
QUICK = Size(rounds=2, block_s=0.05)


def run(measure: Callable[[Callable[[str], None], Size], Sequence[Race]]) -> None:
    """Measure, print, and end the program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=FULL.rounds, help=f"at least {ROUNDS_MIN} for figures to be told")
    parser.add_argument("--block", type=float, default=FULL.block_s, help="seconds of a block")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default=FULL.loop, help="the callers' event loop")
    options = parser.parse_args()
    console = report.console()
    with console.status("") as status:
        races = measure(status.update, Size(rounds=options.rounds, block_s=options.block, loop=options.loop))
    report.show_tables(report.race_tables(races), console)
    sys.exit(0 if all(race.met for race in races) else 1)
