"""The contract suite has teeth: each deliberately wrong adapter fails the test that is named for it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import sidecar.stores.memory.store as memory_store
from tests.mutants.runner import Case, cases
from tests.mutants.table import MUTANTS, RIGHT, Mutant

CRASHES = (AttributeError, NameError, TypeError, ImportError)
"""What a mutant that has not kept up with the code raises: it would be caught by anything."""


async def failures(mutant: Mutant, chosen: list[Case], directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the cases that the mutant fails, once for each failing set of parameters."""
    monkeypatch.setattr(memory_store, "decide", mutant.decide)
    failed = []
    for number, case in enumerate(chosen):
        error = await case.failure(mutant.harness, directory / f"{number}")
        if error is not None:
            assert not isinstance(error, CRASHES), f"{mutant.name} is no wrong adapter but a broken one: {error!r}"
            failed.append(case.test)
            logging.getLogger(__name__).debug("%s fails %s: %r", mutant.name, case.test, error)
    return failed


@pytest.mark.parametrize("right", RIGHT, ids=lambda mutant: mutant.name)
async def test_what_is_right_passes_every_case(right: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = cases(*right.subjects)

    assert len(chosen) >= 9
    assert await failures(right, chosen, tmp_path, monkeypatch) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_a_mutant_is_caught_by_the_case_that_is_named_for_it(
    mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [case for case in cases(*mutant.subjects) if case.test == mutant.caught_by]
    assert chosen, f"there is no test {mutant.caught_by}"

    assert await failures(mutant, chosen, tmp_path, monkeypatch)
