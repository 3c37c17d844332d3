"""What a request that is sampled leaves of its way: a port, for what is called on its behalf.

Whoever asks a tier looks at `TRACE`: None means that nobody watches, which is the usual case and costs a look. Nothing
here knows of a tracing library. Keys and values are never told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import NamedTuple, Protocol

from sidecar.core.modes import Tier


class Operation(Protocol):
    """A call to a tier, under way."""

    def end(self, error: BaseException | None = None) -> None:
        """It was answered; `error`: it was not, or with a refusal."""
        ...


class Trace(Protocol):
    """A request that is watched."""

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        ...

    @property
    def span_id(self) -> str:
        """16 hex digits: the request's own span."""
        ...

    @property
    def traceparent(self) -> str:
        """For whoever continues the trace, as W3C Trace Context has it."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the request was answered. What a request began may go on in its context: a connection, for others."""
        ...

    def operation(self, tier: Tier, name: str) -> Operation:
        """A call to a tier begins."""
        ...

    def end(self, code: str, error: BaseException | None, labels: Mapping[str, str]) -> None:
        """The request was answered, with a status code's name in capitals. `labels`: what metrics tell of it, too."""
        ...


class Destination(NamedTuple):
    """Where messages go. `system`: what it is; `address` empty: not known."""

    system: str
    address: str = ""
    port: int | None = None


class Publication(Protocol):
    """A message on its way to a sink."""

    def end(self, outcome: str, error: BaseException | None = None) -> None:
        """What became of it, in a word; `error`: nobody knows whether it was taken."""
        ...


class Tracer(Protocol):
    """Decides which requests are watched."""

    def request(self, service: str, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Trace | None:
        """A request has come, with its caller's metadata; None: it is not watched."""
        ...

    def delivery(self, traceparent: str, to: Destination, message_id: str, attempt: int) -> Publication | None:
        """A message goes out; `traceparent`: of the write that it came with. None: nobody watched that."""
        ...


TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""Of the request on whose behalf the code runs."""
