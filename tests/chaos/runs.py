"""One run: a deployment under load, faults by a plan, everything healed, and the verdict on all that was recorded."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import grpc

from tests.chaos import schedule, validity, verdicts
from tests.chaos.audit import Evidence
from tests.chaos.clients import GENERATION_S, GROUPS, Task, keys, read_file
from tests.chaos.deployment import NAMESPACES, Deployment, python
from tests.chaos.faults import KINDS, Scene
from tests.chaos.history import Operation
from tests.chaos.inspection import CONVERGED_S, HEALED_S, At, Inspection, Stale
from tests.chaos.planted import NONE
from tests.chaos.validity import Injected

PROCESSES, CLIENTS_EACH = 4, 4
WARM_UP_S = 5.0
CALM_S = 10.0
STOP_S = 30.0
IDS_EACH = 100_000
"""Process ids that a process of clients may use."""

Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run has to say."""

    seed: int
    seconds: float
    history: list[Operation] = field(default_factory=list)
    injected: list[Injected] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """The exit code: 0 fine, 1 a violation, 2 the run is invalid."""
        return 1 if self.violations else 2 if self.invalid else 0


class ClientProcesses:
    """The processes with the clients."""

    def __init__(self, deployment: Deployment, directory: Path, *, seed: int, begin: float) -> None:
        self._deployment = deployment
        self._directory = directory
        self._seed = seed
        self._begin = begin
        self._spawned = 0
        self._running: list[subprocess.Popen[bytes]] = []
        self._numbers: list[int] = []
        for number in range(PROCESSES):
            self._running.append(self._spawn(number))
            self._numbers.append(number)

    def _spawn(self, number: int) -> subprocess.Popen[bytes]:
        self._spawned += 1
        task = Task(
            targets=self._deployment.targets(),
            file=str(self._directory / f"history-{self._spawned}"),
            first=self._spawned * IDS_EACH,
            clients=list(range(number * CLIENTS_EACH, (number + 1) * CLIENTS_EACH)),
            seed=self._seed,
            begin=self._begin,
            namespaces=list(NAMESPACES),
        )
        return subprocess.Popen(python("tests.chaos.clients", json.dumps(asdict(task))), stdin=subprocess.DEVNULL)

    def wait_begun(self, stop: threading.Event) -> None:
        """Until every process has made its first call."""
        end = time.monotonic() + STOP_S
        files = [self._directory / f"history-{number + 1}" for number in range(self._spawned)]
        while not all(file.exists() and file.stat().st_size for file in files):
            assert time.monotonic() < end, "clients did not begin"
            stop.wait(0.1)

    def kill_one(self, random: Random) -> str:
        """As kill -9 does; another with other process ids takes its place."""
        at = random.randrange(len(self._running))
        killed = self._running[at]
        killed.kill()
        code = killed.wait(STOP_S)
        self._running[at] = self._spawn(self._numbers[at])
        return f"process {killed.pid} of clients ended with {code}"

    def end(self) -> None:
        """After the calls that they are at."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(STOP_S)

    def kill(self) -> None:
        """At once. Idempotent."""
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait(STOP_S)

    def history(self) -> list[Operation]:
        """What all of them have recorded."""
        files = sorted(self._directory.glob("history-*"))
        return [operation for file in files for operation in read_file(file)]


class Run:
    """A run of `seconds` from a seed. `say` hears what happens."""

    def __init__(
        self,
        directory: Path,
        *,
        seconds: float,
        seed: int,
        kinds: Sequence[str] = schedule.ALL,
        planted: str = NONE,
        say: Say = print,
        rate_min: float = validity.RATE_MIN,
    ) -> None:
        self._directory = directory
        self._kinds = kinds
        self._planted = planted
        self._say = say
        self._rate_min = rate_min
        self._begin = 0.0
        self._loaded = 0.0
        self._first_fault = 0.0
        self._stale: list[Stale] = []
        self._stop = threading.Event()
        self.report = Report(seed=seed, seconds=seconds)

    def run(self) -> Report:
        """Do it."""
        report = self.report
        with Deployment(self._directory, seed=report.seed, planted=self._planted) as deployment:
            self._inspection = Inspection(deployment.targets(), seed=report.seed)
            self._begin = time.monotonic()
            clients = ClientProcesses(deployment, self._directory, seed=report.seed, begin=self._begin)
            try:
                clients.wait_begun(self._stop)
                self._loaded = time.monotonic()
                self._stop.wait(WARM_UP_S)
                files_open = [daemon.files_open() for daemon in deployment.daemons]
                self._first_fault = time.monotonic()
                self._faults(Scene(deployment=deployment, clients=clients, random=Random(0), stop=self._stop))
                clients.end()
                self._finish(deployment, clients, files_open)
            finally:
                clients.kill()
        return report

    def _faults(self, scene: Scene) -> None:
        end = self._loaded + self.report.seconds
        for planned in schedule.plan(self.report.seed, self._kinds):
            if time.monotonic() >= end:
                break
            if not planned.kind:
                self._calm(end)
                continue
            self._stop.wait(planned.gap_s)
            own = Scene(
                deployment=scene.deployment, clients=scene.clients, random=Random(planned.seed), stop=self._stop
            )
            injected = _inject(planned.kind, own)
            scene.deployment.heal()
            self.report.injected.append(injected)
            self._say(
                f"{injected.begin - self._begin:6.1f} s  {injected.kind}: "
                f"{injected.error or injected.effect or 'no effect'}"
            )

    def _calm(self, end: float) -> None:
        """No fault for as long as a copy may be older; then those of keys that nobody writes any more are compared."""
        self._stop.wait(min(CALM_S, max(0.0, end - time.monotonic())))
        now = int((time.monotonic() - self._begin) / GENERATION_S)
        settled = int(CALM_S / GENERATION_S) + 1
        recent = range(max(0, now - 60), now - settled)
        spaces = list(NAMESPACES)
        written = {at for number in recent for group in range(GROUPS) for at in keys(group, number, spaces)}
        try:
            stale, _ = self._inspection.stale(written, patience_s=2.0)
        except grpc.RpcError as exc:
            self.report.violations.append(f"daemons fail in a calm: {exc}")
            return
        self._stale += stale
        self._say(f"{time.monotonic() - self._begin:6.1f} s  calm: {len(written)} keys compared, {len(stale)} stale")

    def _finish(self, deployment: Deployment, clients: ClientProcesses, files_open: list[int]) -> None:
        report = self.report
        deployment.heal()
        healed_s = _healed(deployment, self._stop)
        history = clients.history()
        written = {(operation.namespace, operation.key) for operation in history}
        self._say(f"{len(history)} operations on {len(written)} keys; healed after {healed_s:.1f} s")
        report.figures = {"healed_s": healed_s, "rate": len(history) / report.seconds}
        report.history = history
        report.invalid += validity.reasons(
            history, report.injected, begin=self._loaded, first_fault=self._first_fault, rate_min=self._rate_min
        )
        if healed_s > HEALED_S:
            report.violations.append(f"daemons are {deployment.modes()} {HEALED_S:g} s after the last fault was undone")
        try:
            self._judge(deployment, written)
        except grpc.RpcError as exc:
            report.violations.append(f"daemons fail though everything is healed: {exc}")
        report.violations += verdicts.of_leaks(deployment, files_open)

    def _judge(self, deployment: Deployment, written: set[At]) -> None:
        """Compare, write every key once more, compare again; then hold all that was heard against what is there."""
        report, begin = self.report, time.monotonic()
        stale, _ = self._inspection.stale(written)
        closing = self._inspection.close(written)
        later, committed = self._inspection.stale(written, patience_s=CONVERGED_S)
        self._say(f"compared, written and compared again in {time.monotonic() - begin:.1f} s")
        report.history = sorted([*report.history, *closing], key=lambda operation: operation.invoke)
        report.violations += verdicts.of_copies([*self._stale, *stale, *later])
        report.violations += verdicts.of_closing(closing)
        evidence = Evidence(
            final=committed, dead=deployment.dead_writes(), recorded=deployment.requests(), merging=verdicts.merging()
        )
        report.violations += verdicts.of_history(report.history, evidence)


def _inject(kind: str, scene: Scene) -> Injected:
    begin = time.monotonic()
    effect, error = "", ""
    try:
        effect = KINDS[kind](scene)
    except Exception as exc:  # noqa: BLE001  # whatever it is makes the run invalid, and is said
        error = f"{type(exc).__name__}: {exc}"
    return Injected(kind=kind, begin=begin, end=time.monotonic(), effect=effect, error=error)


def _healed(deployment: Deployment, stop: threading.Event) -> float:
    """Seconds until all daemons are well, at most a little more than they may take."""
    begin = time.monotonic()
    while (took := time.monotonic() - begin) <= HEALED_S:
        if all(daemon.well() for daemon in deployment.daemons):
            return took
        stop.wait(0.2)
    return took
