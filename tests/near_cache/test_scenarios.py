"""The near cache does what it has to, and a wrong one is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from statesidecar import NearCache
from statesidecar._near import Near
from tests.near_cache.planted import PLANTED
from tests.near_cache.scenarios import SCENARIOS, Bench, Make


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_near_cache(scenario: Callable[[Make], None]) -> None:
    scenario(Near)


@pytest.mark.parametrize(("wrong", "scenario"), PLANTED, ids=lambda part: part.__name__)
def test_a_wrong_one_is_noticed(wrong: type[Near], scenario: Callable[[Make], None]) -> None:
    with pytest.raises(AssertionError):
        scenario(wrong)


def test_a_forked_child_has_no_copies() -> None:
    bench = Bench(Near).watched()
    bench.fill()
    child = os.fork()
    if child == 0:
        os._exit(len(bench.near))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(bench.near) == 1


@pytest.mark.parametrize("given", [{"bytes_max": 0}, {"max_age_s": 0.0}, {"max_age_s": float("inf")}])
def test_settings_that_keep_nothing_or_for_ever_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="are needed"):
        NearCache(**given)  # type: ignore[arg-type]  # bytes are whole
