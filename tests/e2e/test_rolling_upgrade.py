"""Schemas that change under load: a rollout over three schemas, and a migration that is killed. See `tests/schemas`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.dialogues.__main__ import SAMPLE
from tests.schemas import killed, rolling
from tests.support.backends import shared_tiers


@pytest.fixture
def tiers() -> Iterator[dict[str, str]]:
    with shared_tiers() as settings:
        yield settings


@pytest.mark.timeout(300)
def test_daemons_are_replaced_and_every_client_goes_on_with_every_field(tmp_path: Path, tiers: dict[str, str]) -> None:
    dialogues = [json.loads(line) for line in SAMPLE.read_text().splitlines()]

    verdict = rolling.run(tmp_path, tiers, dialogues, stage_s=2.0, seed=1)

    assert verdict.clean, [str(verdict), *verdict.wrong[:10]]
    assert verdict.migrated > 0, "what nobody used is migrated"
    assert all(verdict.tally[f"writes of schema {schema}"] > 20 for schema in (1, 2, 3)), verdict


@pytest.mark.timeout(300)
def test_a_migration_that_is_killed_goes_on_and_does_nothing_twice(tmp_path: Path, tiers: dict[str, str]) -> None:
    verdict = killed.run(tmp_path, tiers, entries=600, kills=6, seed=1)

    assert verdict.clean, [str(verdict), *verdict.wrong[:10]]
    assert verdict.kills >= 5
    assert verdict.migrated > 300
