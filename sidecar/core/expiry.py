"""When entries end, and when a read has to say that one is in use. All by the authority's clock, in milliseconds."""

from __future__ import annotations

from sidecar.core.entry import Entry

TOUCH_SLACK = 0.1
"""Part of a sliding ttl by which an entry may outlive its last read: a touch writes only when less than 90 % is left,
so a key costs at most one write each 10 % of its ttl, whatever the read rate."""


def expire_time(now: int, ttl_ms: int | None) -> int | None:
    """The end of an entry that lives `ttl_ms` from now."""
    return None if ttl_ms is None else now + ttl_ms


def needs_touch(entry: Entry, now: int) -> bool:
    """Whether a read of a sliding entry has to move its end."""
    if entry.ttl_ms is None or entry.expire_time is None:
        return False
    return entry.expire_time - now < entry.ttl_ms * (1 - TOUCH_SLACK)


def touched_expire_time(
    entry: Entry, now: int, *, ttl_ms: int | None, extend_only: bool
) -> tuple[int | None, int | None]:
    """The new (expire_time, ttl_ms) of a touched entry; `ttl_ms` None: the ttl that it was last given.

    `extend_only` leaves an end as it is that is later, or so little earlier that another touch must just have moved it.
    """
    ttl = entry.ttl_ms if ttl_ms is None else ttl_ms
    end = expire_time(now, ttl)
    if extend_only and not _gains(entry, end, ttl):
        return entry.expire_time, entry.ttl_ms
    return end, ttl


def _gains(entry: Entry, end: int | None, ttl_ms: int | None) -> bool:
    if entry.expire_time is None:
        return False
    return end is None or ttl_ms is None or end - entry.expire_time > ttl_ms * TOUCH_SLACK
