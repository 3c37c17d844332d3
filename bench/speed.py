"""Every comparison with what an application would use instead: `python -m bench.speed [--quick]`, a table and plots.

One module each, which can be run alone: throughput, promotion, commits, vectors, near, growth, arrivals.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from bench import arrivals, commits, growth, near, plots, promotion, report, throughput, vectors
from bench.alone import FULL, QUICK
from bench.racing import Race

PARTS = (throughput, promotion, commits, vectors, near)
ARRIVALS_S, ARRIVALS_QUICK_S = 60.0, 2.0


def measure(progress: Callable[[str], None], *, quick: bool) -> list[Race]:
    """All of them, one after another."""
    size = QUICK if quick else FULL
    races = [race for part in PARTS for race in part.measure(progress, size)]
    races += growth.measure(progress, size, counts=growth.COUNTS[:2] if quick else growth.COUNTS)
    return [*races, arrivals.measure(progress, seconds=ARRIVALS_QUICK_S if quick else ARRIVALS_S)]


def main() -> int:
    """Measures, saves the plots, prints. 1: a target is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a short pass, for seeing that it works; saves nothing")
    quick = parser.parse_args().quick
    console = report.console()
    with console.status("") as status:
        races = measure(status.update, quick=quick)
    if not quick:
        plots.save(races)
    report.show_tables(report.race_tables(races), console)
    return 0 if all(race.met for race in races) else 1


if __name__ == "__main__":
    sys.exit(main())
