"""Tasks stepped one at a time in an order drawn from the seed, processes that crash and pause, and virtual time.

A task runs until it awaits one of the awaitables below; the scheduler then draws another ready task. When none is
ready, the clock jumps to the next timer. There is no other source of order.
"""

from __future__ import annotations

import heapq
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from random import Random
from typing import Any
from zlib import crc32

from tests.support.clock import START_MS, ManualClock


class Cancelled(BaseException):
    """Thrown into a task that is cancelled, as an event loop does."""


class Stuck(Exception):
    """Somebody waits for what can never happen."""


@dataclass(slots=True, eq=False)
class Wait:
    """What a task yields to the scheduler: until `event`, or for `timeout_ms`, whichever comes first; neither: a turn."""

    event: Event | None = None
    timeout_ms: int | None = None

    def __await__(self) -> Generator[Wait, None, None]:
        yield self


TURN = Wait()
"""Await it to let any other ready task go first."""


class Event:
    """Something that happens once: `core.ports.Signal`."""

    __slots__ = ("_scheduler", "happened", "waiters")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.happened = False
        self.waiters: list[tuple[Task, int]] = []

    def set(self) -> None:
        """It happened."""
        self.happened = True
        for task, turn in self.waiters:
            self._scheduler.wake(task, turn)
        self.waiters.clear()

    async def wait(self, timeout_ms: int | None = None) -> None:
        """Until it happened, or the time is over."""
        if not self.happened:
            await Wait(self, timeout_ms)


class Process:
    """What tasks belong to: they stop while it is paused, and are gone when it is killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.parked: list[Task] = []
        self.tasks: dict[int, Task] = {}


class Task:
    """A coroutine on its way. `turn` counts its wake-ups, so that a late timer or signal can't wake it twice."""

    __slots__ = ("cancelling", "coroutine", "done", "number", "process", "turn", "waiting")

    def __init__(self, number: int, process: Process, coroutine: Coroutine[Any, Any, None], done: Event) -> None:
        self.number = number
        self.process = process
        self.coroutine = coroutine
        self.turn = 0
        self.waiting = False
        self.cancelling = False
        self.done = done


class Scheduler:
    """Runs tasks. `tick` counts steps: the only order of events that there is. `digest` hashes all that happened."""

    def __init__(self, random: Random) -> None:
        self.clock = ManualClock()
        self.tick = 0
        self.digest = 0
        self.processes: dict[Process, None] = {}
        """All that ever had a task, in order."""
        self.trace: list[str] | None = None
        self._running = ""
        self._random = random.random
        self._ready: list[Task] = []
        self._timers: list[tuple[int, int, Task, int]] = []
        self._now = START_MS
        self._count = 0

    def note(self, *what: object) -> None:
        """A line of the trace, if there is one."""
        if self.trace is not None:
            told = " ".join(map(str, what))
            self.trace.append(f"{self.tick:6} {self._now - START_MS:7} ms  {self._running:16} {told}")

    def event(self) -> Event:
        """A new event."""
        return Event(self)

    def spawn(self, process: Process, coroutine: Coroutine[Any, Any, None]) -> Task:
        """Begin a task. What it raises, other than Cancelled, ends the run."""
        self._count += 1
        self.processes[process] = None
        task = Task(self._count, process, coroutine, self.event())
        process.tasks[task.number] = task
        self._ready.append(task)
        return task

    def wake(self, task: Task, turn: int) -> None:
        """Make a waiting task ready, if it is still in that wait."""
        if task.waiting and task.turn == turn and task.process.alive:
            task.turn += 1
            task.waiting = False
            self._ready.append(task)

    def cancel(self, task: Task) -> None:
        """Throw Cancelled into a task where it waits."""
        if not task.done.happened:
            task.cancelling = True
            self.wake(task, task.turn)

    def kill(self, process: Process) -> None:
        """A crash: none of its tasks takes another step."""
        process.alive = False
        self._ready = [task for task in self._ready if task.process is not process]
        for task in list(process.tasks.values()):
            task.coroutine.close()
        process.tasks.clear()
        process.parked.clear()

    def pause(self, process: Process) -> None:
        """Its tasks take no step until `resume`."""
        process.paused = True

    def resume(self, process: Process) -> None:
        """Its tasks go on."""
        process.paused = False
        if process.alive:
            self._ready.extend(process.parked)
        process.parked.clear()

    def run(self, until: Task) -> None:
        """Step tasks until one has ended."""
        while not until.done.happened:
            ready = self._ready
            if ready:
                index = int(self._random() * len(ready))
                task = ready[index]
                ready[index] = ready[-1]
                ready.pop()
                if task.process.paused:
                    task.process.parked.append(task)
                else:
                    self._step(task)
            elif self._timers:
                self._jump()
            else:
                raise Stuck("every task waits, and no timer is set")

    def _jump(self) -> None:
        due, _, task, turn = heapq.heappop(self._timers)
        if due > self._now:
            self.clock.advance(due - self._now)
            self._now = due
        self.wake(task, turn)

    def _step(self, task: Task) -> None:
        self.tick += 1
        self._running = f"{task.process.name} #{task.number}" if self.trace is not None else ""
        self.digest = crc32(b"%d@%d" % (task.number, self._now), self.digest)
        try:
            if task.cancelling:
                task.cancelling = False
                wait: Wait = task.coroutine.throw(Cancelled())
            else:
                wait = task.coroutine.send(None)
        except (StopIteration, Cancelled):
            task.process.tasks.pop(task.number, None)
            task.done.set()
            return
        if wait is TURN:
            self._ready.append(task)
            return
        if wait.event is not None:
            if wait.event.happened:
                self._ready.append(task)
                return
            wait.event.waiters.append((task, task.turn))
        task.waiting = True
        if wait.timeout_ms is not None:
            self._count += 1
            heapq.heappush(self._timers, (self._now + wait.timeout_ms, self._count, task, task.turn))


def sleep(milliseconds: int) -> Wait:
    """Await it to let virtual time pass."""
    return Wait(None, milliseconds)
