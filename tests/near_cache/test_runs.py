"""Short runs over real daemons; `python -m tests.near_cache` makes long ones. And the judge of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from statesidecar import Entry, GetResult, NearCache, ServingMode, Tier, _near
from tests.near_cache.__main__ import two_daemons
from tests.near_cache.planted import NeverTooOld
from tests.near_cache.runs import History, Judge, Outcome, Run

READS = 12_000


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Of two daemons over the same backends."""
    with two_daemons(tmp_path_factory.mktemp("near")) as (one, two):
        yield one.target, two.target


def test_no_copy_is_older_than_it_says(targets: tuple[str, str]) -> None:
    run = Run(*targets, 1, NearCache(max_age_s=5.0), write_pause_s=0.1)
    outcome = asyncio.run(run.go(reads=READS, fault_s=1.0))
    assert outcome.problems == []
    assert outcome.reads >= READS
    assert outcome.hits > READS // 2
    assert outcome.writes > 10
    assert min(outcome.faults["cut"], outcome.faults["silence"]) >= 1


def test_a_run_notices_copies_that_are_kept_for_ever(targets: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_near, "Near", NeverTooOld)
    run = Run(*targets, 1, NearCache(max_age_s=0.05), write_pause_s=0.1)
    outcome = asyncio.run(run.go(reads=1_000, fault_s=0.5))
    assert outcome.problems != []


def judged(result: GetResult, *, began_after_s: float) -> list[str]:
    """What is said of a read of version 1, that began so long after version 2 was acknowledged."""
    outcome, history = Outcome(), History()
    history.acknowledged("a", 1)
    history.acknowledged("a", 2)
    superseded_s = history.superseded_s("a", 1)
    assert superseded_s is not None
    Judge(outcome, history, NearCache(max_age_s=5.0)).read("a", result, superseded_s + began_after_s)
    return outcome.problems


def near(max_age_s: float) -> GetResult:
    entry = Entry(namespace="model", key="a", value=b"", version=1)
    return GetResult(
        entry=entry, mode=ServingMode.NORMAL, served_by=Tier.NEAR, stale_possible=False, max_age_s=max_age_s
    )


def test_the_judge_accepts_what_is_no_older_than_it_says() -> None:
    assert judged(near(1.0), began_after_s=0.9) == []


def test_the_judge_notices_what_is_older_than_it_says() -> None:
    assert judged(near(1.0), began_after_s=1.1) != []


def test_the_judge_notices_what_is_older_than_it_may_be() -> None:
    assert judged(near(6.0), began_after_s=0.0) != []
