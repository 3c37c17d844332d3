"""The comparisons as plots: calls a second by callers, what takes how long, and costs by size and by number of keys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.racing import Measured, Race

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = Path(__file__).parent / "results"
HITS = "Get, 1 KB, a hit"
TAIL_MAX = 1e-4
"""Of all calls: further out, a single run says nothing."""


def save(races: Sequence[Race], folder: Path = RESULTS) -> list[Path]:
    """SVG files, those of the last run replaced; of what was not measured there is none."""
    from matplotlib import rcParams  # noqa: PLC0415  # half a second, which only who saves has to wait

    rcParams["svg.fonttype"], rcParams["svg.hashsalt"] = "none", "speed"
    folder.mkdir(parents=True, exist_ok=True)
    hits = [race for race in races if race.title == HITS]
    sizes = [race for race in races if " by size, " in race.title]
    grown = [race for race in races if all(side.name.endswith(" keys") for side in race.sides)]
    saved = []
    for name, drawn, draw in (
        ("callers", hits, _callers),
        ("latency", hits, _latency),
        ("sizes", sizes, _sizes),
        ("keys", grown, _keys),
    ):
        if drawn:
            saved.append(folder / f"speed_{name}.svg")
            draw(drawn).savefig(saved[-1], metadata={"Date": None})
    return saved


def _figure(width: float = 8) -> Any:
    from matplotlib.figure import Figure  # noqa: PLC0415

    return Figure(figsize=(width, 5), layout="constrained")


def _by_side(races: Sequence[Race]) -> dict[str, list[tuple[Race, Measured]]]:
    """Each side's figures, in the order of the races."""
    found: dict[str, list[tuple[Race, Measured]]] = {}
    for race in races:
        for side in race.sides:
            found.setdefault(side.name, []).append((race, side))
    return found


def _callers(races: Sequence[Race]) -> Any:
    figure = _figure()
    axes: Axes = figure.subplots()
    for name, points in _by_side(races).items():
        axes.plot([race.callers for race, _ in points], [side.per_s for _, side in points], marker="o", label=name)
    callers = [race.callers for race in races]
    axes.set(xscale="log", title="Get of 1 KB, a hit", xlabel="callers", ylabel="a second", ylim=(0, None))
    axes.set_xticks(callers, [str(number) for number in callers])
    axes.minorticks_off()
    axes.legend()
    return figure


def _latency(races: Sequence[Race]) -> Any:
    """The part of all calls that took longer, by time: the tails, which a median hides."""
    figure = _figure(width=5 * len(races))
    panels = figure.subplots(1, len(races), sharey=True, squeeze=False)[0]
    for axes, race in zip(panels, races, strict=True):
        for side in race.sides:
            buckets = [tuple(map(int, pair.split(":"))) for pair in side.histogram.split()]
            longer = [1 - seen / side.calls for seen in accumulate(count for _, count in buckets)]
            axes.step([low + 1 for low, _ in buckets], longer, where="post", label=side.name)
        axes.set(xscale="log", yscale="log", title=f"{race.callers} callers", xlabel="µs", ylim=(TAIL_MAX, 1))
    panels[0].set_ylabel("part of the calls that took longer")
    panels[-1].legend()
    return figure


def _sizes(races: Sequence[Race]) -> Any:
    figure = _figure(width=10)
    kinds = sorted({race.title.partition(" by size, ")[0] for race in races})
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        drawn = [race for race in races if race.title.startswith(f"{kind} by size, ")]
        told = [race.title.partition(" by size, ")[2] for race in drawn]
        for name, points in _by_side(drawn).items():
            cpu = [side.client_cpu_us + side.server_cpu_us for _, side in points]
            axes.plot(told, cpu, marker="o", label=name)
        axes.set(yscale="log", title=kind, xlabel="value", ylabel="CPU µs of a call, client and server")
        axes.legend()
    return figure


def _keys(races: Sequence[Race]) -> Any:
    figure = _figure()
    axes: Axes = figure.subplots()
    for race in races:
        counts = [int(side.name.partition(" ")[0].replace(",", "")) for side in race.sides]
        axes.plot(counts, [side.server_cpu_us for side in race.sides], marker="o", label=race.title)
    axes.set(xscale="log", xlabel="keys", ylabel="CPU µs of a call, server", ylim=(0, None))
    axes.legend()
    return figure
