"""A run as tables: for a terminal, for README.md, and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import grpc
from rich.console import Console
from rich.table import Table

from bench.figures import CheckpointStorage, Report
from bench.racing import Race
from sidecar import __version__

HERE = Path(__file__).parent
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
Cells = tuple[str, ...]


def machine() -> dict[str, str | int | float]:
    """What figures depend on, and nothing that names the machine. To be asked before the measurement: it has the load."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "load_before": round(os.getloadavg()[0], 1),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "sqlite": sqlite3.sqlite_version,
        "state_sidecar": __version__,
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def tables(report: Report) -> list[tuple[Cells, list[Cells]]]:
    """Headings and rows of each table."""
    unary: list[Cells] = [
        (
            row.title,
            f"{row.p50_us:.0f}",
            f"{row.p99_us:.0f}",
            f"{row.floor_p50_us:.0f}",
            f"{row.floor_p99_us:.0f}",
            f"{row.ratio:.2f}",
            "" if row.ratio_max is None else f"≤ {row.ratio_max:.2f} {_mark(row.met)}",
        )
        for row in (*report.unary, *report.redis, *report.security)
    ]
    group, postgres, idle, cost = report.group_commit, report.postgres, report.footprint, report.telemetry
    others: list[Cells] = [
        (f"SQLite Set, {group.concurrency} concurrent, grouped", f"{group.grouped_per_s:.0f} a second", ""),
        ("the same, a commit each", f"{group.single_per_s:.0f} a second", ""),
        ("ratio", f"{group.ratio:.1f}", f"≥ {group.ratio_min:.0f} {_mark(group.met)}"),
        (
            f"PostgreSQL Set, {postgres.concurrency} concurrent, grouped",
            f"{postgres.grouped_per_s:.0f} a second",
            "",
        ),
        (
            f"the same, a commit each over {postgres.connections} connections",
            f"{postgres.single_per_s:.0f} a second",
            "",
        ),
        (f"bare upserts over {postgres.connections} connections", f"{postgres.bare_per_s:.0f} a second", ""),
        (
            "ratio to a commit each",
            f"{postgres.single_ratio:.1f}",
            f"≥ {postgres.single_ratio_min:.0f} {_mark(postgres.single_ratio >= postgres.single_ratio_min)}",
        ),
        (
            "ratio to bare upserts",
            f"{postgres.bare_ratio:.2f}",
            f"≥ {postgres.bare_ratio_min:.1f} {_mark(postgres.bare_ratio >= postgres.bare_ratio_min)}",
        ),
        (f"Get, telemetry on ({cost.sampled:.0%} sampled), p50", f"{cost.p50_us:.0f} µs", ""),
        ("the same, off", f"{cost.off_p50_us:.0f} µs", ""),
        ("ratio of p50", f"{cost.ratio:.2f}", f"≤ {cost.ratio_max:.2f} {_mark(cost.ratio <= cost.ratio_max)}"),
        (
            "ratio of CPU time for a call",
            f"{cost.cpu_ratio:.2f} ({cost.cpu_us:.0f} / {cost.off_cpu_us:.0f} µs)",
            f"≤ {cost.cpu_ratio_max:.2f} {_mark(cost.cpu_ratio <= cost.cpu_ratio_max)}",
        ),
        (
            "daemon start to SERVING",
            f"{idle.start_s:.2f} s",
            f"≤ {idle.start_s_max:.1f} s {_mark(idle.start_s <= idle.start_s_max)}",
        ),
        (
            "idle memory (RSS)",
            f"{idle.rss_mb:.0f} MB",
            f"≤ {idle.rss_mb_max:.0f} MB {_mark(idle.rss_mb <= idle.rss_mb_max)}",
        ),
        (
            "the same with Redis, PostgreSQL and S3",
            f"{idle.connected_mb:.0f} MB",
            f"≤ {idle.connected_mb_max:.0f} MB {_mark(idle.connected_mb <= idle.connected_mb_max)}",
        ),
        (
            f"of {', '.join(idle.backends_looked_for)} imported",
            f"{', '.join(idle.backends_imported) or 'none'} (of {idle.modules} modules)",
            f"none {_mark(not idle.backends_imported)}",
        ),
    ]
    return [
        *race_tables(report.races),
        (("call", "p50 µs", "p99 µs", "floor p50", "floor p99", "ratio", "target"), unary),
        (("what", "measured", "target"), others),
        *checkpoint_tables(report.checkpoints),
    ]


def checkpoint_tables(storage: Sequence[CheckpointStorage]) -> list[tuple[Cells, list[Cells]]]:
    """Stored bytes / live state by scheme, and restores of what the daemon keeps."""
    stored: list[Cells] = []
    restores: list[Cells] = []
    for row in storage:
        if row.restore_ms_p50:
            title = f"{row.state}, {row.turns} turns"
            stored_max = "" if row.stored_max is None else f"≤ {row.stored_max:.1f} {_mark(row.stored_met)}"
            stored.append((title, *(f"{ratio:.2f}" for ratio in row.stored.values()), stored_max))
            p50, p99 = row.restore_ms_p50["by change"], row.restore_ms_p99["by change"]
            restore_max = "" if row.restore_ms_max is None else f"≤ {row.restore_ms_max:.0f} {_mark(row.restore_met)}"
            restores.append((title, str(row.links_max), f"{p50:.1f}", f"{p99:.1f}", restore_max))
    return [
        (("checkpoints of", *storage[0].stored, "target"), stored),
        (("restores of", "deltas at most", "p50 ms", "p99 ms", "target"), restores),
    ]


def race_tables(races: Sequence[Race]) -> list[tuple[Cells, list[Cells]]]:
    """What each side did, and the ratios between them with their targets."""
    sides: list[Cells] = []
    ratios: list[Cells] = []
    for race in races:
        title = f"{race.title}; {race.callers} caller{'s' * (race.callers > 1)}"
        for side in race.sides:
            durations = (f"{us:.0f}" for us in (side.p50_us, side.p99_us, side.p999_us))
            cpu = f"{side.client_cpu_us:.0f} + {side.server_cpu_us:.0f}" if side.server_cpu_us else ""
            sides.append((title, side.name, f"{side.per_s:.0f}", *durations, cpu))
        for outcome in race.outcomes:
            target = "" if outcome.met is None else f"{outcome.wanted} {_mark(outcome.met)}"
            ratios.append((title, outcome.title, f"{outcome.value:.2f}", target))
    return [
        (("what", "ratio of", "median", "target"), ratios),
        (("what", "by", "a second", "p50 µs", "p99 µs", "p99.9 µs", "CPU µs, client + server"), sides),
    ]


def _mark(met: bool | None) -> str:
    return "✓" if met else "✗"


def console() -> Console:
    """Of a terminal; where there is none, tables are as wide as they need."""
    return Console(width=None if sys.stdout.isatty() else 200)


def show(report: Report, console: Console) -> None:
    """To a terminal."""
    show_tables(tables(report), console)


def show_tables(told: Sequence[tuple[Cells, list[Cells]]], console: Console) -> None:
    """Tables to a terminal."""
    for headings, rows in told:
        table = Table(*headings)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*row)
        console.print(table)


def save(report: Report, folder: Path) -> Path:
    """As JSON, under the time of now."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps(dataclasses.asdict(report), indent=2, ensure_ascii=False) + "\n")
    return path


def write_readme(report: Report) -> None:
    """Between the markers of README.md."""
    facts = report.machine
    conditions = (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {facts['cpus']} CPUs ({facts['cpu']}), Python {facts['python']}, "
        f"grpcio {facts['grpcio']}, SQLite {facts['sqlite']}; load average before the run {facts['load_before']}.\n"
    )
    parts = [conditions]
    for headings, rows in tables(report):
        align = ["---", *["---:"] * (len(headings) - 1)]
        parts.append("".join(f"| {' | '.join(cells)} |\n" for cells in (headings, align, *rows)))
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    readme.write_text(before + BEGIN + "\n".join(parts) + END + rest.partition(END)[2])
