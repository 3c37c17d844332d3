"""The dialogues demo: a short pass with kills, and that its comparison can fail."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from examples.dialogues.check import compare, expected
from examples.dialogues.worker import new_state, remember

State = dict[str, Any]

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "dialogues" / "data" / "sample.jsonl"
DIALOGUES = [json.loads(line) for line in SAMPLE.read_text().splitlines()]


def replayed(dialogue: State, indexes: Iterable[int] | None = None) -> State:
    state = new_state()
    for index in range(len(dialogue["turns"])) if indexes is None else indexes:
        remember(state, index, dialogue["turns"][index])
    return state


@pytest.fixture
def states() -> dict[str, Any]:
    return {dialogue["dialogue_id"]: expected(dialogue) for dialogue in DIALOGUES}


def test_a_short_pass_keeps_every_turn_once_through_kills() -> None:
    command = [sys.executable, "-m", "examples.dialogues", "--dialogues", "4", "--kills", "3", "--data", str(SAMPLE)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    counts = dict(re.findall(r"│ ([^│]*?) +│ +(\S+)", run.stdout))

    assert run.returncode == 0, run.stdout + run.stderr
    assert counts["kill -9"] == "3"
    assert counts["turns"] == str(sum(len(dialogue["turns"]) for dialogue in DIALOGUES[:4]))
    assert (counts["turns lost"], counts["turns doubled"]) == ("0", "0")
    assert counts["states equal to the dataset's"] == "4"


@pytest.mark.timeout(300)
def test_a_short_pass_on_servers_that_are_killed_too_keeps_every_turn_once() -> None:
    command = [sys.executable, "-m", "examples.dialogues", "--tiers", "servers", "--kills", "6", "--data", str(SAMPLE)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    counts = dict(re.findall(r"│ ([^│]*?) +│ +(\S+)", run.stdout))

    assert run.returncode == 0, run.stdout + run.stderr
    assert counts["kill -9"] == "6"
    assert (counts["turns lost"], counts["turns doubled"]) == ("0", "0")
    assert counts["states equal to the dataset's"] == str(len(DIALOGUES))


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda dialogue: dialogue["dialogue_id"])
def test_what_the_worker_builds_turn_by_turn_is_what_the_dataset_ends_with(dialogue: State) -> None:
    assert replayed(dialogue) == expected(dialogue)


def test_everything_kept_is_clean(states: dict[str, Any]) -> None:
    verdict = compare(DIALOGUES, states)

    assert verdict.clean
    assert verdict.equal == len(DIALOGUES)


def test_a_lost_turn_is_told(states: dict[str, Any]) -> None:
    dialogue = DIALOGUES[0]
    indexes = [index for index in range(len(dialogue["turns"])) if index != 3]
    verdict = compare(DIALOGUES, states | {dialogue["dialogue_id"]: replayed(dialogue, indexes)})

    assert (verdict.lost, verdict.doubled, verdict.equal) == (1, 0, len(DIALOGUES) - 1)
    assert not verdict.clean


def test_a_doubled_turn_is_told(states: dict[str, Any]) -> None:
    dialogue = DIALOGUES[0]
    indexes = [0, 1, 1, *range(2, len(dialogue["turns"]))]
    verdict = compare(DIALOGUES, states | {dialogue["dialogue_id"]: replayed(dialogue, indexes)})

    assert (verdict.lost, verdict.doubled, verdict.equal) == (0, 1, len(DIALOGUES) - 1)
    assert not verdict.clean


def test_a_dialogue_without_a_state_has_lost_all(states: dict[str, Any]) -> None:
    dialogue = DIALOGUES[1]
    verdict = compare(DIALOGUES, states | {dialogue["dialogue_id"]: None})

    assert verdict.lost == len(dialogue["turns"])
    assert not verdict.clean


def test_a_slot_that_differs_is_told(states: dict[str, Any]) -> None:
    changed = copy.deepcopy(states)
    [service, *_] = changed[DIALOGUES[0]["dialogue_id"]]["slots"].values()
    service["time"] = ["at noon"]
    verdict = compare(DIALOGUES, changed)

    assert (verdict.lost, verdict.doubled, verdict.equal) == (0, 0, len(DIALOGUES) - 1)
    assert not verdict.clean


def test_the_sample_is_small_and_has_its_licence_beside_it() -> None:
    assert len(DIALOGUES) <= 6
    assert SAMPLE.stat().st_size <= 60_000
    assert "CC BY-SA 4.0" in SAMPLE.with_name("README.md").read_text()
