"""Messages that are committed with a write, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: Of the reason of a refusal.
REASON_BYTES_MAX = 1024


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message to commit with a write: it goes out if, and only if, the write takes effect."""

    topic: str
    payload: bytes | str = b""
    content_type: str = ""
    attributes: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedMessage:
    """A message as it was committed."""

    namespace: str
    #: Names this message for ever.
    id: str
    #: The key whose write carried it. Empty: a transaction of many keys.
    key: str
    #: The version that the write committed.
    version: int
    topic: str
    payload: bytes
    content_type: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    #: When the write was committed, by the authority's clock.
    commit_time: datetime | None = None

    def json(self) -> Any:
        """The payload as JSON. Raises ValueError if it is none."""
        return json.loads(self.payload)


Settle = Callable[[str, "Refusal | None"], None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message could not be dealt with."""

    reason: str
    permanent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage(CommittedMessage):
    """A message that a consumer is to deal with: it is to be acknowledged, or refused. The next of its key waits for that.

    Neither waits for anything. What is lost with the connection is no harm: the message comes again then.
    """

    #: Deliveries so far, this one included.
    attempt: int
    settle: Settle = field(repr=False, compare=False)

    def ack(self) -> None:
        """It was dealt with."""
        self.settle(self.id, None)

    def refuse(self, reason: str = "", *, permanent: bool = False) -> None:
        """It could not be dealt with: it comes again later, and is a dead letter after some attempts; `permanent`: at once."""
        self.settle(self.id, Refusal(reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"), permanent))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(CommittedMessage):
    """A message that was given up on."""

    attempts: int
    #: Why it was given up, and when.
    reason: str
    dead_time: datetime | None
