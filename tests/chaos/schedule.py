"""What happens when: drawn from the seed alone, so that a run can be done again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.chaos import faults_daemons, faults_journals, faults_links, faults_postgres, faults_valkey
from tests.chaos.faults import KINDS

__all__ = ["ALL", "Planned", "plan"]

MODULES = (faults_daemons, faults_journals, faults_links, faults_postgres, faults_valkey)
"""Imported so that their faults are known."""
ALL = tuple(sorted(KINDS))
CALM_EVERY = 14
"""After so many faults comes a calm, in which copies are compared."""
GAP_S = (0.3, 2.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A fault, and the pause before it. `kind` empty: a calm."""

    kind: str
    gap_s: float
    seed: str


def plan(seed: int, kinds: Sequence[str] = ALL, *, calm_every: int = CALM_EVERY) -> Iterator[Planned]:
    """Without end: every kind once in random order, then again in another."""
    random, count = Random(seed), 0
    while True:
        round_of_all = sorted(kinds)
        random.shuffle(round_of_all)
        for kind in round_of_all:
            count += 1
            yield Planned(kind=kind, gap_s=random.uniform(*GAP_S), seed=f"{seed}/{count}")
            if count % calm_every == 0:
                yield Planned(kind="", gap_s=0.0, seed="")
