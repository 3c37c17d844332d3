"""What was measured, and what was wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.racing import Race


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """The nearest-rank percentile of sorted durations."""
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A kind of call beside the floor's same call, in one run. `ratio`: the median over rounds of p50 / floor's p50."""

    title: str
    p50_us: float
    p99_us: float
    floor_p50_us: float
    floor_p99_us: float
    ratio: float
    ratio_max: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None: there is none."""
        return None if self.ratio_max is None else self.ratio <= self.ratio_max


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCommit:
    """Writes a second of concurrent writers, grouped and with a commit each; `ratio`: the median over rounds."""

    concurrency: int
    grouped_per_s: float
    single_per_s: float
    ratio: float
    ratio_min: float

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.ratio >= self.ratio_min


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresCommits:
    """Writes a second of concurrent writers; ratios are medians over rounds of grouped to the others."""

    concurrency: int
    connections: int
    grouped_per_s: float
    single_per_s: float
    bare_per_s: float
    single_ratio: float
    single_ratio_min: float
    bare_ratio: float
    bare_ratio_min: float

    @property
    def met(self) -> bool:
        """Whether both targets are met."""
        return self.single_ratio >= self.single_ratio_min and self.bare_ratio >= self.bare_ratio_min


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryCost:
    """A unary Get of a daemon whose telemetry is on, beside that of one whose is off, in one run. `ratio`: the median over
    rounds of p50 / p50; `cpu_us`: CPU time of the whole process, for each call.
    """

    sampled: float
    p50_us: float
    p99_us: float
    off_p50_us: float
    off_p99_us: float
    ratio: float
    ratio_max: float
    cpu_us: float
    off_cpu_us: float
    cpu_ratio: float
    cpu_ratio_max: float

    @property
    def met(self) -> bool:
        """Whether both targets are met."""
        return self.ratio <= self.ratio_max and self.cpu_ratio <= self.cpu_ratio_max


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """An idle daemon on embedded tiers; start until health says SERVING, MB of 10^6 bytes; medians of some starts.
    `connected_mb`: of one whose tiers are Redis, PostgreSQL and S3.
    """

    start_s: float
    start_s_max: float
    rss_mb: float
    rss_mb_max: float
    connected_mb: float
    connected_mb_max: float
    modules: int
    backends_imported: tuple[str, ...]
    backends_looked_for: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether all targets are met."""
        memory = self.rss_mb <= self.rss_mb_max and self.connected_mb <= self.connected_mb_max
        return self.start_s <= self.start_s_max and memory and not self.backends_imported


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointStorage:
    """Checkpoints of a growing state, one a turn: by scheme, stored bytes / live state, and milliseconds of a restore."""

    state: str
    turns: int
    state_bytes: int
    stored: dict[str, float]
    stored_max: float | None
    links_max: int
    restore_ms_p50: dict[str, float]
    restore_ms_p99: dict[str, float]
    restore_ms_max: float | None

    @property
    def stored_met(self) -> bool:
        """Whether the daemon keeps few enough bytes, where there is a target."""
        return self.stored_max is None or self.stored["by change"] <= self.stored_max

    @property
    def restore_met(self) -> bool:
        """Whether its restores are fast enough, where there is a target."""
        return self.restore_ms_max is None or self.restore_ms_p99["by change"] <= self.restore_ms_max


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run."""

    machine: dict[str, str | int | float]
    settings: dict[str, int]
    unary: list[Row]
    security: list[Row]
    redis: list[Row]
    group_commit: GroupCommit
    postgres: PostgresCommits
    footprint: Footprint
    telemetry: TelemetryCost
    checkpoints: list[CheckpointStorage]
    races: list[Race]

    @property
    def met(self) -> bool:
        """Whether every target is met."""
        parts = (
            all(row.stored_met and row.restore_met for row in self.checkpoints)
            and all(race.met for race in self.races)
            and self.group_commit.met
            and self.postgres.met
            and self.footprint.met
            and self.telemetry.met
        )
        return parts and all(row.met is not False for row in (*self.unary, *self.redis))
