"""What measures is right, and each wrong way to measure is found out."""

from __future__ import annotations

import pytest

from sidecar.core.histograms import Histogram
from sidecar.core.windows import LastMinute
from tests.mutants.wrong_figures import HISTOGRAMS, MINUTES, Make, check_histogram, check_minute


def test_the_right_ones_pass() -> None:
    check_histogram(Histogram)
    check_minute(LastMinute)


@pytest.mark.parametrize("make", HISTOGRAMS)
def test_a_wrong_histogram_is_found_out(make: Make) -> None:
    with pytest.raises(AssertionError):
        check_histogram(make)


@pytest.mark.parametrize("make", MINUTES)
def test_a_wrong_minute_is_found_out(make: type[LastMinute[str]]) -> None:
    with pytest.raises(AssertionError):
        check_minute(make)
