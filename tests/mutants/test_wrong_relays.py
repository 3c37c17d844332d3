"""The tests of the relay have teeth: each wrong one fails the test that is named for it."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.wrong_relays import MUTANTS, WrongRelay
from tests.support.clock import ManualClock
from tests.unit.outbox_support import Member, Published, ScriptedSink, Writer, placed, sharing

BOUND_S = 20.0


async def run(wrong: WrongRelay, directory: Path) -> None:
    """The test, with the fixtures that it would get from pytest."""
    clock = ManualClock()
    async with placed("memory", clock, directory) as placement:
        log: list[Published] = []
        sink = ScriptedSink()
        fixtures: dict[str, Any] = {
            "clock": clock,
            "placement": placement,
            "writer": Writer(placement),
            "sink": sink,
            "member": Member(placement, sink),
            "log": log,
            "joins": lambda: Member(sharing(placement), ScriptedSink(log=log)),
        }
        wanted = inspect.signature(wrong.caught_by).parameters
        async with asyncio.timeout(BOUND_S):
            await wrong.caught_by(**{name: fixtures[name] for name in wanted})


@pytest.mark.parametrize("wrong", MUTANTS, ids=lambda wrong: wrong.name)
async def test_a_wrong_relay_is_caught(wrong: WrongRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await run(wrong, tmp_path / "right")
    wrong.plant(monkeypatch)

    with pytest.raises(AssertionError):
        await run(wrong, tmp_path / "wrong")
