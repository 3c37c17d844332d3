"""Real daemons and servers under faults, and a verdict on what their clients saw.

    python -m tests.chaos --seconds 600 --seed 7 [--faults daemon-killed,link-slow] [--planted NAME]

Exit status 1: a promise was broken. 2: the run shows nothing, and says why.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos import schedule
from tests.chaos.history import dump
from tests.chaos.planted import DEFECTS, NONE
from tests.chaos.runs import Report, Run


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--faults", default="", help="kinds to choose from, comma-separated; all if not given")
    parser.add_argument(
        "--planted",
        default=NONE,
        choices=[NONE, *DEFECTS],
        help="run daemons with a defect of tests/chaos/planted_table.py",
    )
    parser.add_argument("--history", type=Path, help="where to write the history, as JSON lines")
    parser.add_argument("--list", action="store_true", help="print the kinds of faults, and end")
    options = parser.parse_args()
    if options.list:
        print("\n".join(schedule.ALL))
        return 0
    kinds = [kind for kind in options.faults.split(",") if kind] or list(schedule.ALL)
    if unknown := set(kinds) - set(schedule.ALL):
        parser.error(f"there are no faults {', '.join(sorted(unknown))}; --list prints all")
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        run = Run(Path(directory), seconds=options.seconds, seed=options.seed, kinds=kinds, planted=options.planted)
        report = run.run()
    if options.history is not None:
        dump(report.history, options.history)
    print(table(report))
    return report.code


def table(report: Report) -> str:
    """All that a run has to say."""
    times = Counter(fault.kind for fault in report.injected)
    effects = Counter(fault.kind for fault in report.injected if fault.effect)
    lines = ["", f"{'fault':36} {'injected':>8} {'effect':>8}"]
    lines += [f"{kind:36} {times[kind]:8} {effects[kind]:8}" for kind in sorted(times)]
    lines += ["", f"{'operation':14} {'ok':>8} {'conflict':>8} {'failed':>8} {'unknown':>8}"]
    calls = Counter((call.kind.value, call.outcome.value) for call in report.history)
    for kind in sorted({kind for kind, _ in calls}):
        counts = " ".join(f"{calls[kind, outcome]:8}" for outcome in ("ok", "conflict", "failed", "unknown"))
        lines.append(f"{kind:14} {counts}")
    modes = Counter(call.mode for call in report.history if call.mode)
    kept = Counter(call.durability for call in report.history if call.durability)
    errors = Counter(call.error for call in report.history if call.error)
    for name, counted in (("modes", modes), ("durability", kept), ("errors", errors)):
        lines.append(f"{name}: " + ", ".join(f"{what} {count}" for what, count in counted.most_common()))
    lines.append(
        f"{len(report.history)} operations, {len(report.injected)} faults of {len(times)} kinds in {report.seconds:g} s "
        f"({report.figures.get('rate', 0.0):.0f} operations a second; healed after {report.figures.get('healed_s', 0.0):.1f} s)"
    )
    lines += [f"INVALID: {reason}" for reason in report.invalid]
    lines += [f"VIOLATION: {violation}" for violation in report.violations]
    lines.append(
        f"seed {report.seed}: " + ("nothing is wrong", "a promise was broken", "the run is invalid")[report.code]
    )
    return "\n".join(lines)


if __name__ == "__main__":
    begun = time.monotonic()
    code = main()
    print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(code)
