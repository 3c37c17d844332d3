"""The power of the audit: wrong relays that it finds in seconds, each for what is wrong with it, and a right one that passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.outbox.planted import PLANTED, RIGHT, run

MESSAGES = 3_000
MESSAGES_MAX = 30_000
"""Before a planted relay counts as not found."""


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_planted_relay_is_found(name: str, tmp_path: Path) -> None:
    messages, seed = MESSAGES, 1
    while True:
        directory = tmp_path / str(seed)
        directory.mkdir()
        verdict = run(PLANTED[name], directory, messages=messages, seed=seed)
        if verdict.wrong:
            break
        messages, seed = messages * 2, seed + 1
        assert messages < MESSAGES_MAX, f"{name} was not found"
    assert list(verdict.wrong) == [PLANTED[name].found]


def test_the_right_one_passes(tmp_path: Path) -> None:
    verdict = run(RIGHT, tmp_path, messages=MESSAGES, seed=1)

    assert not verdict.wrong, str(verdict)
    assert verdict.owners == 2
