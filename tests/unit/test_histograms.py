"""Distributions: every value in its bucket, quantiles within the bucket's width."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.histograms import NOTHING, SIZE, Distribution, Exemplar, Histogram, upper_bound
from sidecar.core.windows import SLOTS, TICK_S, LastMinute


def recorded(*values: float) -> Distribution:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram.distribution()


@given(st.floats(min_value=2**-20, max_value=2**14, exclude_min=True))
def test_a_value_is_in_the_bucket_whose_bounds_it_lies_between(value: float) -> None:
    [place] = [place for place, count in enumerate(recorded(value).counts) if count]

    assert value <= upper_bound(place) * (1 + 1e-12)
    assert value > upper_bound(place - 1) * (1 - 1e-12)


@pytest.mark.parametrize("power", range(-19, 14))
def test_a_bound_belongs_to_the_bucket_that_it_ends(power: int) -> None:
    """As OpenTelemetry and Prometheus have it: the upper bound is in."""
    [place] = [place for place, count in enumerate(recorded(2.0**power).counts) if count]

    assert upper_bound(place) == 2.0**power


@pytest.mark.parametrize(("value", "place"), [(0.0, 0), (-1.0, 0), (1e-9, 0), (1e9, SIZE - 1)])
def test_what_is_beyond_all_buckets_is_in_the_last(value: float, place: int) -> None:
    assert recorded(value).counts[place] == 1


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_are_true_to_a_bucket(seed: int) -> None:
    chance = random.Random(seed)
    values = sorted(chance.lognormvariate(-7, 1.5) for _ in range(5_000))
    distribution = recorded(*values)

    for q in (0.5, 0.9, 0.95, 0.99, 0.999):
        truth = values[math.ceil(q * len(values)) - 1]
        assert distribution.quantile(q) == pytest.approx(truth, rel=0.09)
    assert distribution.quantile(0.5) == pytest.approx(values[2_500], rel=0.03)
    assert distribution.count == 5_000
    assert distribution.sum == pytest.approx(sum(values))


def test_quantiles_of_nothing_are_none() -> None:
    assert NOTHING.quantiles() is None
    assert recorded().quantile(0.5) == 0


def test_what_came_after_and_both_together() -> None:
    histogram = Histogram()
    histogram.record(0.5)
    before = histogram.distribution()
    histogram.record(2.0)
    now = histogram.distribution()

    assert (now.since(before).counts, now.since(before).sum) == (recorded(2.0).counts, 2.0)
    assert (now.since(before).plus(before).counts, now.since(before).plus(before).sum) == (now.counts, now.sum)


def test_a_distribution_stays_as_it_was() -> None:
    histogram = Histogram()
    before = histogram.distribution()
    histogram.record(1.0)
    histogram.keep(Exemplar(1.0, 0.0, "a", "b"))

    assert (before.count, before.sum, before.exemplars) == (0, 0.0, {})


def test_exemplars_are_bounded_and_the_latest() -> None:
    histogram = Histogram()
    for number in range(10_000):
        histogram.keep(Exemplar(1e-6 * 1.002**number, number, "a", "b"))

    kept = histogram.distribution().exemplars
    assert len(kept) <= SIZE // 8
    assert kept[Exemplar(1e-6 * 1.002**9_999, 0, "", "").place // 8].time == 9_999


# ---- the last minute


def test_the_last_minute_forgets_what_is_older() -> None:
    series = {"a": Histogram()}
    minute = LastMinute(series, lambda: 0.0)
    series["a"].record(1.0)
    seen = []
    for _ in range(SLOTS + 1):
        minute.tick()
        seen.append(minute.distributions().get("a", NOTHING).count)

    assert seen == [1] * (SLOTS - 1) + [0, 0]


def test_a_series_that_began_meanwhile_counts_from_its_beginning() -> None:
    series: dict[str, Histogram] = {}
    minute = LastMinute(series, lambda: 0.0)
    minute.tick()
    series["late"] = Histogram()
    series["late"].record(0.25)

    assert minute.distributions()["late"].count == 1


def test_it_knows_how_long_its_minute_is() -> None:
    now = 100.0
    minute = LastMinute[str]({}, lambda: now)
    lengths = []
    for _ in range(SLOTS + 2):
        now += TICK_S
        lengths.append(minute.seconds)
        minute.tick()

    assert lengths[:2] == [TICK_S, 2 * TICK_S]
    assert lengths[-1] == TICK_S * SLOTS
    now += 1.5
    assert minute.seconds == TICK_S * (SLOTS - 1) + 1.5
