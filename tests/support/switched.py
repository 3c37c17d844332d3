"""A store that can be taken away, and held in mid-call: the outages and races that a real backend has at its own time."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from sidecar.core.errors import StoreUnavailable
from sidecar.core.store import Store

VERBS = frozenset({"get", "commit", "touch", "scan", "delete_prefix", "changes", "sweep", "cache_generation"})


class Hold:
    """One verb, held: `reached` when a call has come, and on it goes after `release`; `passed` when it was answered.

    `after`: the call is held on its way back, when the store has done what it was asked for.
    """

    def __init__(self, *, after: bool) -> None:
        self.after = after
        self.reached = asyncio.Event()
        self.passed = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let the held call go on, and those that come later pass."""
        self._released.set()

    async def through(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a held call."""
        result = await call() if self.after else None
        self.reached.set()
        await self._released.wait()
        try:
            return result if self.after else await call()
        finally:
            self.passed.set()


class SwitchedStore:
    """Forwards everything to a store, unless `error` is set; counts the calls, and keeps what the store answered."""

    def __init__(self, store: Store) -> None:
        self.error: Exception | None = None
        self.calls: Counter[str] = Counter()
        self.answers: defaultdict[str, list[Any]] = defaultdict(list)
        self._store = store
        self._holds: dict[str, Hold] = {}
        self._failures: dict[str, Exception] = {}

    def away(self) -> None:
        """From now on nothing answers."""
        self.error = StoreUnavailable("switched off by the test")

    def back(self) -> None:
        """It answers again."""
        self.error = None

    def hold(self, verb: str, *, after: bool = False) -> Hold:
        """Hold the calls of a verb until the hold is released."""
        assert verb in VERBS, verb
        self._holds[verb] = Hold(after=after)
        return self._holds[verb]

    def fail_next(self, verb: str, error: Exception) -> None:
        """The next call of a verb, or the one that is held, fails once it is let go."""
        assert verb in VERBS, verb
        self._failures[verb] = error

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if name not in VERBS:
            return attribute

        async def call(*args: Any, **kwargs: Any) -> Any:
            async def reach() -> Any:
                if name in self._failures:
                    raise self._failures.pop(name)
                self.answers[name].append(await attribute(*args, **kwargs))
                return self.answers[name][-1]

            self.calls[name] += 1
            if self.error is not None:
                raise self.error
            if name in self._holds:
                return await self._holds[name].through(reach)
            return await reach()

        return call
