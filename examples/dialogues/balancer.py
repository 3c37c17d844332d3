"""Spreads turns over three worker processes, as a load balancer before three replicas would."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Any, Self

from examples.dialogues.worker import connect, handle_turn
from statesidecar import DeadlineExceeded, Unavailable, VersionConflict, WriteOutcomeUnknown

WORKERS = 3
PATIENCE_S = 60.0
"""How long a turn is tried: longer than any restart takes."""
PAUSE_S = 0.05
PAUSE_S_MAX = 2.0
"""Between attempts, doubled each time: a daemon whose backends are away says so at once."""

TRY_AGAIN = (Unavailable, DeadlineExceeded, WriteOutcomeUnknown, VersionConflict)
"""After these a turn is handled again, from the load on: `handle_turn` sees what is in already."""


class Balancer:
    """Three workers, each a process that handles one turn at a time, on the daemon that is its own if there are three."""

    def __init__(self, targets: Sequence[str], on_turn: Callable[[], None]) -> None:
        # Not forked: a process that speaks gRPC can't be.
        context = multiprocessing.get_context("spawn")
        self._workers = [
            ProcessPoolExecutor(1, mp_context=context, initializer=connect, initargs=(targets[number % len(targets)],))
            for number in range(WORKERS)
        ]
        self._free = [asyncio.Lock() for _ in self._workers]
        self._on_turn = on_turn
        self.gave_up: Counter[str] = Counter()
        """Turns that had to be handled again, by the client's error."""
        self.under_way = 0

    async def replay(self, dialogue: dict[str, Any]) -> None:
        """All turns of a dialogue in order, each on another worker than the one before."""
        for index, turn in enumerate(dialogue["turns"]):
            await self._handle(dialogue["dialogue_id"], index, turn)
            self._on_turn()

    async def _handle(self, dialogue_id: str, index: int, turn: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE_S
        for attempt in itertools.count():
            try:
                await self._send((index + attempt) % WORKERS, dialogue_id, index, turn)
            except TRY_AGAIN as error:
                if loop.time() > end:
                    raise
                self.gave_up[type(error).__name__] += 1
                await asyncio.sleep(random.uniform(0, min(PAUSE_S_MAX, PAUSE_S * 2 ** min(attempt, 10))))
            else:
                return

    async def _send(self, worker: int, dialogue_id: str, index: int, turn: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        async with self._free[worker]:
            self.under_way += 1
            try:
                await loop.run_in_executor(self._workers[worker], handle_turn, dialogue_id, index, turn)
            finally:
                self.under_way -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.shutdown(cancel_futures=True)
