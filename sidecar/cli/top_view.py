"""What `top` shows: the daemon's latest status, and how its figures went. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sidecar.cli import output, status_view
from sidecar.cli.screen import BLANK, Column, Line, Span, cut, lasted, line, number, sparkline, table, text, took
from sidecar.cli.top_history import OWN, History

if TYPE_CHECKING:
    from sidecar.cli.daemon_status import DaemonStatus, DaemonTier, Requests, Size

_LABEL, _VALUE = 14, 10


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that belong together; `least` of them are shown while there is room. `newest`: the last ones, not the first."""

    lines: Sequence[Line]
    least: int
    newest: bool = False


def screen(history: History, now: datetime, *, width: int, height: int, interval_s: float) -> list[Line]:
    """At most `height` lines of at most `width` columns."""
    answer = history.latest
    if answer is None:
        waiting = f"no answer from {history.target}: {history.error}" if history.error else f"asking {history.target} …"
        return [cut(line(Span(waiting, "bad" if history.error else "dim")), width)]
    head = [_head(history, answer, now, width), _process(history, answer)]
    blocks = [
        _traffic(history, width),
        _tiers(history, answer, width),
        _rpcs(history, answer, width),
        Block(list(status_view.waiting(answer)), 1),
        _sizes(history, answer, width),
        _events(history),
    ]
    foot = line(Span(f"q quits · every {interval_s:g} s · * the authority · last minute: p50, p99, conflicts", "dim"))
    body = arranged([block for block in blocks if block.lines], height - len(head) - 1)
    return [cut(told, width) for told in [*head, *body, foot]][:height]


def filled(lines: Sequence[Line], height: int) -> list[Line]:
    """As high as the screen: the last line is at its foot."""
    return [*lines[:-1], *[BLANK] * (height - len(lines)), *lines[-1:]]


def arranged(blocks: Sequence[Block], room: int) -> list[Line]:
    """So much of each as fits: of all the least, then blank lines between them, then more of each."""
    given = []
    for block in blocks:
        given.append(max(min(block.least, len(block.lines), room), 0))
        room -= given[-1]
    gaps = min(len(blocks), max(room, 0))
    room -= gaps
    while room > 0 and any(count < len(block.lines) for count, block in zip(given, blocks, strict=True)):
        for place, block in enumerate(blocks):
            if room > 0 and given[place] < len(block.lines):
                given[place] += 1
                room -= 1
    lines: list[Line] = []
    for place, (count, block) in enumerate(zip(given, blocks, strict=True)):
        if count:
            lines += [BLANK] if place < gaps else []
            lines += block.lines[-count:] if block.newest else block.lines[:count]
    return lines


def _head(history: History, answer: DaemonStatus, now: datetime, width: int) -> Line:
    right = f"  {output.printable(history.target)} {now:%H:%M:%S}"
    if history.gone_since is not None:
        gone = lasted((now - history.gone_since).total_seconds())
        left = line(Span("NO ANSWER", "bad"), f" for {gone}: {history.error}")
    else:
        left = status_view.mode_line(answer)
    left = cut(left, width - len(right))
    return (*left, Span(right.rjust(width - len(text(left))), "dim"))


def _process(history: History, answer: DaemonStatus) -> Line:
    parts = [output.printable(answer.app) if answer.app else "", f"state-sidecar {answer.daemon_version}"]
    if answer.start_time and answer.status_time:
        parts.append(f"up {lasted((answer.status_time - answer.start_time).total_seconds())}")
    if answer.process:
        parts += [f"pid {answer.process.pid}", output.size(answer.process.resident_bytes)]
    if history.cpu_share is not None:
        parts.append(f"CPU {history.cpu_share:.0%}")
    if answer.event_loop_lag:
        parts.append(f"loop {took(answer.event_loop_lag.p99_s)} late (p99)")
    return line(Span(" · ".join(part for part in parts if part), "dim" if history.gone_since else ""))


def _traffic(history: History, width: int) -> Block:
    room = width - _LABEL - _VALUE - 2
    shown = (
        ("requests/s", "rate", number, ""),
        ("errors/s", "errors", number, "bad"),
        ("conflicts/min", "conflicts", number, ""),
        ("slowest p99", "p99", took, ""),
    )
    lines = []
    for label, name, told, style in shown:
        values = history.series(name)
        latest = values[-1] if values else None
        value = "-" if latest is None else told(latest)
        bars = Span(sparkline(values, room), "bad" if style and any(values) else "spark")
        lines.append(
            line(Span(label.ljust(_LABEL), "head"), Span(value.rjust(_VALUE), style if latest else ""), "  ", bars)
        )
    return Block(lines, len(lines))


def _tiers(history: History, answer: DaemonStatus, width: int) -> Block:
    columns = [Column("tier", right=False), Column("state", right=False, least=9), Column("breaker", right=False)]
    columns += [Column(title) for title in ("p99", "hits", "calls", "failed", "pool")]
    titles, *rows = table(columns, (_tier_row(answer, tier) for tier in answer.tiers))
    room = width - len(text(titles)) - 2
    lines = [titles]
    for tier, row in zip(answer.tiers, rows, strict=True):
        bars = sparkline(history.series("hits", tier.tier.name), room, most=1.0)
        lines.append((*row, Span("  "), Span(bars, "spark")))
        lines += status_view.trouble(answer, tier, width)
    return Block(lines, len(lines))


def _tier_row(answer: DaemonStatus, tier: DaemonTier) -> tuple[Span | str, ...]:
    return (
        tier.tier.name + ("*" if tier.authority else ""),
        status_view.state(answer, tier),
        status_view.breaker(tier),
        took(tier.latency.p99_s) if tier.latency else "-",
        "-" if tier.hit_ratio is None else f"{tier.hit_ratio:.1%}",
        f"{tier.in_flight}+{tier.waiting}" if tier.waiting else str(tier.in_flight),
        number(tier.failed_count),
        status_view.pool(tier),
    )


def _rpcs(history: History, answer: DaemonStatus, width: int) -> Block:
    columns = (Column("rpc", right=False, least=8), *(Column(title) for title in ("per s", "errors", "conflicts")))
    columns += (Column("p50", least=7), Column("p99", least=7))
    shown = sorted((one for one in answer.requests if one.latency and one.rpc != OWN), key=lambda one: -one.rate)
    titles, *rows = table(columns, (_rpc_row(history, one) for one in shown))
    room = (width - len(text(titles)) - 4) // 2
    titles = (*titles, Span("  "), Span("per s".ljust(room)[: max(room, 0)], "dim"), Span("  "), Span("p99", "dim"))
    lines: list[Line] = [titles]
    for one, row in zip(shown, rows, strict=True):
        rates, slow = (sparkline(history.series(name, one.rpc), room) for name in ("rate", "p99"))
        lines.append((*row, Span("  "), Span(rates, "spark"), Span("  "), Span(slow, "spark")))
    return Block(lines if shown else (), 3)


def _rpc_row(history: History, one: Requests) -> tuple[Span | str, ...]:
    rates = history.series("rate", one.rpc)
    rate = rates[-1] if rates and rates[-1] is not None else one.rate
    errors = Span(number(one.errors), "bad" if one.errors else "")
    latency = one.latency
    measured = (latency.p50_s, latency.p99_s) if latency else (0.0, 0.0)
    return (one.rpc, number(rate), errors, number(one.conflicts), *(took(seconds) for seconds in measured))


def _sizes(history: History, answer: DaemonStatus, width: int) -> Block:
    columns = (Column("kept", right=False), *(Column(title) for title in ("entries", "size", "growth per hour")))
    titles, *rows = table(columns, (_size_row(one) for one in answer.sizes))
    room = width - len(text(titles)) - 2
    lines: list[Line] = [titles]
    for one, row in zip(answer.sizes, rows, strict=True):
        bars = sparkline(history.series("size", one.tier.name, one.namespace), room)
        lines.append((*row, Span("  "), Span(bars, "spark")))
    return Block(lines if answer.sizes else (), 2)


def _size_row(one: Size) -> tuple[str, ...]:
    about = "~" if one.estimated else ""
    name = f"{one.tier.name} {output.printable(one.namespace)}"
    return name, about + number(one.entry_count), about + output.size(one.size_bytes), status_view.growth(one)


def _events(history: History) -> Block:
    lines = [line(Span(f"{at:%H:%M:%S} ", "dim"), told) for at, told in history.events]
    return Block(lines, 2, newest=True)
