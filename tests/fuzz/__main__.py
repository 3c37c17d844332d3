"""`python -m tests.fuzz --seconds 60`: all targets, each for so long, and what they found. Exit status 1: something.

`python -m tests.fuzz wire --seconds 60`: hostile bytes to a daemon's port.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.fuzz.running import REGRESSIONS, Report, run_all
from tests.fuzz.targets import NAMES
from tests.fuzz.wire import Wire
from tests.support.process import daemon_process


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["targets", "wire"], default="targets")
    parser.add_argument("--target", choices=NAMES, action="append", help="only this one; repeatable")
    bounds = parser.add_mutually_exclusive_group()
    bounds.add_argument("--seconds", type=int, help="of each target (default 60)")
    bounds.add_argument("--executions", type=int, help="of each target")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at a time")
    options = parser.parse_args()
    seconds = 60 if options.executions is None and options.seconds is None else options.seconds
    if options.what == "wire":
        return _wire(seconds or 60, options.seed)
    reports = run_all(
        options.target or NAMES,
        keep=REGRESSIONS,
        jobs=options.jobs,
        seconds=seconds,
        executions=options.executions,
        seed=options.seed,
        told=_tell,
    )
    found = [report for report in reports if report.finding]
    print(f"{sum(report.executions for report in reports):,} executions, {len(found)} findings")
    return 1 if found else 0


def _tell(report: Report) -> None:
    print(report.line, flush=True)
    if report.finding:
        print(report.said)


def _wire(seconds: int, seed: int) -> int:
    with tempfile.TemporaryDirectory() as folder, daemon_process(Path(folder)) as daemon:
        wire = Wire(daemon, seed=seed or int.from_bytes(os.urandom(4), "big"))
        print(f"seed {wire.seed}", flush=True)
        wire.run(seconds)
        print(wire.line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
