"""`python -m tests.outbox run --store postgres --messages 1000000 --kills 100`: every message, and its owners killed."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click

from sidecar.engine.outbox.config import OutboxConfig
from tests.outbox import daemons as driving
from tests.outbox import latency as measuring
from tests.outbox import planted as planting
from tests.outbox import poison as poisoning
from tests.outbox import runs, stored

STORE = click.option("--store", type=click.Choice(stored.STORES), multiple=True, default=stored.STORES)
SEED = click.option("--seed", default=1, show_default=True)


@click.group()
def main() -> None:
    """What becomes of the outbox's messages, while those that deliver them are killed and stopped."""


@main.command()
@STORE
@SEED
@click.option("--messages", default=1_000_000, show_default=True)
@click.option("--kills", default=100, show_default=True, help="Owners that are killed, or stopped beyond their lease.")
@click.option("--rate", default=2_500.0, show_default=True, help="Messages a second that are written.")
@click.option("--in-flight", default=32, show_default=True, help="Messages that an owner has on their way at most.")
def run(store: tuple[str, ...], seed: int, messages: int, kills: int, rate: float, in_flight: int) -> None:
    """Is every message delivered, and only those, and each key in order?"""
    wrong = False
    for name in store:
        relay = replace(runs.QUICK, in_flight_max=in_flight)
        settings = runs.Settings(store=name, messages=messages, kills=kills, seed=seed, rate=rate, relay=relay)
        with tempfile.TemporaryDirectory() as directory:
            report = runs.run(settings, Path(directory))
        wrong |= bool(report.verdict.wrong)
        print(f"{name}: {report}", flush=True)
    sys.exit(wrong)


@main.command()
@SEED
@click.option("--messages", default=20_000, show_default=True)
@click.option("--kills", default=10, show_default=True)
def daemons(seed: int, messages: int, kills: int) -> None:
    """The same with whole daemons: writers over gRPC, and a stream of Redis for a sink."""
    with tempfile.TemporaryDirectory() as directory:
        verdict, done = driving.run(Path(directory), messages=messages, kills=kills, seed=seed)
    print(verdict, dict(done), sep="\n")
    sys.exit(bool(verdict.wrong))


@main.command()
@STORE
@click.option("--messages", default=6_000, show_default=True)
@click.option("--rate", default=200.0, show_default=True)
def latency(store: tuple[str, ...], messages: int, rate: float) -> None:
    """How long from the commit to the arrival?"""
    slow = False
    for name in store:
        settings = runs.Settings(store=name, messages=messages, kills=0, rate=rate, relay=OutboxConfig(), trouble=False)
        with tempfile.TemporaryDirectory() as directory:
            figures = measuring.run(settings, Path(directory))
        slow |= figures.p99 > measuring.P99_MAX_MS
        print(figures, flush=True)
    sys.exit(slow)


@main.command()
@STORE
@click.option("--messages", default=24_000, show_default=True, help="A round.")
@click.option("--rounds", default=7, show_default=True)
def poison(store: tuple[str, ...], messages: int, rounds: int) -> None:
    """What does a key whose messages are always refused cost the others?"""
    dear = False
    for name in store:
        with tempfile.TemporaryDirectory() as directory:
            figures = poisoning.run(name, Path(directory), messages=messages, rounds=rounds)
        dear |= figures.cost > poisoning.COST_MAX
        print(f"{name}: {figures}", flush=True)
    sys.exit(dear)


@main.command()
@SEED
@click.option("--messages", default=3_000, show_default=True)
@click.argument("names", nargs=-1)
def planted(messages: int, seed: int, names: tuple[str, ...]) -> None:
    """Wrong relays, each of which the audit has to find, and a right one."""
    missed = False
    for name, one in {"right": planting.RIGHT, **planting.PLANTED}.items():
        if names and name not in names:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            verdict = planting.run(one, Path(directory), messages=messages, seed=seed)
        expected = list(verdict.wrong) == [one.found] * bool(one.found)
        missed |= not expected
        print(
            f"{name}: {'as expected' if expected else 'NOT SO'}, {time.monotonic() - began:.1f} s: {verdict}",
            flush=True,
        )
    sys.exit(missed)


if __name__ == "__main__":
    main()
