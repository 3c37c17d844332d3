"""`python -m bench`: everything side by side, a table, and bench/results/*.json. Exit code 1: a target is missed."""

from __future__ import annotations

import argparse
import sys

from bench import (
    checkpoint_storage,
    footprint,
    plots,
    postgres,
    redis,
    report,
    security,
    speed,
    sqlite,
    telemetry,
    unary,
)
from bench.figures import Report

FULL = {
    "rounds": 40,
    "calls": 250,
    "telemetry_rounds": 100,
    "sqlite_rounds": 10,
    "sqlite_writes": 1600,
    "starts": 5,
    "server_rounds": 12,
    "server_calls": 2000,
    "turns": 1000,
}
QUICK = {
    "rounds": 8,
    "calls": 100,
    "telemetry_rounds": 8,
    "sqlite_rounds": 2,
    "sqlite_writes": 320,
    "starts": 1,
    "server_rounds": 3,
    "server_calls": 400,
    "turns": 100,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short pass, for seeing that it works; saves nothing")
    parser.add_argument("--write-readme", action="store_true", help="put the table into bench/README.md")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    console = report.console()
    with console.status("") as status:

        def progress(title: str) -> None:
            status.update(title)

        measured = Report(
            machine=report.machine(),
            settings=sizes,
            footprint=footprint.measure(progress, starts=sizes["starts"]),
            unary=unary.measure(progress, rounds=sizes["rounds"], calls=sizes["calls"]),
            telemetry=telemetry.measure(progress, rounds=sizes["telemetry_rounds"], calls=sizes["calls"]),
            security=security.measure(progress, rounds=sizes["rounds"], calls=sizes["calls"]),
            redis=redis.measure(progress, rounds=sizes["server_rounds"], calls=sizes["server_calls"] // 4),
            postgres=postgres.measure(progress, rounds=sizes["server_rounds"], writes=sizes["server_calls"]),
            group_commit=sqlite.measure(progress, rounds=sizes["sqlite_rounds"], writes=sizes["sqlite_writes"]),
            checkpoints=checkpoint_storage.measure(progress, turns=sizes["turns"]),
            races=speed.measure(progress, quick=options.quick),
        )
    report.show(measured, console)
    if not options.quick:
        report.save(measured, report.HERE / "results")
        checkpoint_storage.save(measured.checkpoints)
        plots.save(measured.races)
    if options.write_readme:
        report.write_readme(measured)
    return 0 if measured.met else 1


if __name__ == "__main__":
    sys.exit(main())
