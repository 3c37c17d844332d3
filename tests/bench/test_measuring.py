"""The benchmarks' own instruments: what they tell is what was there."""

import asyncio
import random
from pathlib import Path

import pytest

from bench import arrivals, plots
from bench.histogram import EXACT_US, Histogram
from bench.racing import Call, Outcome, Race, Side, Size, Target, race, rate_to

SIZE = Size(rounds=3, block_s=0.01)


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_quantiles_are_within_a_microsecond_or_a_part_of_five_hundred(fraction: float) -> None:
    chance = random.Random(7)
    seconds = sorted(10 ** chance.uniform(-6, 0) for _ in range(20_000))
    exact_us = seconds[min(int(len(seconds) * fraction), len(seconds) - 1)] * 1e6
    assert Histogram.of(seconds).quantile(fraction) == pytest.approx(exact_us, abs=1.0, rel=1 / 500)


def test_histograms_add_up_and_are_written_without_loss() -> None:
    one, other = Histogram.of([0.000_003, 0.000_003, 0.5]), Histogram.of([0.000_003, 0.002_001])
    one.add(other)
    assert one.count == 5
    assert one.text() == "3:3 2000:1 499712:1"
    assert list(Histogram.of([(EXACT_US - 1) / 1e6 + 1e-7]).buckets()) == [(EXACT_US - 1, 1)]
    assert Histogram().quantile(0.5) == 0.0
    # Of two, the median is the second, as everywhere in these benchmarks.
    assert Histogram.of([0.000_001_5, 0.000_005_5]).quantile(0.5) == 5.5


def test_a_call_is_as_late_as_it_was_due_not_as_it_was_made() -> None:
    """Every call waits until the fiftieth is there: the first has waited for 49 milliseconds, whoever counts from its start."""
    waiting_max = 50

    async def measured() -> list[float]:
        all_there, there = asyncio.Event(), 0

        async def call() -> None:
            nonlocal there
            there += 1
            if there == waiting_max:
                all_there.set()
            await all_there.wait()

        return await arrivals.arrive(lambda _: call, seconds=0.1)

    durations = asyncio.run(measured())
    assert len(durations) == 0.1 * arrivals.PER_S
    late = sorted(durations, reverse=True)[:waiting_max]
    due_before_the_last = [(waiting_max - 1 - number) / arrivals.PER_S for number in range(waiting_max)]
    assert all(took >= due for took, due in zip(late, due_before_the_last, strict=True))


def test_calls_that_a_busy_process_was_late_for_are_told_late() -> None:
    """The loop does nothing but the first call until twenty more are due; then those are made, and all were late."""

    async def measured() -> list[float]:
        first = True

        async def call() -> None:
            nonlocal first
            if first:
                first = False
                end = asyncio.get_running_loop().time() + 20 / arrivals.PER_S
                while asyncio.get_running_loop().time() < end:
                    pass

        return await arrivals.arrive(lambda _: call, seconds=0.05)

    durations = asyncio.run(measured())
    assert len(durations) == 50
    # Of those that were due meanwhile, the n-th before the end is late by n milliseconds at least.
    late = sorted(durations, reverse=True)[:20]
    assert all(took >= (19 - number) / arrivals.PER_S for number, took in enumerate(late))


async def test_sides_take_turns_and_ratios_are_of_neighbours() -> None:
    turns: list[str] = []

    def side(name: str) -> Side:
        def call_of(number: int) -> Call:
            if number == 0:
                turns.append(name)

            async def call() -> None:
                await asyncio.sleep(0)

            return call

        return Side(name=name, call_of=call_of)

    run = await race("turns", [side("a"), side("b")], [rate_to("a", "b")], callers=2, size=SIZE)
    # One each that is not counted; then who begins changes.
    assert turns == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [outcome.value for outcome in run.outcomes] == [sorted(run.outcomes[0].rounds)[1]]
    assert all(told.calls > 0 and told.per_s > 0 for told in run.sides)
    assert run.met


async def test_a_target_is_missed_on_either_side_of_its_bounds() -> None:
    async def call() -> None:
        await asyncio.sleep(0)

    only = [Side(name="a", call_of=lambda _: call)]
    targets = [
        Target(title="in", value=lambda _: 1.0, at_least=0.8, at_most=1.2),
        Target(title="below", value=lambda _: 0.79, at_least=0.8),
        Target(title="above", value=lambda _: 1.21, at_most=1.2),
        Target(title="told", value=lambda _: 9.0),
    ]
    run = await race("bounds", only, targets, callers=1, size=SIZE)
    assert [outcome.met for outcome in run.outcomes] == [True, False, False, None]
    assert not run.met


def test_plots_are_made_of_what_was_measured(tmp_path: Path) -> None:
    async def measured(title: str, *names: str) -> Race:
        async def call() -> None:
            await asyncio.sleep(0)

        return await race(title, [Side(name=name, call_of=lambda _: call) for name in names], callers=1, size=SIZE)

    titles = {plots.HITS: ["memory"], "Get by size, 1 KB": ["by size"], "Set, memory": ["1,000 keys", "10,000 keys"]}
    races = [asyncio.run(measured(title, *names)) for title, names in titles.items()]
    saved = {path.name: path.read_text() for path in plots.save(races, tmp_path)}
    assert set(saved) == {f"speed_{name}.svg" for name in ("callers", "latency", "sizes", "keys")}
    assert "memory" in saved["speed_callers.svg"]
    assert "memory" in saved["speed_latency.svg"]
    assert "by size" in saved["speed_sizes.svg"]
    assert "Set, memory" in saved["speed_keys.svg"]
    assert plots.save([], tmp_path) == []


def test_a_target_is_told_with_its_bounds() -> None:
    both = Outcome(title="", value=1.0, at_least=0.8, at_most=1.2, rounds=[1.0])
    assert both.wanted == "≥ 0.8, ≤ 1.2"
