"""Where a relay's messages go: the sinks, each opened before its first message and left alone for a while when it is away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.core.ledger import MESSAGES
from sidecar.core.outbox import messages_of
from sidecar.core.ports import Ports
from sidecar.core.sinks import Delivery, Receipt, Sink, SinkUnavailable, Untried

REST_S_MAX = 30.0
"""A sink that is away is tried again at least so often."""
FAILURES_MAX = 20
"""Counted: beyond, the rest does not grow any more."""


class Outlet:
    """One sink. Until it has taken something, and after it was away, it gets one batch at a time; `proven`: it need not
    take something first.
    """

    def __init__(self, sink: Sink, *, rest_s: float, ports: Ports, proven: bool = False) -> None:
        self.error = ""
        """Why it takes nothing now; empty: it does, or nobody has tried."""
        self.rests_until_s = 0.0
        self._sink = sink
        self._rest_s = rest_s
        self._ports = ports
        self._opened = False
        self._proven = proven
        self._failures = 0
        self._batches = 0

    @property
    def batch_max(self) -> int:
        """The most messages of a batch."""
        return max(self._sink.batch_max, 1)

    @property
    def ready(self) -> bool:
        """Whether it is to get a batch now."""
        if self._proven:
            return True
        return not self._batches and self._ports.clock.monotonic() >= self.rests_until_s

    @property
    def rest_left_s(self) -> float:
        """How long it is to be left alone."""
        return max(self.rests_until_s - self._ports.clock.monotonic(), 0.0)

    def begin(self) -> None:
        """A batch is for it; `end` or `publish` follows."""
        self._batches += 1

    def end(self) -> None:
        """The batch does not go to it, after all."""
        self._batches -= 1

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        """As the sink does. Raises SinkUnavailable, also for an answer that no sink may give."""
        failures = self._failures
        try:
            if not self._opened:
                await self._sink.open()
                self._opened = True
            receipts = await self._sink.publish(deliveries)
            _check(receipts, deliveries)
        except Exception as exc:
            # Batches that fail together are one failure.
            if failures == self._failures:
                self._failed(exc)
            raise
        finally:
            self._batches -= 1
        self._failures, self._proven, self.error = 0, True, ""
        return receipts

    async def close(self) -> None:
        """Let go of the sink."""
        await self._sink.close()

    def _failed(self, exc: Exception) -> None:
        self.error = str(exc)
        self._proven = False
        self._opened = False
        rest_s = min(self._rest_s * 2 ** min(self._failures, FAILURES_MAX), REST_S_MAX)
        self._failures += 1
        self.rests_until_s = self._ports.clock.monotonic() + rest_s * (0.5 + 0.5 * self._ports.random())


def _check(receipts: Sequence[Receipt], deliveries: Sequence[Delivery]) -> None:
    if len(receipts) != len(deliveries):
        raise SinkUnavailable(f"the sink answered {len(receipts)} of {len(deliveries)} messages")
    if all(isinstance(receipt, Untried) for receipt in receipts):
        raise SinkUnavailable("the sink tried none of the messages")


class Source:
    """Which messages a relay delivers: of which namespaces and topics, each to which outlet.

    `namespaces`: those with an outlet of their own, None: delivered by nobody here; `default`: of all others, None: none.
    """

    def __init__(
        self,
        namespaces: Mapping[str, Outlet | None],
        default: Outlet | None = None,
        *,
        topics: frozenset[str] = frozenset(),
    ) -> None:
        self._namespaces = namespaces
        self._default = default
        self._topics = topics
        named = tuple(messages_of(name) for name, outlet in sorted(namespaces.items()) if outlet is not None)
        self.prefixes = (MESSAGES,) if default is not None else named
        """Where its messages are in the ledger."""
        outlets = {id(one): one for one in (*namespaces.values(), default) if one is not None}
        self.outlets = tuple(outlets.values())

    def outlet(self, namespace: str) -> Outlet | None:
        """Where messages of a namespace go."""
        return self._namespaces.get(namespace, self._default)

    def wants(self, topic: str) -> bool:
        """Whether a topic is one of its."""
        return not self._topics or topic in self._topics
