"""Hybrid logical time: never back, next to the clock, and kept with what it is about."""

from __future__ import annotations

import pytest

from sidecar.core.hlc import HLC_LABEL, SKEW_MS_MAX, Hlc, entry_hlc, hlc_label, hlc_of
from sidecar.core.limits import VERSION_MAX
from tests.support.clock import START_MS
from tests.support.factories import entry

COMMITTED = hlc_of(START_MS)


def test_a_time_is_the_clock_s_while_that_goes_forward() -> None:
    clock = Hlc()

    assert [clock.next(now) for now in (10, 11, 500)] == [hlc_of(10), hlc_of(11), hlc_of(500)]


def test_times_rise_within_a_millisecond_and_while_the_clock_is_back() -> None:
    clock = Hlc()

    assert [clock.next(now) for now in (10, 10, 3, 11)] == [hlc_of(10), hlc_of(10) + 1, hlc_of(10) + 2, hlc_of(11)]


def test_what_happens_is_later_than_what_was_seen() -> None:
    clock = Hlc()
    clock.next(10)
    clock.observe(hlc_of(20) + 7)
    clock.observe(hlc_of(15))

    assert clock.next(11) == hlc_of(20) + 8
    assert clock.next(21) == hlc_of(21)


def test_a_clock_goes_on_where_it_was_left() -> None:
    assert Hlc(hlc_of(50)).next(10) == hlc_of(50) + 1


def test_a_full_counter_runs_over_into_the_next_millisecond() -> None:
    clock = Hlc(hlc_of(11) - 1)

    assert clock.next(10) == hlc_of(11)


def test_a_time_is_an_int64_for_some_thousand_years() -> None:
    assert hlc_of(4000 * 365 * 86_400_000) <= VERSION_MAX


def test_an_ordinary_entry_was_made_when_it_was_committed() -> None:
    assert entry_hlc(entry()) == COMMITTED


@pytest.mark.parametrize("hlc", [0, COMMITTED - hlc_of(86_400_000) + 5, COMMITTED, COMMITTED + hlc_of(SKEW_MS_MAX)])
def test_a_label_keeps_when_a_buffered_write_was_made(hlc: int) -> None:
    assert entry_hlc(entry(value=b"v", labels={"mine": "1", **hlc_label(hlc, b"v")})) == hlc


def test_a_label_about_another_value_is_not_believed() -> None:
    """An update changes the value and leaves the labels."""
    assert entry_hlc(entry(value=b"changed", labels=hlc_label(COMMITTED - 9, b"v"))) == COMMITTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "-1",
        "x",
        f"{COMMITTED - 9}",
        "1.",
        "1.zzzzzzzz",
        f"{'9' * 30}.00000000",
        " 1.00000000",
        "\u0661.00000000",
    ],
)
def test_a_label_that_is_none_of_ours_is_not_believed(text: str) -> None:
    assert entry_hlc(entry(value=b"", labels={HLC_LABEL: text})) == COMMITTED


def test_a_label_from_the_future_is_not_believed() -> None:
    """Whoever could write one would win against every write for ever."""
    far = COMMITTED + hlc_of(SKEW_MS_MAX) + 1

    assert entry_hlc(entry(value=b"v", labels=hlc_label(far, b"v"))) == COMMITTED
