"""The plan agent and its daemon, both killed with SIGKILL at each of the 20 steps: it goes on where it was."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from examples.plan_agent.agent import NAMESPACE, State, advanced, done, new_state, run, take_over
from examples.plan_agent.calls import SAMPLE, Call, read_calls
from examples.plan_agent.steps import STEPS
from statesidecar import Consistency, GetResult, StateClient, VersionConflict
from statesidecar.testing import RunningSidecar, sidecar
from tests.e2e.crashing_agent import AMID, PLAN
from tests.support.process import DaemonProcess, unstarted_process

ROOT = Path(__file__).parents[2]
AGENT_S = 60.0
POINTS = ("before the work", "after the work", "after the write", "after the checkpoint")
NUMBERS = range(1, len(STEPS) + 1)


@dataclass
class Life:
    """What one agent did."""

    over: int
    """Steps that were done when it took over."""
    worked: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    return read_calls(SAMPLE)


@pytest.fixture(scope="module")
def undisturbed(calls: list[Call]) -> State:
    """What the plan comes to without any daemon."""
    state = new_state()
    for _ in NUMBERS:
        state = advanced(state, calls)
    return state


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSidecar]:
    with sidecar() as started:
        yield started


def silent(_point: str, _number: int, _state: State) -> None:
    """An agent that nobody listens to."""


def lived(daemon: DaemonProcess, listen: str, log: Path, *arguments: str) -> int:
    """How an agent ended; it starts together with a daemon, which is half of the time."""
    command = [sys.executable, "-m", "tests.e2e.crashing_agent", listen, str(log), *arguments]
    daemon.launch()
    with subprocess.Popen([*command, "--daemon", str(daemon.pid)], cwd=ROOT, stdin=subprocess.PIPE) as agent:
        daemon.wait_serving()
        agent.communicate(b"it serves\n", timeout=AGENT_S)
    return agent.returncode


def lives(log: Path) -> list[Life]:
    told: list[Life] = []
    for line in log.read_text().splitlines():
        what, number = line.split()
        match what:
            case "over":
                told.append(Life(int(number)))
            case "work":
                told[-1].worked.append(int(number))
            case _:
                told[-1].kept.append(int(number))
    return told


def killed_at_every_step(
    directory: Path, points: Sequence[str], *arguments: str, **settings: str
) -> tuple[list[Life], State]:
    """20 agents that die at a step each, at the points given in turn, and the one that finishes."""
    log, cold = directory / "log", f"file://{directory}/cold"
    listen = f"unix://{directory}/socket"
    with unstarted_process(directory / "data", listen=listen, tiers__cold=cold, **settings) as daemon:
        for step, point in zip(NUMBERS, cycle(points)):
            assert lived(daemon, listen, log, "--step", str(step), "--point", point, *arguments) == -9
            assert daemon.ended() == -9
        assert lived(daemon, listen, log, *arguments) == 0
        with StateClient(listen) as client:
            final = client.get(NAMESPACE, PLAN, consistency=Consistency.STRONG)
            assert final.entry is not None
            checkpoints_hold_what_they_say(client)
    return lives(log), final.entry.json()


def checkpoints_hold_what_they_say(client: StateClient) -> None:
    for checkpoint in client.list_checkpoints(NAMESPACE, key=PLAN):
        entry = client.get_checkpoint(NAMESPACE, checkpoint.checkpoint_id).entry
        assert entry is not None
        assert checkpoint.automatic or checkpoint.label == f"step-{done(entry.json())}"


def expected(points: Sequence[str]) -> list[Life]:
    """What the agents do if each goes on after the last checkpoint: nothing but the step of the crash is repeated."""
    told, over = [], 0
    for step, point in zip(NUMBERS, cycle(points)):
        before = list(range(over + 1, step))
        worked = [] if point == "before the work" else [step]
        kept = [step] if point == "after the checkpoint" else []
        told.append(Life(over, before + worked, before + kept))
        over = step if kept else step - 1
    rest = list(range(over + 1, len(STEPS) + 1))
    return [*told, Life(over, rest, rest)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rotation", [0, 2])
def test_it_goes_on_after_the_last_checkpoint_and_repeats_at_most_the_step_of_the_crash(
    tmp_path: Path, undisturbed: State, rotation: int
) -> None:
    points = [*POINTS[rotation:], *POINTS[:rotation]]
    only_those_asked_for = {"namespaces__process__checkpoint__every": "0"}

    told, final = killed_at_every_step(tmp_path, points, **only_those_asked_for)

    assert told == expected(points)
    assert final == undisturbed


@pytest.mark.timeout(300)
def test_killed_while_the_daemon_writes_it_is_before_the_step_or_after_it(tmp_path: Path, undisturbed: State) -> None:
    """On embedded defaults: the policy's own checkpoints come in between."""
    told, final = killed_at_every_step(tmp_path, [AMID])

    kept = worked = 0
    for life in told:
        assert kept <= life.over <= kept + 1
        assert worked - life.over <= 1, "more than the step of the crash is repeated"
        assert life.worked == list(range(life.over + 1, life.over + 1 + len(life.worked)))
        kept, worked = max([life.over, *life.kept]), max([worked, *life.worked])
    assert (kept, worked) == (len(STEPS), len(STEPS))
    assert final == undisturbed


@pytest.mark.timeout(300)
def test_a_checkpoint_that_is_made_with_the_write_leaves_nothing_to_repeat(tmp_path: Path, undisturbed: State) -> None:
    every_change = {"namespaces__process__checkpoint__every": "1"}

    told, final = killed_at_every_step(tmp_path, ["after the write"], "--automatic", **every_change)

    assert [life.over for life in told] == [0, *NUMBERS]
    assert [life.worked for life in told] == [[number] for number in NUMBERS] + [[]]
    assert final == undisturbed


def test_of_two_agents_only_the_one_that_took_over_last_goes_on(
    running: RunningSidecar, calls: list[Call], undisturbed: State
) -> None:
    plan = "two agents"
    worked: list[tuple[str, int]] = []

    def second(point: str, number: int, _state: State) -> None:
        if point == "after the work":
            worked.append(("second", number))

    def first(point: str, number: int, _state: State) -> None:
        if point == "after the work":
            worked.append(("first", number))
            if number == 5:
                finished.append(run(running.client(), plan, calls, reached=second))

    finished: list[State] = []
    with pytest.raises(VersionConflict):
        run(running.client(), plan, calls, reached=first)

    assert worked == [*(("first", n) for n in range(1, 6)), *(("second", n) for n in range(5, 21))]
    assert finished == [undisturbed]
    entry = running.client().get(NAMESPACE, plan).entry
    assert entry is not None
    assert entry.json() == undisturbed


class Overtaken(StateClient):
    """A client whose user is slow: another agent takes the plan over after it has looked."""

    other: StateClient

    def get(self, *arguments: Any, **options: Any) -> GetResult:
        found = super().get(*arguments, **options)
        take_over(self.other, arguments[1])
        return found


@pytest.mark.parametrize("steps", [0, 3], ids=["from the beginning", "after 3 steps"])
def test_of_two_that_take_over_at_once_one_is_refused(running: RunningSidecar, calls: list[Call], steps: int) -> None:
    plan = f"taken over at once after {steps}"

    class EnoughError(Exception):
        pass

    def until(point: str, number: int, _state: State) -> None:
        if point == "after the checkpoint" and number == steps:
            raise EnoughError

    if steps:
        with pytest.raises(EnoughError):
            run(running.client(), plan, calls, reached=until)
    with Overtaken(running.target) as client:
        client.other = running.client()
        with pytest.raises(VersionConflict):
            take_over(client, plan)

    state, _ = take_over(running.client(), plan)
    assert done(state) == steps


def test_a_finished_plan_stays_finished(running: RunningSidecar, calls: list[Call], undisturbed: State) -> None:
    def never(point: str, _number: int, _state: State) -> None:
        assert point == "taken over"

    first = run(running.client(), "finished", calls, reached=silent)

    assert first == undisturbed
    assert run(running.client(), "finished", calls, reached=never) == undisturbed


def test_steps_are_made_of_what_those_before_found(calls: list[Call], undisturbed: State) -> None:
    """Another input, or another result on the way, is another result in the end."""
    state = new_state()
    for number in NUMBERS:
        state = advanced(state, calls)
        if number == 9:
            state["results"]["scores"] = dict.fromkeys(state["results"]["scores"], 0.5)

    assert state["results"]["ranking"] != undisturbed["results"]["ranking"]
    assert state["results"]["schedule"] != undisturbed["results"]["schedule"]
    assert state["results"]["report"]["digest"] != undisturbed["results"]["report"]["digest"]
    report = undisturbed["results"]["report"]
    assert (report["calls"], report["customers"]) == (102, 32)
    assert min(report[name] for name in ("offers", "bookings", "groups", "dollars")) > 20


def test_the_programme_as_a_reader_runs_it(running: RunningSidecar, undisturbed: State) -> None:
    def programme(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "examples.plan_agent", "--target", running.target, "--plan", "shown"]
        return subprocess.run(
            [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=AGENT_S, check=False
        )

    killed = programme("--crash-at", "15")
    resumed = programme()
    again = programme()

    assert killed.returncode == -9, killed.stderr
    assert killed.stdout.startswith("from the beginning\n 1 of 20  requests")
    assert (resumed.returncode, again.returncode) == (0, 0), resumed.stderr + again.stderr
    first, *steps, report, checkpoints = resumed.stdout.splitlines()
    assert first == "going on after step 14"
    assert [int(line.split()[0]) for line in steps] == list(range(15, 21))
    assert json.loads(report) == undisturbed["results"]["report"]
    counts = re.findall(r"\d+", checkpoints)
    assert int(counts[0]) - int(counts[1]) == 20
    assert int(counts[3]) < int(counts[2]) / 5
    assert again.stdout.startswith("going on after step 20\n{")
