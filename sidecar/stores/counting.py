"""Where counters begin that a store keeps: ahead of whatever was handed out by one that is gone."""

from __future__ import annotations

from sidecar.core.entry import SEQUENCE_MASK

_NUMBERS_PER_MS = 16
_BEGIN_MAX = SEQUENCE_MASK // 16 * 15


def begin_of(now: int) -> int:
    """Ahead of all that was handed out before `now` (milliseconds), if fewer than 16,000 a second were, on average.

    It leaves room for others, whatever the clock says: it suffices until 2490.
    """
    return min(now * _NUMBERS_PER_MS, _BEGIN_MAX)
