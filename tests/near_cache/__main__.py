"""Long runs over real daemons: `python -m tests.near_cache --reads 1000000 --seed 7`.

Exit 1: an answer from a near cache was older than it said.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from servers.base import stop_shared
from statesidecar import NearCache
from tests.near_cache.runs import Outcome, Run
from tests.support.backends import shared_tiers
from tests.support.process import DaemonProcess, daemon_process


@contextmanager
def two_daemons(directory: Path) -> Iterator[list[DaemonProcess]]:
    """Over one PostgreSQL and one Redis."""
    with ExitStack() as stack:
        tiers = stack.enter_context(shared_tiers())
        yield [stack.enter_context(daemon_process(directory / name, **tiers)) for name in ("one", "two")]


def report(outcome: Outcome) -> str:
    """In a few lines."""
    lines = [
        f"{outcome.reads} reads, {outcome.hits} of them hits; {outcome.writes} writes on another daemon",
        f"faults: {dict(outcome.faults)}; errors: {dict(outcome.errors)}",
        f"superseded for {outcome.oldest_s:.3f} s at most",
        *outcome.problems,
    ]
    return "\n".join(lines)


def main() -> int:
    """Run, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-age", type=float, default=5.0, help="seconds")
    parser.add_argument(
        "--fault", type=float, default=2.0, help="a stream is cut, or falls silent, each so many seconds"
    )
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two writes of each writer")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as directory, two_daemons(Path(directory)) as (one, two):
            settings = NearCache(max_age_s=asked.max_age)
            run = Run(one.target, two.target, asked.seed, settings, write_pause_s=asked.pause)
            outcome = asyncio.run(run.go(reads=asked.reads, fault_s=asked.fault))
    finally:
        stop_shared()
    print(report(outcome))
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
