"""`python -m tests.outage kills --writes 10000 --kills 10`: a programme about outages, and its verdict."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from servers.base import free_ports
from tests.chaos.deployment import Deployment
from tests.outage import expiry as expiring
from tests.outage import figures
from tests.outage import flaps as flapping
from tests.outage import kills as killing
from tests.outage import large as carrying
from tests.outage import sessions as talking
from tests.outage import shown as showing


@click.group()
def main() -> None:
    """What becomes of the daemon and of what it was told when its backends fail."""


@main.command()
@click.option("--writes", default=10_000, show_default=True)
@click.option("--kills", default=10, show_default=True)
@click.option("--seed", default=1, show_default=True)
def kills(writes: int, kills: int, seed: int) -> None:
    """Buffered writes, and a daemon that is killed again and again."""
    with tempfile.TemporaryDirectory() as directory, Deployment(Path(directory), seed=seed) as deployment:
        verdict = killing.run(deployment, writes=writes, kills=kills, seed=seed)
    print(verdict, *verdict.wrong[:10], sep="\n")
    sys.exit(bool(verdict.wrong))


@main.command()
@click.option("--flaps", default=100, show_default=True)
@click.option("--period", default=6.0, show_default=True, help="Seconds a flap.")
def flaps(flaps: int, period: float) -> None:
    """PostgreSQL that comes and goes."""
    with tempfile.TemporaryDirectory() as directory, Deployment(Path(directory), seed=1) as deployment:
        verdict = flapping.run(deployment, flaps=flaps, period_s=period)
    print(verdict, *verdict.disagreeing[:10], sep="\n")
    sys.exit(bool(verdict.disagreeing))


@main.command()
@click.option("--seconds", default=15.0, show_default=True)
def sessions(seconds: float) -> None:
    """Sessions that append to one conversation through an outage."""
    with tempfile.TemporaryDirectory() as directory, Deployment(Path(directory), seed=1) as deployment:
        verdict = talking.run(deployment, seconds=seconds)
    print(verdict, *verdict.wrong[:10], sep="\n")
    sys.exit(bool(verdict.wrong))


@main.command()
@click.option("--entries", default=100_000, show_default=True)
@click.option("--rounds", default=10, show_default=True)
@click.option("--store", type=click.Choice(["sqlite", "postgres"]), multiple=True, default=["sqlite", "postgres"])
def expiry(entries: int, rounds: int, store: tuple[str, ...]) -> None:
    """Gets while expired entries are cleaned."""
    slow = False
    for name in store:
        verdict = {"sqlite": expiring.sqlite, "postgres": expiring.postgres}[name](entries=entries, rounds=rounds)
        print(verdict, flush=True)
        slow |= max(verdict.ratios) > expiring.RATIO_MAX
    sys.exit(slow)


@main.command()
@click.option("--mib", default=64, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def large(mib: int, rounds: int) -> None:
    """Large values through S3, and the memory that the daemon needs for them."""
    verdict = carrying.run(size=mib * carrying.MIB, rounds=rounds)
    print(verdict)
    sys.exit(not verdict.equal or verdict.growth > carrying.GROWTH_MAX)


@main.command(name="figures")
def figures_() -> None:
    """How quickly a daemon answers whose backends are away, or hang."""
    for programme in (figures.everything_away, figures.everything_hangs):
        for line in programme(f"127.0.0.1:{free_ports(1)[0]}"):
            print(line)


@main.command()
@click.option("--svg", type=click.Path(path_type=Path), default=Path("docs/images/top.svg"), show_default=True)
def top(svg: Path) -> None:
    """What `top` and `status` show of a database that is killed, and the picture of docs/operating.md."""
    with tempfile.TemporaryDirectory() as directory:
        for line in showing.picture(Path(directory), svg):
            print(line, end="\n\n", flush=True)


if __name__ == "__main__":
    main()
