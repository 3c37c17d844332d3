"""Defects that the runner finds: what each is, what shows it, and how soon.

`python -m tests.chaos.planted_table` runs all again and prints the table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A defect of `tests.chaos.planted`. `verdict`: how the violation begins that shows it. `faults`: those that provoke it.

    `seconds`: of load; `took`: seconds from the first server's start to the verdict, on two busy cores.
    """

    name: str
    what: str
    verdict: str
    faults: tuple[str, ...]
    seconds: float
    took: int


LOST = ("postgres-loses-replies", "postgres-stopped-at-once")
LATE = ("valkey-forgets-while-a-daemon-is-stopped", "valkey-forgets-and-hears-late")
APART = ("link-blackholed", "link-half-open", "link-refused")
QUIET = ("link-reset",)

TABLE = (
    Planted(
        name="unknown-told-as-conflict",
        what="a write of which nobody knows whether it landed is told as a lost compare-and-set",
        verdict="not linearizable",
        faults=LOST,
        seconds=20,
        took=68,
    ),
    Planted(
        name="unknown-told-as-unavailable",
        what="such a write is told as one that was not done",
        verdict="not linearizable",
        faults=LOST,
        seconds=20,
        took=35,
    ),
    Planted(
        name="request-ids-ignored",
        what="a write that is repeated under its request id is done twice",
        verdict="not linearizable",
        faults=LOST,
        seconds=20,
        took=50,
    ),
    Planted(
        name="replays-without-request-id",
        what="a buffered write is settled under a new id: it may have been committed before its reply was lost",
        verdict="not linearizable",
        faults=("link-replies-vanish", "postgres-loses-replies"),
        seconds=60,
        took=116,
    ),
    Planted(
        name="cas-on-absent-succeeds",
        what="a compare-and-set of a key that is gone matches any version",
        verdict="not linearizable",
        faults=QUIET,
        seconds=12,
        took=22,
    ),
    Planted(
        name="rows-not-locked",
        what="rows are read without a lock before they are changed",
        verdict="not linearizable",
        faults=QUIET,
        seconds=12,
        took=18,
    ),
    Planted(
        name="commits-not-durable",
        what="commits are acknowledged before they are in PostgreSQL's log",
        verdict="not linearizable",
        faults=("postgres-killed", "postgres-stopped-at-once"),
        seconds=20,
        took=47,
    ),
    Planted(
        name="writers-create-copies",
        what="a writer leaves a copy where the cache had none",
        verdict="stale copy",
        faults=LATE,
        seconds=25,
        took=50,
    ),
    Planted(
        name="fills-without-lease",
        what="whoever has read puts it into the cache",
        verdict="stale copy",
        faults=LATE,
        seconds=25,
        took=46,
    ),
    Planted(
        name="fills-guarded-by-version-only",
        what="a fill lands unless something newer is in the cache",
        verdict="stale copy",
        faults=("valkey-forgets-and-hears-late",),
        seconds=50,
        took=74,
    ),
    Planted(
        name="changes-not-repaired",
        what="copies hear of changes from their writers only",
        verdict="stale copy",
        faults=("daemon-killed", "link-blackholed", "link-replies-cut", "link-half-open"),
        seconds=25,
        took=46,
    ),
    Planted(
        name="deletions-not-told",
        what="copies of deleted keys stay in the cache",
        verdict="stale copy",
        faults=QUIET,
        seconds=15,
        took=32,
    ),
    Planted(
        name="min-version-ignored",
        what="a copy is served that is older than the caller's min_version",
        verdict="audit of copies",
        faults=APART,
        seconds=20,
        took=34,
    ),
    Planted(
        name="strong-reads-from-cache",
        what="a strong read is answered by a copy",
        verdict="not linearizable",
        faults=APART,
        seconds=20,
        took=31,
    ),
    Planted(
        name="outage-told-as-miss",
        what="a read that the authority does not answer finds nothing",
        verdict="not linearizable",
        faults=("postgres-restarted", "link-refused"),
        seconds=20,
        took=40,
    ),
    Planted(
        name="passthrough-claims-committed",
        what="a write that was dropped is told as committed",
        verdict="not linearizable",
        faults=("postgres-restarted", "postgres-paused"),
        seconds=20,
        took=40,
    ),
    Planted(
        name="group-shares-one-outcome",
        what="writes that share a commit are all told what became of the first",
        verdict="not linearizable",
        faults=QUIET,
        seconds=12,
        took=39,
    ),
    Planted(
        name="never-reconnects",
        what="after a failure PostgreSQL is never tried again",
        verdict="daemons are",
        faults=("postgres-restarted", "postgres-paused"),
        seconds=15,
        took=92,
    ),
    Planted(
        name="connections-left-open",
        what="a connection that is given up keeps its file descriptors",
        verdict="daemon",
        faults=("postgres-all-backends-terminated", "link-replies-vanish", "daemon-cut-off-from-postgres"),
        seconds=25,
        took=52,
    ),
    Planted(
        name="password-in-the-log",
        what="a failure to connect is logged with all that libpq was told",
        verdict="daemon",
        faults=("postgres-restarted",),
        seconds=12,
        took=24,
    ),
)


def caught(planted: Planted, *, seed: int = 3) -> tuple[list[str], float]:
    """The violations that show the defect, and the time that the run took."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="planted-") as directory:
        run = Run(
            Path(directory),
            seconds=planted.seconds,
            seed=seed,
            kinds=planted.faults,
            planted=planted.name,
            say=lambda _: None,
        )
        violations = run.run().violations
    return [found for found in violations if found.startswith(planted.verdict)], time.monotonic() - begin


def main() -> int:
    """Run all, or those that are named; exit status 1: one was not caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.planted_table", description=__doc__)
    parser.add_argument("names", nargs="*", help="all if none is given")
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    missed = 0
    print(f"{'defect':32} {'took':>6}  verdict")
    for planted in TABLE:
        if options.names and planted.name not in options.names:
            continue
        found, took = caught(planted, seed=options.seed)
        missed += not found
        print(
            f"{planted.name:32} {took:4.0f} s  {found[0].splitlines()[0][:120] if found else 'NOT CAUGHT'}", flush=True
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
