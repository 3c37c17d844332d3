"""Sink: the port to where messages go. `docs/outbox.md` says what each kind of sink guarantees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sidecar.core.errors import Unavailable
from sidecar.core.outbox import Pending


class SinkUnavailable(Unavailable):
    """The sink does not answer, or takes nothing now. Nobody knows which messages of the call it took; none counts as tried."""

    default_reason = "SINK_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message, and how often it was tried, this time included."""

    message: Pending
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Refused:
    """The sink did not take a message. `permanent`: it never will."""

    reason: str
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Untried:
    """It was not published: one before it of the same order was not taken, or the sink went away before its turn."""


UNTRIED = Untried()

Receipt = Refused | Untried | None
"""What became of a message. None: the sink has confirmed it."""


class Sink(Protocol):
    """Where messages go. Safe for concurrent calls."""

    @property
    def batch_max(self) -> int:
        """The most messages of a call."""
        ...

    async def open(self) -> None:
        """Prepare; may be called again after a failure. Raises SinkUnavailable."""
        ...

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        """Publish, of equal `message.order` in the order given: none goes out after one that was not taken.

        A receipt each. A message may go out twice (its id says so), never be told as taken when it was not. Raises
        SinkUnavailable.
        """
        ...

    async def close(self) -> None:
        """Let go. Idempotent."""
        ...
