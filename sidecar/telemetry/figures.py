"""Where the figures of a running daemon come from: what its parts tell of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sidecar.core.histograms import Distribution
from sidecar.core.journal import DeadWrite, Settlement
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.observed import Pool, Size
from sidecar.engine.cleaning.tally import Tally
from sidecar.tiers.stats import TierReport


class HealthFigures(Protocol):
    """The daemon's mode, and how long it was in which."""

    @property
    def since(self) -> int:
        """Since when the mode is what it is, in milliseconds since 1970."""
        ...

    @property
    def changes(self) -> int:
        """Changes of the mode since the start."""
        ...

    @property
    def seconds(self) -> Mapping[ServingMode, float]:
        """Seconds in each mode since the start, up to a moment ago."""
        ...

    def mode(self) -> ServingMode:
        """The guarantee that answers carry now."""
        ...


class BufferFigures(Protocol):
    """What the journal holds, and what became of it. Read from another thread: nothing here waits or changes."""

    @property
    def depth(self) -> int:
        """Writes that the authority has not seen yet."""
        ...

    @property
    def bytes_held(self) -> int:
        """What those and the dead ones take."""
        ...

    @property
    def settled(self) -> Mapping[Settlement, int]:
        """Buffered writes that were settled since the start."""
        ...

    @property
    def oldest_time(self) -> int | None:
        """When the oldest write that is not settled was acknowledged, in milliseconds; None: there is none."""
        ...

    def dead(self) -> Sequence[DeadWrite]:
        """Dead writes that are kept."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxFigures:
    """What waits in the outboxes by the latest counts, and what this daemon has delivered since the start."""

    pending: int = 0
    lag_s: float = 0.0
    dead_letters: int = 0
    delivered: int = 0
    refused: int = 0
    buried: int = 0
    in_flight: int = 0
    parked: int = 0
    sinks_away: int = 0
    sink_errors: Sequence[str] = ()
    """Why, of each of those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFigures:
    """What became of requests since the start. Series are RPC, kind of namespace, mode, outcome."""

    durations: Mapping[tuple[str, str, str, str], Distribution] = field(default_factory=dict)
    last_minute: Mapping[tuple[str, str, str, str], Distribution] = field(default_factory=dict)
    """Of the series that had some, those of the last minute."""
    conflicts_last_minute: Mapping[str, int] = field(default_factory=dict)
    """By kind of namespace; from any that had a request."""
    in_flight: int = 0
    streams: Mapping[str, int] = field(default_factory=dict)
    watchers: int = 0
    followups_pending: int = 0
    followups_dropped: int = 0
    loop_lag: Distribution | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFigures:
    """Of the daemon's own telemetry."""

    spans_dropped: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    """Exports by signal."""


class Figures(Protocol):
    """Where the figures come from. Asked by other threads than the event loop's: nothing here waits or changes."""

    @property
    def start_time(self) -> int:
        """In milliseconds since 1970."""
        ...

    @property
    def health(self) -> HealthFigures | None:
        """None: the mode's past is not known."""
        ...

    @property
    def buffer(self) -> BufferFigures | None:
        """None: there is no journal."""
        ...

    @property
    def cleaned(self) -> Tally | None:
        """What background jobs cleaned; None: there are none."""
        ...

    def now(self) -> int:
        """Milliseconds since 1970."""
        ...

    def outbox(self) -> OutboxFigures:
        """Of all authorities."""
        ...

    def mode(self) -> ServingMode:
        """The guarantee that answers carry now."""
        ...

    def tier_reports(self) -> Iterator[tuple[Tier, TierReport, int]]:
        """Each tier, its figures, and the bytes it holds in this process."""
        ...

    def requests(self) -> RequestFigures:
        """Of all RPCs."""
        ...

    def sizes(self) -> Sequence[Size]:
        """What is kept, by the latest count."""
        ...

    def pools(self) -> Mapping[Tier, Pool]:
        """Of the backends that have one."""
        ...

    def batches(self) -> Mapping[Tier, Distribution]:
        """How many writes the commits had, of the stores that group them."""
        ...

    def exports(self) -> ExportFigures | None:
        """None: nothing is exported."""
        ...
