"""What a plan asks its client to do.

A plan is a generator that holds all of a call's logic and does nothing itself: it yields effects and is sent what came of
them. A blocking client and an asyncio client perform the same plans, so there is one copy of every decision.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)  # Not frozen: there is one for each call, and it would take three times as long to make
class Attempt:
    """One RPC. Answers its response, or throws a StateSidecarError into the plan."""

    rpc: str
    request: Any
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Waits."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Invoke:
    """Calls a function of the user's; an asyncio client awaits what is awaitable. Answers what it returned."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


Effect = Attempt | Pause | Invoke
Plan = Generator[Effect, Any, T]
