"""Long runs over real daemons: `python -m tests.watch --events 100000 --seconds 60 --seed 7 --store postgres`.

Exit 1: a promise of Watch was broken.
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
from tests.support.backends import shared_tiers
from tests.support.process import DaemonProcess, daemon_process
from tests.watch.daemons import Cluster, Outcome


@contextmanager
def daemons(store: str, directory: Path) -> Iterator[list[DaemonProcess]]:
    """Two over one PostgreSQL; or one over a file, which only one can have."""
    with ExitStack() as stack:
        if store == "sqlite":
            yield [stack.enter_context(daemon_process(directory / "one"))]
            return
        tiers = stack.enter_context(shared_tiers())
        yield [stack.enter_context(daemon_process(directory / name, **tiers)) for name in ("one", "two")]


def report(outcome: Outcome) -> str:
    """In a few lines."""
    what = f"{outcome.events} changes, {outcome.told} events told by {outcome.streams} streams"
    lines = [
        f"{what} in {outcome.seconds:.1f} s; ends: {outcome.errors}",
        *[f"{chain.name}: {len(chain.told)} events" for chain in outcome.chains],
        *[f"{name}: {problem}" for name, wrong in outcome.found.items() for problem in wrong],
    ]
    return "\n".join(lines)


def main() -> int:
    """Run, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=0.0, help="go on for at least so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--store", choices=["postgres", "sqlite"], default="postgres")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as directory, daemons(asked.store, Path(directory)) as running:
            cluster = Cluster(running, asked.seed)
            outcome = asyncio.run(cluster.run(events=asked.events, seconds=asked.seconds, kills=asked.kills))
    finally:
        stop_shared()
    print(report(outcome))
    return 1 if outcome.found else 0


if __name__ == "__main__":
    sys.exit(main())
