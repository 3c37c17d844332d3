"""Quotas: how many calls, bytes and watches one identity may have of a daemon that others use too."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.core.errors import LimitExceeded

BURST_S = 1.0
"""A caller that was quiet may use this much of its quota at once; one call, at least, when the quota is smaller."""
_ROUNDING_S = 1e-6
"""Sums of seconds are no more exact: a caller that waited as long as it was told is let in."""


class _Bucket:
    """A token bucket that may be overdrawn: what a call costs can be known only after it, and the next one waits for it."""

    __slots__ = ("_capacity", "_level", "_per_s", "_seen")

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._capacity = self._level = max(per_s * BURST_S, 1.0)
        self._seen = now

    def wait_s(self, now: float, needed: float) -> float:
        """Seconds until `needed` is there; 0: it is."""
        self._level = min(self._capacity, self._level + (now - self._seen) * self._per_s)
        self._seen = now
        wait_s = (needed - self._level) / self._per_s
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def take(self, amount: float) -> None:
        self._level -= amount


class Quota:
    """What one identity may use; unset: without a bound. `monotonic` tells seconds.

    Bytes are those of requests and responses. A call is let in while any are left, however large it is, and what it took too
    much is missing for the next: so a quota smaller than a message delays it, and doesn't forbid it.
    """

    def __init__(
        self,
        *,
        ops_per_s: float | None = None,
        bytes_per_s: float | None = None,
        watches: int | None = None,
        monotonic: Callable[[], float],
    ) -> None:
        now = monotonic()
        self.refused = 0
        self._monotonic = monotonic
        self._ops = None if ops_per_s is None else _Bucket(ops_per_s, now)
        self._bytes = None if bytes_per_s is None else _Bucket(bytes_per_s, now)
        self._watches_max = watches
        self._watches = 0

    def admit(self, request_bytes: int) -> None:
        """One call more, of so many bytes; QUOTA_EXCEEDED, with when to try again, takes nothing."""
        now = self._monotonic()
        if self._ops is not None and (wait_s := self._ops.wait_s(now, 1.0)) > 0:
            raise self._refusal("ops_per_s", wait_s)
        if self._bytes is not None:
            if (wait_s := self._bytes.wait_s(now, 1.0)) > 0:
                raise self._refusal("bytes_per_s", wait_s)
            self._bytes.take(request_bytes)
        if self._ops is not None:
            self._ops.take(1.0)

    def charge(self, response_bytes: int) -> None:
        """So many bytes went back."""
        if self._bytes is not None:
            self._bytes.take(response_bytes)

    def enter_watch(self) -> None:
        """One stream more; QUOTA_EXCEEDED. Whoever entered must leave."""
        if self._watches_max is not None and self._watches >= self._watches_max:
            raise self._refusal("watches", 1.0)
        self._watches += 1

    def leave_watch(self) -> None:
        """One stream less."""
        self._watches -= 1

    def _refusal(self, quota: str, wait_s: float) -> LimitExceeded:
        self.refused += 1
        return LimitExceeded(
            f"the quota `{quota}` of this identity is used up",
            reason="QUOTA_EXCEEDED",
            retry_after_s=wait_s,
            metadata={"quota": quota},
        )
