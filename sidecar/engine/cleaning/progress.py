"""What somebody who waits for a collection is told of each part of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from sidecar.core.errors import SidecarError
from sidecar.core.modes import Tier


class State(IntEnum):
    """Where a part is. The numbers are those of the proto."""

    RUNNING = 1
    WAITING = 2
    """Another daemon does it."""
    DONE = 3
    BUSY = 4
    """Another daemon did it for longer than we wait."""
    FAILED = 5
    NOT_COUNTED = 6
    """Of a dry run: only doing it would tell."""

    @property
    def ended(self) -> bool:
        """Whether it says nothing more."""
        return self not in (State.RUNNING, State.WAITING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One part up to now. `counts`: what it cleaned, or in a dry run would clean, by kind."""

    tier: Tier
    job: str
    state: State
    counts: Mapping[str, int] = field(default_factory=dict)
    error: SidecarError | None = None


class Part(Protocol):
    """Something that is cleaned: a job, or a store's own sweep."""

    @property
    def name(self) -> str:
        """Its name in metrics, and to people."""
        ...

    @property
    def tier(self) -> Tier:
        """Whose it is."""
        ...

    @property
    def duty(self) -> float:
        """The share of the time that its rounds may take while more is left."""
        ...

    async def round(self) -> bool:
        """The next step. Whether more is left to do now."""
        ...

    async def release(self) -> None:
        """Nothing more is done here: others may."""
        ...

    def collect(self, *, dry_run: bool) -> AsyncGenerator[Progress, None]:
        """A whole pass, now: its progress after each step. Whoever gives it up closes it."""
        ...
