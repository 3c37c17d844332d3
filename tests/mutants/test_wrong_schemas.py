"""The tests of schemas have teeth: each planted bug is caught by the one that is named for it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.errors import SidecarError
from sidecar.stores.memory import MemoryStore
from tests.mutants.test_mutants import CRASHES
from tests.mutants.wrong_schemas import WRONG, Wrong
from tests.support.clock import ManualClock
from tests.unit.evolving_support import Daemon, FakeFleet

SEEDS = 6
"""Of a test that has some, how many are tried."""


def given(directory: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> dict[str, Any]:
    """What tests of schemas ask for."""
    clock, fleet = ManualClock(), FakeFleet()
    store = MemoryStore(clock=clock)
    daemons = {version: Daemon(store, clock, version, fleet) for version in range(1, 5)}
    made = {"clock": clock, "fleet": fleet, "store": store, "daemons": daemons, "daemon": daemons[4], "seed": seed}
    return made | {"tmp_path": directory, "monkeypatch": monkeypatch}


async def run(test: Any, directory: Path) -> None:
    """With every seed. Raises what the test raises."""
    asked = inspect.signature(test).parameters
    if hasattr(test, "hypothesis"):
        test()
        return
    for seed in range(SEEDS if "seed" in asked else 1):
        with pytest.MonkeyPatch.context() as monkeypatch:
            named = given(directory, monkeypatch, seed)
            await test(**{name: named[name] for name in asked})


@pytest.mark.parametrize("test", {wrong.caught_by for wrong in WRONG}, ids=lambda test: test.__name__)
async def test_what_is_right_passes(test: Any, tmp_path: Path) -> None:
    await run(test, tmp_path)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
async def test_a_planted_bug_is_caught(wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong.plant(monkeypatch.setattr)

    with pytest.raises((AssertionError, SidecarError, pytest.fail.Exception, BaseExceptionGroup)) as caught:
        await run(wrong.caught_by, tmp_path)
    assert not isinstance(caught.value, CRASHES)
