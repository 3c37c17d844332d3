"""`python -m tests.schemas rolling --stage 10`, `python -m tests.schemas killed --entries 5000 --kills 100`: and its verdict."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click

from examples.dialogues.__main__ import LARGER, SAMPLE
from tests.schemas import killed as killing
from tests.schemas import rolling as replacing
from tests.support.backends import shared_tiers


@click.group()
def main() -> None:
    """What becomes of state while its schema changes under clients and daemons of all of them."""


@main.command()
@click.option("--dialogues", type=int, help="Only the first so many. Default: all.")
@click.option("--stage", default=10.0, show_default=True, help="Seconds of load a stage of the rollout.")
@click.option("--seed", default=1, show_default=True)
def rolling(dialogues: int | None, stage: float, seed: int) -> None:
    """Daemons that are replaced one by one."""
    data = LARGER if LARGER.exists() else SAMPLE
    given = [json.loads(line) for line in data.read_text().splitlines()][:dialogues]
    with tempfile.TemporaryDirectory() as directory, shared_tiers() as tiers:
        verdict = replacing.run(Path(directory), tiers, given, stage_s=stage, seed=seed)
    print(f"{len(given)} dialogues of {data.name}: {verdict}", *verdict.wrong[:10], sep="\n")
    sys.exit(not verdict.clean)


@main.command()
@click.option("--entries", default=5_000, show_default=True)
@click.option("--kills", default=100, show_default=True)
@click.option("--seed", default=1, show_default=True)
def killed(entries: int, kills: int, seed: int) -> None:
    """A migration whose daemon is killed again and again."""
    with tempfile.TemporaryDirectory() as directory, shared_tiers() as tiers:
        verdict = killing.run(Path(directory), tiers, entries=entries, kills=kills, seed=seed)
    print(verdict, *verdict.wrong[:10], sep="\n")
    sys.exit(not verdict.clean)


if __name__ == "__main__":
    main()
