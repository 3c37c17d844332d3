"""Chains of contents over thousands of checkpoints: bounded in links and bytes, and what is kept by what changes.

Only sizes are simulated, so that a state may have thousands of turns.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from sidecar.core.deltas import CHAIN_SLACK, LINKS_MAX, Link, choose_base, is_worth, place

MIB = 1 << 20
MANIFEST = 180


@dataclass(frozen=True)
class Shape:
    """How a state goes on: sizes, and what a delta from one turn to another costs, in bytes."""

    size: Callable[[int], int]
    delta: Callable[[int, int], int]
    stored_max: Callable[[list[int]], float]


SHAPES = {
    # Each turn's bytes are stored with it, and with its anchor: twice. Whole ones every 1,400 turns add to that.
    "growth": Shape(
        lambda turn: 2048 * (turn + 1) + MANIFEST,
        lambda old, new: 2048 * (new - old) + MANIFEST,
        lambda sizes: (2.1 if len(sizes) <= 1000 else 3.8) * sizes[-1] + MANIFEST * len(sizes),
    ),
    # A delta saves nothing: about what copies would cost.
    "rewrite": Shape(lambda _: 100_000, lambda old, new: 100_000, sum),
    # Half of it each turn, always another half.
    "half rewritten": Shape(
        lambda _: 100_000, lambda old, new: min(50_000 * (new - old), 100_000), lambda sizes: 0.9 * sum(sizes)
    ),
    # One field of a hundred kilobytes in a megabyte is replaced each turn.
    "a field": Shape(lambda _: MIB, lambda old, new: 100_000, lambda sizes: 1.3 * 100_000 * len(sizes) + MIB),
    # Small edits of a state that stays as large as it is.
    "edits": Shape(
        lambda _: MIB,
        lambda old, new: min(500 * (new - old), MIB),
        lambda sizes: 2 * 500 * len(sizes) + MIB * (1 + len(sizes) / 1400),
    ),
    # Something is taken out each turn; a chain may not be as large as the state once was.
    "shrink": Shape(
        lambda turn: 2048 * (5001 - turn), lambda old, new: MANIFEST, lambda sizes: 3 * sizes[0] + MANIFEST * len(sizes)
    ),
    # It grows, and begins anew every 300 turns.
    "sawtooth": Shape(
        lambda turn: 2048 * (turn % 300 + 1),
        lambda old, new: 2048 * (new - old) if new // 300 == old // 300 else 2048 * (new % 300 + 1),
        lambda sizes: 2.2 * (2048 * len(sizes)),
    ),
}


def simulated(shape: Shape, turns: int, parent_of: Callable[[int], int]) -> Iterator[tuple[int, Link, int]]:
    """Each turn's bytes, facts and base (-1: none), by the rules that `store` puts together, without contents."""
    rows: list[Link] = []
    for turn in range(turns):
        size, parent = shape.size(turn), parent_of(turn)
        base = choose_base(str(parent), rows[parent] if rows else None, size=size)
        cost = shape.delta(int(base.content_id), turn) if base else size
        link = place(base, stored_bytes=cost, size=size) if base and is_worth(cost, size) else None
        against = int(base.content_id) if base and link else -1
        rows.append(link or Link(depth=0, chain_bytes=size, anchor_depth=0, anchor_bytes=size))
        yield cost if link else size, rows[-1], against


@pytest.mark.parametrize("turns", [1000, 5000])
@pytest.mark.parametrize("name", SHAPES)
def test_chains_are_bounded_in_links_and_bytes_and_stored_bytes_by_what_changes(name: str, turns: int) -> None:
    shape = SHAPES[name]
    depths: list[int] = []
    stored = 0
    for turn, (cost, link, base) in enumerate(simulated(shape, turns, lambda turn: turn - 1)):
        depths.append(depths[base] + 1 if base >= 0 else 0)
        stored += cost
        assert link.depth == depths[-1] <= LINKS_MAX
        assert link.chain_bytes <= 2 * shape.size(turn) + CHAIN_SLACK

    assert stored <= shape.stored_max([shape.size(turn) for turn in range(turns)])


@pytest.mark.parametrize("name", ["growth", "edits", "shrink"])
def test_a_thousand_branches_from_an_old_one_keep_the_bounds(name: str) -> None:
    chance = random.Random(2)
    shape = SHAPES[name]
    for turn, (_, link, _) in enumerate(
        simulated(shape, 1000, lambda turn: turn - 1 if chance.random() < 0.5 else chance.randrange(max(turn, 1)))
    ):
        assert link.depth <= LINKS_MAX
        assert link.chain_bytes <= 2 * shape.size(turn) + CHAIN_SLACK


def test_an_even_growth_is_stored_whole_again_only_after_some_1400_turns() -> None:
    bases = [base for _, _, base in simulated(SHAPES["growth"], 1500, lambda turn: turn - 1)]
    wholes = [turn for turn, base in enumerate(bases) if base < 0]

    # The second stands where the first run ends: from there, a delta against a single turn would save nothing
    assert wholes == [0, LINKS_MAX + 1, 1431 + LINKS_MAX + 1]
