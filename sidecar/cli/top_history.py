"""How a daemon's figures went while `top` looked, and what happened. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sidecar.cli.screen import (
    Span,
    foreign,
    lasted,
)

if TYPE_CHECKING:
    from sidecar.cli.daemon_status import DaemonStatus, DaemonTier

SAMPLES_MAX = 600
EVENTS_MAX = 50
OWN = "GetStatus"
"""What `top` itself asks for is no traffic."""
Series = dict[tuple[str, ...], "deque[float | None]"]


class History:
    """Statuses as they came, and what happened between them. `now` is this machine's clock."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.latest: DaemonStatus | None = None
        self.events: deque[tuple[datetime, Span]] = deque(maxlen=EVENTS_MAX)
        self.error = ""
        """Why there is no newer status; empty: there is none to wait for."""
        self.gone_since: datetime | None = None
        self.cpu_share: float | None = None
        self._series: Series = {}
        self._samples = 0

    def series(self, *name: str) -> Sequence[float | None]:
        """The latest values, the newest last."""
        return self._series.get(name, ())

    def answered(self, told: DaemonStatus, now: datetime) -> None:
        """A status came."""
        before, self.latest = self.latest, told
        if self.gone_since is not None:
            gone_s = (now - self.gone_since).total_seconds()
            self._event(now, "good", f"the daemon answers again, after {lasted(gone_s)}")
        self.error, self.gone_since = "", None
        values = dict(_gauges(told))
        if before is not None:
            values |= self._compared(before, told, now)
        self._add(values)

    def failed(self, error: str, now: datetime) -> None:
        """None came."""
        if self.gone_since is None:
            self.gone_since = now
            self._event(now, "bad", f"no answer from {self.target}: {foreign(error)}")
        self.error = foreign(error)
        self._add({})

    def _compared(self, before: DaemonStatus, told: DaemonStatus, now: datetime) -> dict[tuple[str, ...], float]:
        if before.start_time != told.start_time:
            self._event(now, "warn", "the daemon was started anew")
            return {}
        self._changes(before, told, now)
        if before.status_time is None or told.status_time is None or told.status_time <= before.status_time:
            return {}
        seconds = (told.status_time - before.status_time).total_seconds()
        if before.process is not None and told.process is not None:
            self.cpu_share = (told.process.cpu_s - before.process.cpu_s) / seconds
        return dict(_rates(before, told, seconds))

    def _changes(self, before: DaemonStatus, told: DaemonStatus, now: datetime) -> None:
        then = {tier.tier: tier for tier in before.tiers}
        for tier in told.tiers:
            if (was := then.get(tier.tier)) is not None:
                self._tier_changes(was, tier, now)
        if before.mode is not told.mode:
            reason = f": {foreign(told.mode_reason)}" if told.mode_reason else ""
            style = "good" if told.mode.name == "NORMAL" else "bad"
            self._event(now, style, f"{before.mode.name} → {told.mode.name}{reason}")

    def _tier_changes(self, was: DaemonTier, tier: DaemonTier, now: datetime) -> None:
        name = tier.tier.name
        if tier.state.name == "DOWN" and was.state.name != "DOWN":
            self._event(now, "bad", f"{name} is down: {foreign(tier.last_error)}")
        elif tier.state.name == "UP" and was.state.name == "DOWN":
            down_s = 0.0
            if was.state_time is not None and tier.state_time is not None:
                down_s = (tier.state_time - was.state_time).total_seconds()
            self._event(now, "good", f"{name} answers again, after {lasted(down_s)}")

    def _event(self, now: datetime, style: str, words: str) -> None:
        self.events.append((now, Span(words, style)))

    def _add(self, values: dict[tuple[str, ...], float]) -> None:
        for name in values:
            if name not in self._series:
                # As long as the others are: what comes later begins later.
                self._series[name] = deque([None] * min(self._samples, SAMPLES_MAX), maxlen=SAMPLES_MAX)
        for name, series in self._series.items():
            series.append(values.get(name))
        self._samples += 1


def _gauges(told: DaemonStatus) -> Iterator[tuple[tuple[str, ...], float]]:
    yield ("conflicts",), told.conflicts_last_minute
    slowest = [one.latency.p99_s for one in told.requests if one.latency and one.rpc != OWN]
    if slowest:
        yield ("p99",), max(slowest)
    for one in told.requests:
        if one.latency:
            yield ("p99", one.rpc), one.latency.p99_s
    for size in told.sizes:
        yield ("size", size.tier.name, size.namespace), size.size_bytes


def _rates(before: DaemonStatus, told: DaemonStatus, seconds: float) -> Iterator[tuple[tuple[str, ...], float]]:
    then = {one.rpc: one for one in before.requests}
    all_count = all_errors = 0
    for one in told.requests:
        was = then.get(one.rpc)
        count = one.count - (was.count if was else 0)
        yield ("rate", one.rpc), count / seconds
        if one.rpc != OWN:
            all_count += count
            all_errors += one.error_count - (was.error_count if was else 0)
    yield ("rate",), all_count / seconds
    yield ("errors",), all_errors / seconds
    tiers = {tier.tier: tier for tier in before.tiers}
    for tier in told.tiers:
        earlier = tiers.get(tier.tier)
        if earlier is not None and (lookups := tier.lookups - earlier.lookups) > 0:
            yield ("hits", tier.tier.name), (tier.hits - earlier.hits) / lookups
