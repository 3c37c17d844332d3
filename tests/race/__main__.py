"""`python -m tests.race --fills 1000000 --cache valkey`: does a stale fill get past the leases? Exit status 1: yes."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.race.caches import CACHES, PROTOCOLS, connector
from tests.race.harness import Figures, Race


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.race", description=__doc__)
    parser.add_argument("--fills", type=int, default=1_000_000, help="accepted fills to reach")
    parser.add_argument("--cache", choices=sorted(CACHES), default="valkey")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), default="ours", help="ours, or a planted wrong one")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start = time.monotonic()
    console = Console()
    with (
        connector(options.cache, options.protocol) as connect,
        Progress(
            TextColumn("fills"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
        ) as progress,
    ):
        task = progress.add_task("fills", total=options.fills)

        def show(figures: Figures) -> None:
            progress.update(task, completed=figures.fills)

        figures = asyncio.run(Race(connect, seed=options.seed).run(options.fills, show))
    console.print(
        f"{options.protocol} on {options.cache}: {figures.stale} stale of {figures.fills:,} fills, "
        f"{figures.unrepaired} unrepaired after {figures.deaths:,} deaths; {figures.reads:,} keys read, "
        f"{figures.writes:,} writes, {figures.evictions:,} evictions, {time.monotonic() - start:.0f} s",
        soft_wrap=True,
    )
    for example in figures.examples:
        console.print(f"  {example}")
    return 1 if figures.stale or figures.unrepaired else 0


if __name__ == "__main__":
    sys.exit(main())
