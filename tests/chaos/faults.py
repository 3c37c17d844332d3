"""What a fault is: a function that does harm, holds it, undoes it, and says what shows that it had an effect.

Each is registered under its kind. The effect is observed from outside (a counter of a proxy, a process's id, what a server
says of itself); a fault that cannot show any makes the run invalid.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from tests.chaos.deployment import ChaosDaemon, Deployment
from tests.chaos.proxies import Proxy


class Clients(Protocol):
    """The processes with the clients."""

    def kill_one(self, random: Random) -> str:
        """As kill -9 does, and another takes its place; what shows it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a fault acts on. `random` is the fault's own, of the run's seed; `stop` ends what it holds."""

    deployment: Deployment
    clients: Clients
    random: Random
    stop: threading.Event

    def hold(self, least_s: float, most_s: float = 0.0) -> float:
        """Let the fault last; for how long."""
        seconds = self.random.uniform(least_s, most_s) if most_s else least_s
        self.stop.wait(seconds)
        return seconds

    def watch(self, seconds: float, sample: Callable[[], int]) -> int:
        """Let the fault last; the most that was sampled meanwhile."""
        end, most = time.monotonic() + seconds, 0
        while time.monotonic() < end and not self.stop.wait(0.1):
            most = max(most, sample())
        return most

    def daemon(self) -> ChaosDaemon:
        """One of them."""
        return self.random.choice(self.deployment.daemons)

    def link(self) -> tuple[str, Proxy]:
        """One of the proxies, and its name."""
        number = self.random.randrange(len(self.deployment.daemons))
        backend = self.random.choice(("postgres", "valkey"))
        proxies = self.deployment.to_postgres if backend == "postgres" else self.deployment.to_valkey
        return f"{backend} from daemon {number}", proxies[number]


Inject = Callable[[Scene], str]
"""Does it from begin to end; what shows its effect, empty: nothing."""

KINDS: dict[str, Inject] = {}
"""Every fault by its kind. Importing `tests.chaos.schedule` registers all."""


def fault(kind: str) -> Callable[[Inject], Inject]:
    """Register a fault."""

    def register(inject: Inject) -> Inject:
        assert kind not in KINDS, kind
        KINDS[kind] = inject
        return inject

    return register


def grown(proxy: Proxy, counter: str, before: int, where: str) -> str:
    """What shows that a proxy counted more of something."""
    more = proxy.seen[counter] - before
    return f"{where}: {more} {counter}" if more else ""
