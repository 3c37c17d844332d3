"""The daemon on one screen: what `status` prints, and what `top` shows of the same. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from sidecar.cli import output
from sidecar.cli.screen import (
    BLANK,
    Column,
    Line,
    Span,
    folded,
    foreign,
    lasted,
    line,
    number,
    signed,
    since,
    table,
    took,
)

if TYPE_CHECKING:
    from sidecar.cli.daemon_status import DaemonStatus, DaemonTier, Requests, Size

N = TypeVar("N", int, float)
LINES_MAX = 40
RPCS_MAX, SIZES_MAX, SINKS_MAX = 8, 6, 2
"""Of each, where there is room for them."""
_TIERS = (
    Column("tier", right=False),
    Column("state", right=False),
    Column("breaker", right=False),
    *(Column(title) for title in ("p50", "p99", "hits", "calls", "failed", "retries", "pool", "held")),
)
_RPCS = tuple(Column(title, right=title != "last minute") for title in ("last minute", "per second"))
_RPCS += tuple(Column(title) for title in ("errors", "conflicts", "p50", "p95", "p99"))
_SIZES = (Column("kept", right=False), *(Column(title) for title in ("entries", "size", "growth per hour", "")))
_MODES = {"NORMAL": "good", "DEGRADED": "warn", "PASSTHROUGH": "bad"}


def screen(answer: DaemonStatus, *, width: int | None = None) -> list[Line]:
    """At most LINES_MAX lines. `width`: what goes wrong is told in lines of that; None: in one, however long."""
    head, states = [mode_line(answer), *_about(answer)], list(tiers(answer, width))
    queues = list(waiting(answer))
    # Besides: blank lines, the titles of two tables, and what else those say.
    room = LINES_MAX - len(head) - len(states) - len(queues) - 9
    rpcs = min(RPCS_MAX, max(room - SIZES_MAX, room // 2))
    blocks = [head, states, requests(answer, rpcs), sizes(answer, min(SIZES_MAX, room - rpcs)), queues]
    return [told for block in blocks if block for told in (*block, BLANK)][:-1]


def mode_line(answer: DaemonStatus) -> Line:
    """The mode, since when, and why it is not NORMAL."""
    mode = answer.mode.name + (", draining" if answer.draining else "")
    lasts = since(answer.status_time, answer.mode_time)
    reason = f": {foreign(answer.mode_reason)}" if answer.mode_reason else ""
    return line(Span(mode, _MODES.get(answer.mode.name, "")), f" for {lasts}" if lasts else "", reason)


def _about(answer: DaemonStatus) -> Iterator[Line]:
    parts = [f"state-sidecar {answer.daemon_version}"]
    if answer.app:
        parts.append(f"app {output.printable(answer.app)}")
    if up := since(answer.status_time, answer.start_time):
        parts.append(f"up {up}")
    if (process := answer.process) is not None:
        parts += [f"pid {process.pid}", output.size(process.resident_bytes), f"{lasted(process.cpu_s)} of CPU"]
    if (lag := answer.event_loop_lag) is not None:
        parts.append(f"event loop {took(lag.p99_s)} late (p99)")
    yield line(" · ".join(parts))
    if answer.mode_changes:
        whole = sum(answer.mode_seconds.values()) or 1.0
        spent = [f"{name} {seconds / whole:.1%}" for name, seconds in _most(answer.mode_seconds)]
        yield line(" · ".join([_count(answer.mode_changes, "change of the mode", "changes of the mode"), *spent]))


def tiers(answer: DaemonStatus, width: int | None) -> Iterator[Line]:
    """A row for each, and below those that failed lately what failed."""
    titles, *rows = table(_TIERS, [_tier_row(answer, tier) for tier in answer.tiers])
    yield titles
    for tier, row in zip(answer.tiers, rows, strict=True):
        yield row
        yield from trouble(answer, tier, width)


def trouble(answer: DaemonStatus, tier: DaemonTier, width: int | None) -> list[Line]:
    """What is wrong with a tier, or was until lately."""
    if tier.last_error:
        told = Span(f"{output.printable(tier.url)}: {foreign(tier.last_error)}", "bad")
    elif tier.latest_failure:
        ago = since(answer.status_time, tier.latest_failure_time)
        told = Span(f"answers again; the latest failure was {ago} ago: {foreign(tier.latest_failure)}", "dim")
    else:
        return []
    return [line("  ", told)] if width is None else folded(told, width)


def _tier_row(answer: DaemonStatus, tier: DaemonTier) -> tuple[Span | str, ...]:
    latency = tier.latency
    return (
        tier.tier.name + (" (authority)" if tier.authority else ""),
        state(answer, tier),
        breaker(tier),
        took(latency.p50_s) if latency else "-",
        took(latency.p99_s) if latency else "-",
        "-" if tier.hit_ratio is None else f"{tier.hit_ratio:.1%}",
        f"{tier.in_flight}+{tier.waiting}" if tier.waiting else str(tier.in_flight),
        number(tier.failed_count),
        number(tier.retries),
        pool(tier),
        output.size(tier.bytes_held) if tier.bytes_held else "-",
    )


def state(answer: DaemonStatus, tier: DaemonTier) -> Span:
    """Whether it answers, and since when that is so, if it changed."""
    if not tier.state:
        return Span("-")
    lasts = since(answer.status_time, tier.state_time)
    return Span(f"{tier.state.name} {lasts}".rstrip(), "bad" if tier.state.name == "DOWN" else "good")


def breaker(tier: DaemonTier) -> Span:
    """Its state."""
    if not tier.breaker:
        return Span("-")
    return Span(tier.breaker.name, "" if tier.breaker.name == "CLOSED" else "bad")


def pool(tier: DaemonTier) -> str:
    """In use, of how many there may be, and how many calls wait."""
    if tier.pool is None:
        return "-"
    told = f"{tier.pool.in_use}/{tier.pool.size_max or tier.pool.in_use + tier.pool.idle}"
    return f"{told}+{tier.pool.waiting}" if tier.pool.waiting else told


def requests(answer: DaemonStatus, count: int) -> list[Line]:
    """The busiest RPCs of the last minute."""
    recent = sorted((one for one in answer.requests if one.latency), key=lambda one: (-one.rate, one.rpc))
    if not recent:
        return [line(Span("no requests in the last minute", "dim"))] if answer.requests else []
    lines = table(_RPCS, (_rpc_row(one) for one in recent[:count]))
    if rest := recent[count:]:
        lines.append(line(Span(f"and {len(rest)} more, {number(sum(one.rate for one in rest))} per second", "dim")))
    without = _without_guarantee(recent)
    return [*lines, line(Span(f"answered in another mode than NORMAL: {without}", "warn"))] if without else lines


def _rpc_row(one: Requests) -> tuple[Span | str, ...]:
    latency = one.latency
    measured = (latency.p50_s, latency.p95_s, latency.p99_s) if latency else ()
    errors = Span(number(one.errors), "bad" if one.errors else "")
    return (one.rpc, number(one.rate), errors, number(one.conflicts), *(took(seconds) for seconds in measured))


def _without_guarantee(recent: Iterable[Requests]) -> str:
    counts: dict[str, int] = {}
    for one in recent:
        for mode, count in one.mode_counts.items():
            if mode != "normal":
                counts[mode] = counts.get(mode, 0) + count
    return ", ".join(f"{number(count)} {mode}" for mode, count in _most(counts))


def sizes(answer: DaemonStatus, count: int) -> list[Line]:
    """The largest of what is kept."""
    if not answer.sizes:
        return []
    lines = table(_SIZES, (_size_row(one) for one in islice(answer.sizes, count)))
    if rest := answer.sizes[count:]:
        more = output.size(sum(one.size_bytes for one in rest))
        lines.append(line(Span(f"and {len(rest)} more, {more}", "dim")))
    return lines


def _size_row(one: Size) -> tuple[str, ...]:
    return (
        f"{one.tier.name} {output.printable(one.namespace)}",
        number(one.entry_count),
        output.size(one.size_bytes),
        growth(one),
        "estimated" if one.estimated else "",
    )


def growth(one: Size) -> str:
    """Entries and bytes an hour."""
    if one.entries_per_second is None or one.bytes_per_second is None:
        return "-"
    entries, grown = round(one.entries_per_second * 3600), round(one.bytes_per_second * 3600)
    if not entries and not grown:
        return "0"
    return f"{signed(number(abs(entries)), entries)}, {signed(output.size(abs(grown)), grown)}"


def waiting(answer: DaemonStatus) -> Iterator[Line]:
    """Queues, journal, outbox, cleaning, and what is exported."""
    parts = [f"{answer.requests_in_flight} in flight", f"{answer.conflicts_last_minute} conflicts in the last minute"]
    parts += [f"{answer.watchers} watchers", f"{answer.followups_pending} followups pending"]
    if answer.followups_dropped:
        parts.append(f"{_count(answer.followups_dropped, 'followup')} dropped")
    yield _about_a("requests", parts)
    yield from _journal(answer)
    yield from _outbox(answer)
    if cleaned := sum(answer.cleaned_counts.values()):
        kinds = [f"{number(count)} {_words(kind)}" for kind, count in _most(answer.cleaned_counts)]
        behind = [f"{job.job} of {job.tier.name} is behind" for job in answer.cleaning if job.behind]
        yield _about_a("cleaning", [f"{number(cleaned)} things cleaned: {', '.join(kinds)}", *behind])
    if (export := answer.telemetry) is not None:
        failed = ", ".join(f"{count} {signal}" for signal, count in _most(export.failed_counts))
        lost = f"{number(export.spans_dropped)} spans dropped"
        yield _about_a("telemetry", [lost, f"exports failed: {failed or 'none'}"], bad=bool(failed))


def _journal(answer: DaemonStatus) -> Iterator[Line]:
    if not (answer.journal_depth or answer.dead_writes):
        return
    parts = []
    if answer.journal_depth:
        age = since(answer.status_time, answer.journal_oldest_time)
        held = f" ({output.size(answer.journal_bytes)})" if answer.journal_bytes else ""
        oldest = f", the oldest for {age}" if age else ""
        parts.append(f"{_count(answer.journal_depth, 'write')} in the journal{held}{oldest}")
    if answer.dead_writes:
        parts.append(_count(answer.dead_writes, "dead write"))
    yield _about_a("journal", parts, bad=bool(answer.dead_writes))


def _outbox(answer: DaemonStatus) -> Iterator[Line]:
    parts = []
    if answer.outbox_pending:
        lag_s = answer.outbox_lag.total_seconds() if answer.outbox_lag else 0.0
        oldest = f", the oldest for {lasted(lag_s)}" if lag_s >= 1 else ""
        parts.append(f"{_count(answer.outbox_pending, 'message')} pending{oldest}")
        parts.append(f"{answer.outbox_in_flight} in flight")
    if answer.outbox_parked:
        parts.append(f"{_count(answer.outbox_parked, 'key')} held up by a refused message")
    if answer.dead_letters:
        parts.append(_count(answer.dead_letters, "dead letter"))
    if parts:
        yield _about_a("outbox", parts, bad=bool(answer.dead_letters))
    for error in answer.outbox_sink_errors[:SINKS_MAX]:
        yield line(Span(f"a sink takes nothing: {foreign(error)}", "bad"))


def _about_a(what: str, parts: Iterable[str], *, bad: bool = False) -> Line:
    return line(Span(f"{what:<9}", "head"), " ", Span(" · ".join(parts), "warn" if bad else ""))


def _most(counts: Mapping[str, N]) -> list[tuple[str, N]]:
    """Those that there are, the most first: the wire has no order."""
    return sorted(((name, count) for name, count in counts.items() if count), key=lambda one: (-one[1], one[0]))


def _count(count: int, one: str, more: str = "") -> str:
    return f"{number(count)} {one if count == 1 else more or one + 's'}"


def _words(kind: str) -> str:
    return output.printable(kind.replace("_", " "))
