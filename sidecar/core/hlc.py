"""Hybrid logical time: an order of writes that follows cause and effect, and the clock where there is none. Pure.

Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical Physical Clocks and Consistent Snapshots in Globally Distributed
Databases" (2014). A time is one number, `milliseconds << 16 | counter`: it never goes back, stays next to the clock, and a
counter that is full runs over into the next millisecond.

An ordinary write's time is when the authority committed it. A write that was buffered is committed long after it was
made, so its time is kept with the entry, in a label. It tells the value that it is about: an update keeps labels and
changes the value, and is then the later write.
"""

from __future__ import annotations

import re
import zlib

from sidecar.core.entry import Entry

COUNTER_BITS = 16
HLC_LABEL = "state-sidecar/hlc"
SKEW_MS_MAX = 60_000
"""A label that says that its entry was written this much later than it was committed is wrong."""

_LABEL = re.compile(r"([0-9]{1,19})\.([0-9a-f]{8})")


class Hlc:
    """One daemon's clock. A write has to be later than what its writer had seen, so `observe` what is read."""

    def __init__(self, last: int = 0) -> None:
        self._last = last

    def next(self, now_ms: int) -> int:
        """The time of something that happens now: later than everything before, also if the clock went back."""
        self._last = max(self._last + 1, hlc_of(now_ms))
        return self._last

    def observe(self, hlc: int) -> None:
        """Something of this time was seen: what happens from now on is later."""
        self._last = max(self._last, hlc)


def hlc_of(time_ms: int) -> int:
    """The first hybrid time of a millisecond."""
    return time_ms << COUNTER_BITS


def entry_hlc(entry: Entry) -> int:
    """When the write was made that made this entry: its label's time if that is about this value, else its update time."""
    committed = hlc_of(entry.update_time)
    label = entry.labels.get(HLC_LABEL)
    found = None if label is None else _LABEL.fullmatch(label)
    if found is None or found[2] != _digest(entry.value):
        return committed
    made = int(found[1])
    return made if made <= hlc_of(entry.update_time + SKEW_MS_MAX) else committed


def hlc_label(hlc: int, value: bytes) -> dict[str, str]:
    """The label that keeps the time of a buffered write with the value that it made."""
    return {HLC_LABEL: f"{hlc}.{_digest(value)}"}


def _digest(value: bytes) -> str:
    return f"{zlib.crc32(value):08x}"
