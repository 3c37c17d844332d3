"""The tests of journals have teeth: each deliberately wrong one fails the test that is named for it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stores.journal import test_contract, test_files, test_segments, test_trouble
from tests.stores.journal.subjects import SUBJECTS, opened
from tests.stores.journal.test_power_loss import lose_power_often
from tests.stores.journal.wrong_table import POWER, WRONG, Wrong

CRASHES = (AttributeError, NameError, TypeError, ImportError)
"""What a wrong journal that has not kept up with the code raises: it would be caught by anything."""
SEEDS = 200
"""At most: the first that catches it ends it. Threads are scheduled by the machine, so no one seed always does."""


def test_named(name: str) -> Callable[..., Any]:
    """The test, wherever it is."""
    modules = (test_contract, test_files, test_segments, test_trouble)
    (found,) = [getattr(module, name) for module in modules if hasattr(module, name)]
    test: Callable[..., Any] = found
    return test


test_named.__test__ = False  # type: ignore[attr-defined]  # it finds tests and is none


async def run(wrong: Wrong, directory: Path) -> None:
    """The test that is to catch it."""
    if wrong.caught_by == POWER:
        for seed in range(SEEDS):
            (directory / f"{seed}").mkdir()
            await lose_power_often(directory / f"{seed}", seed)
        return
    test = test_named(wrong.caught_by)
    wanted = inspect.signature(test).parameters
    if "subject" in wanted:
        async with opened(SUBJECTS[wrong.subject], directory) as subject:
            await test(subject=subject, **wrong.parameters)
        return
    with pytest.MonkeyPatch.context() as patch:
        fixtures = {"tmp_path": directory, "monkeypatch": patch}
        await test(**{name: fixture for name, fixture in fixtures.items() if name in wanted}, **wrong.parameters)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_journal_is_caught_by_the_test_that_is_named_for_it(wrong: Wrong, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        wrong.make(patch)
        with pytest.raises((Exception, pytest.fail.Exception)) as caught:  # whatever fails is its verdict
            asyncio.run(run(wrong, tmp_path))

    assert not isinstance(caught.value, CRASHES), f"no wrong journal but a broken one: {caught.value!r}"
