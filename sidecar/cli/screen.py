"""What `status` and `top` are drawn with: lines of styled text, tables, sparklines. Pure; a terminal is not asked."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import click

from sidecar.cli import output


class Span(NamedTuple):
    """Some text, and how it looks: a name of STYLES."""

    text: str
    style: str = ""


Line = tuple[Span, ...]
STYLES: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "head": {"bold": True},
    "dim": {"dim": True},
    "good": {"fg": "green", "bold": True},
    "warn": {"fg": "yellow", "bold": True},
    "bad": {"fg": "red", "bold": True},
    "spark": {"fg": "cyan"},
}
"""As click.style takes them."""
BLANK: Line = ()
_BARS = "▁▂▃▄▅▆▇█"


class Column(NamedTuple):
    """Of a table. `least`: how wide it is where all of its cells are shorter."""

    title: str
    right: bool = True
    least: int = 0


def line(*parts: Span | str) -> Line:
    """Of texts and spans."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts)


def text(told: Line) -> str:
    """Without its looks."""
    return "".join(span.text for span in told)


def cut(told: Line, width: int) -> Line:
    """At most so wide; what is missing is told by an ellipsis."""
    if sum(len(span.text) for span in told) <= width:
        return told
    left, kept = width - 1, []
    for span in told:
        kept.append(span._replace(text=span.text[: max(left, 0)]))
        left -= len(span.text)
    return (*kept, Span("…", "dim"))


def styled(told: Line) -> str:
    """With its looks, as click.echo prints them where they are seen."""
    kept = list(told)
    while kept and not kept[-1].text.strip():
        kept.pop()
    if kept:
        kept[-1] = kept[-1]._replace(text=kept[-1].text.rstrip())
    return "".join(click.style(span.text, **STYLES[span.style]) if span.style else span.text for span in kept)


def folded(told: Span, width: int, *, most: int = 2) -> list[Line]:
    """In lines of at most that width, at words where there are some; what is more than `most` lines is cut."""
    lines = textwrap.wrap(
        told.text, width, subsequent_indent="  ", initial_indent="  ", max_lines=most, placeholder=" …"
    )
    return [line(told._replace(text=one)) for one in lines]


def table(columns: Sequence[Column], rows: Iterable[Sequence[Span | str]]) -> list[Line]:
    """Aligned, with its titles first. Cells hold no more than a terminal may show."""
    cells = [[Span(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widths = [
        max(column.least, len(column.title), *(len(row[place].text) for row in cells), 0)
        for place, column in enumerate(columns)
    ]
    titles = [Span(column.title, "head") for column in columns]
    return [_aligned(columns, widths, row) for row in (titles, *cells)]


def _aligned(columns: Sequence[Column], widths: Sequence[int], row: Sequence[Span]) -> Line:
    spans: list[Span] = []
    for place, (column, width, cell) in enumerate(zip(columns, widths, row, strict=True)):
        pad = Span(" " * (width - len(cell.text)))
        spans += [Span("  " if place else ""), *((pad, cell) if column.right else (cell, pad))]
    return tuple(spans)


def sparkline(values: Sequence[float | None], width: int, *, most: float = 0.0) -> str:
    """The latest values as blocks, the newest at the right; from 0 to the largest, or to `most`. None: a gap."""
    latest = list(values)[-width:] if width > 0 else []
    top = most or max((value for value in latest if value is not None), default=0.0)
    return "".join(_bar(value, top) for value in latest).rjust(width)


def _bar(value: float | None, top: float) -> str:
    if value is None:
        return " "
    share = value / top if top > 0 else 0.0
    return _BARS[min(max(round(share * (len(_BARS) - 1)), 0), len(_BARS) - 1)]


def number(value: float) -> str:
    """Such as 0, 0.3, 12.5, 1,203: as exact as anyone needs."""
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"


def took(seconds: float) -> str:
    """A duration that was measured: 85 µs, 1.3 ms, 250 ms, 2.50 s."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s"


def since(now: datetime | None, then: datetime | None) -> str:
    """How long ago, in whole seconds; empty if that is not known."""
    return "" if now is None or then is None else lasted((now - then).total_seconds())


def lasted(seconds: float) -> str:
    """Such as 0s, 45s, 1h30m."""
    return "0s" if seconds < 0.5 else output.duration(max(seconds, 1.0))


def signed(amount: str, value: float) -> str:
    """Growth, with what it is of."""
    return f"{'-' if value < 0 else '+' if value else ''}{amount}"


def foreign(words: str) -> str:
    """A backend's words, in one line, without what would control a terminal."""
    return output.printable(" ".join(words.split()))
