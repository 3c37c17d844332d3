"""The run: several dialogues at once through the workers, and daemons and servers that are killed on the way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.dialogues.balancer import Balancer
from examples.dialogues.deployment import Deployment

DIALOGUES_AT_ONCE = 12
TURN_S = 0.02
"""About the time that a turn takes: a kill comes anywhere within."""


@dataclass(slots=True)
class Figures:
    """What happened on the way."""

    kills: Counter[str] = field(default_factory=Counter)
    """By what was killed."""
    turns_hit: int = 0
    """Turns that were under way when something was killed."""
    gave_up: Counter[str] = field(default_factory=Counter)
    """Turns whose client had given up, so that a worker began again; by the client's error."""


class Replay:
    """One replay of all dialogues, with kills at random points of it."""

    def __init__(self, deployment: Deployment, *, kills: int, seed: int, on_turn: Callable[[int], None]) -> None:
        self.figures = Figures()
        self._deployment = deployment
        self._kills = kills
        self._random = random.Random(seed)
        self._on_turn = on_turn
        self._done = 0
        self._progress = asyncio.Event()

    async def run(self, dialogues: Sequence[dict[str, Any]]) -> None:
        """Until every turn is in. Raises an ExceptionGroup when a turn could not be handled."""
        waiting = iter(dialogues)
        turns = sum(len(dialogue["turns"]) for dialogue in dialogues)
        with Balancer(self._deployment.targets, self._turn_done) as balancer:

            async def replay_next() -> None:
                for dialogue in waiting:
                    await balancer.replay(dialogue)

            # A killer that fails ends the run; one that has kills left when all turns are in has nothing to hit.
            async with asyncio.TaskGroup() as outer:
                killer = outer.create_task(self._kill_again_and_again(balancer, turns, outer))
                async with asyncio.TaskGroup() as inner:
                    for _ in range(DIALOGUES_AT_ONCE):
                        inner.create_task(replay_next())
                killer.cancel()
            self.figures.gave_up = balancer.gave_up

    async def _kill_again_and_again(self, balancer: Balancer, turns: int, group: asyncio.TaskGroup) -> None:
        """Spread over the turns, one kill in each equal part of them, at a moment that nobody chose."""
        part = turns / (self._kills + 1)
        victims = [(*victim, asyncio.Lock()) for victim in self._deployment.victims]
        for number in range(self._kills):
            point = int(part * (number + self._random.random()))
            # At least one turn since the last kill: the daemon is back and writes again.
            await self._reached(max(point, self._done + 1))
            await asyncio.sleep(self._random.uniform(0, TURN_S))
            self.figures.turns_hit += balancer.under_way
            # Others go on, and may be killed, too, while it starts again.
            group.create_task(self._kill(victims[number % len(victims)]))

    async def _kill(self, victim: tuple[str, Callable[[], None], asyncio.Lock]) -> None:
        name, kill_and_restart, lock = victim
        async with lock:
            self.figures.kills[name] += 1
            await asyncio.to_thread(kill_and_restart)

    async def _reached(self, turns: int) -> None:
        while self._done < turns:
            self._progress.clear()
            await self._progress.wait()

    def _turn_done(self) -> None:
        self._done += 1
        self._progress.set()
        self._on_turn(self.figures.kills.total())
