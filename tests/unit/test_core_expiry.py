"""When entries end, and when a read has to move an end."""

from __future__ import annotations

import pytest

from sidecar.core.expiry import expire_time, needs_touch, touched_expire_time
from tests.support.factories import entry


@pytest.mark.parametrize(("ttl_ms", "end"), [(None, None), (1, 1001), (500, 1500)])
def test_an_end_is_its_ttl_from_now(ttl_ms: int | None, end: int | None) -> None:
    assert expire_time(1000, ttl_ms) == end


@pytest.mark.parametrize(("elapsed_ms", "needed"), [(0, False), (99, False), (100, False), (101, True), (999, True)])
def test_a_read_moves_the_end_when_less_than_nine_tenths_are_left(elapsed_ms: int, needed: bool) -> None:
    assert needs_touch(entry(expire_time=1000, ttl_ms=1000), elapsed_ms) is needed


def test_what_has_no_end_needs_no_touch() -> None:
    assert not needs_touch(entry(), 1 << 60)


@pytest.mark.parametrize(
    ("end", "old_ttl", "ttl", "extend_only", "touched"),
    [
        (1500, 1000, None, False, (2000, 1000)),
        (1500, 1000, 100, False, (1100, 100)),
        (1500, 1000, 100, True, (1500, 1000)),
        (1500, 1000, None, True, (2000, 1000)),
        (1500, 1000, 5000, True, (6000, 5000)),
        (1900, 1000, None, True, (1900, 1000)),
        (1899, 1000, None, True, (2000, 1000)),
        (1900, 1000, None, False, (2000, 1000)),
        (None, None, None, False, (None, None)),
        (None, None, 100, False, (1100, 100)),
        (None, None, 100, True, (None, None)),
        (None, None, None, True, (None, None)),
    ],
)
def test_a_touch_gives_this_end(
    end: int | None, old_ttl: int | None, ttl: int | None, extend_only: bool, touched: tuple[int | None, int | None]
) -> None:
    copy = entry(expire_time=end, ttl_ms=old_ttl)

    assert touched_expire_time(copy, 1000, ttl_ms=ttl, extend_only=extend_only) == touched


def test_a_key_read_all_the_time_costs_eleven_writes_a_ttl_at_most() -> None:
    """The promise of sliding expiry: one write each 10 % of the ttl, whatever the read rate, and it never ends."""
    ttl = 60_000
    copy, writes = entry(expire_time=ttl, ttl_ms=ttl), 0
    for now in range(10 * ttl):
        assert not copy.expired(now)
        if needs_touch(copy, now):
            end, _ = touched_expire_time(copy, now, ttl_ms=None, extend_only=True)
            copy, writes = entry(expire_time=end, ttl_ms=ttl), writes + 1

    assert 90 <= writes <= 100


@pytest.mark.parametrize("ttl_ms", [1, 2, 9, 10, 11])
def test_even_the_shortest_sliding_ttl_is_kept_by_reads(ttl_ms: int) -> None:
    copy = entry(expire_time=ttl_ms, ttl_ms=ttl_ms)

    assert needs_touch(copy, ttl_ms - 1) or ttl_ms == 1
