"""`python -m examples.dialogues`: real conversations on three workers, with daemons and servers killed on the way."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.dialogues.check import Verdict, compare
from examples.dialogues.deployment import Deployment, embedded, on_servers
from examples.dialogues.replay import Figures, Replay
from examples.dialogues.worker import NAMESPACE
from statesidecar import Consistency, StateClient

SAMPLE = Path(__file__).parent / "data" / "sample.jsonl"
LARGER = Path(__file__).parents[3] / "shared" / "data" / "sgd_dialogues.jsonl"
DEPLOYMENTS = {"embedded": embedded, "servers": on_servers}
KILLS_MAX = 24
TURNS_PER_KILL = 8
"""At least: a daemon that is killed more often hardly gets to serve."""


def main() -> int:
    """0: every turn is there exactly once, every state as the dataset's, and the daemon was killed as often as asked."""
    options = _options()
    with options.data.open() as lines:
        dialogues = [json.loads(line) for line in lines][: options.dialogues]
    if options.kills is None:
        turns = sum(len(dialogue["turns"]) for dialogue in dialogues)
        options.kills = min(KILLS_MAX, turns // TURNS_PER_KILL)
    console = Console()
    console.print(f"{len(dialogues)} dialogues of {options.data.name}, seed {options.seed}")
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="dialogues-") as directory,
        DEPLOYMENTS[options.tiers](Path(directory)) as deployment,
        StateClient(deployment.targets[0], timeout_s=20) as client,
    ):
        client.status()  # answers once the daemon does
        figures = asyncio.run(_replay(deployment, dialogues, options, console))
        keys = [dialogue["dialogue_id"] for dialogue in dialogues]
        entries = [client.get(NAMESPACE, key, consistency=Consistency.STRONG).entry for key in keys]
    states = {key: entry and json.loads(entry.value) for key, entry in zip(keys, entries, strict=True)}
    verdict = compare(dialogues, states)
    console.print(_table(verdict, figures, time.monotonic() - start))
    return 0 if verdict.clean and figures.kills.total() == options.kills else 1


async def _replay(
    deployment: Deployment, dialogues: Sequence[dict[str, Any]], options: argparse.Namespace, console: Console
) -> Figures:
    turns = sum(len(dialogue["turns"]) for dialogue in dialogues)
    columns = (TextColumn("turns"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("kill -9: {task.fields[kills]}"), console=console) as progress:
        task = progress.add_task("turns", total=turns, kills=0)
        replay = Replay(
            deployment,
            kills=options.kills,
            seed=options.seed,
            on_turn=lambda kills: progress.update(task, advance=1, kills=kills),
        )
        await replay.run(dialogues)
    return replay.figures


def _table(verdict: Verdict, figures: Figures, seconds: float) -> Table:
    table = Table("what", "count")
    table.columns[1].justify = "right"
    rows = {
        "dialogues": verdict.dialogues,
        "turns": verdict.turns,
        "kill -9": _counts(figures.kills),
        "turns under way at the kills": figures.turns_hit,
        "turns handled again by a worker": _counts(figures.gave_up),
        "turns lost": verdict.lost,
        "turns doubled": verdict.doubled,
        "states equal to the dataset's": verdict.equal,
        "seconds": f"{seconds:.1f}",
    }
    for what, count in rows.items():
        table.add_row(what, str(count))
    return table


def _counts(counter: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in counter.most_common())
    return f"{counter.total()} ({kinds})" if counter else "0"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.dialogues", description=__doc__)
    parser.add_argument("--dialogues", type=int, metavar="N", help="only the first N (default: all)")
    parser.add_argument(
        "--tiers",
        choices=sorted(DEPLOYMENTS),
        default="embedded",
        help="one daemon on embedded tiers, or three that share Redis, PostgreSQL and S3 (default: embedded)",
    )
    parser.add_argument(
        "--kills",
        type=int,
        metavar="K",
        help=f"kill -9, of daemons and servers in turn (default: {KILLS_MAX}, fewer for few turns)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        default=LARGER if LARGER.exists() else SAMPLE,
        help="dialogues, one JSON object a line (default: the larger file if it is there, else the sample)",
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the kills' moments")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
