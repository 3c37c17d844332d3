"""A sink whose messages leave a span each, in the trace of the write that they came with: its attribute `traceparent`."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.core.outbox import TRACEPARENT
from sidecar.core.sinks import Delivery, Receipt, Refused, Sink
from sidecar.core.tracing import Destination, Publication, Tracer

CONSUMER = Destination("state-sidecar")
"""What traces call a stream of ours that takes messages."""


class TracedSink:
    """The sink that it is given, otherwise."""

    def __init__(self, sink: Sink, tracer: Tracer, to: Destination) -> None:
        self.open = sink.open
        self.close = sink.close
        self._sink = sink
        self._tracer = tracer
        self._to = to

    @property
    def batch_max(self) -> int:
        """The sink's."""
        return self._sink.batch_max

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        """As the sink does."""
        spans = [self._span(delivery) for delivery in deliveries]
        try:
            receipts = await self._sink.publish(deliveries)
        except BaseException as exc:
            for span in spans:
                if span is not None:
                    span.end("unknown", exc)
            raise
        for span, receipt in zip(spans, receipts, strict=False):  # how many there are is checked elsewhere
            if span is not None:
                span.end(_outcome(receipt))
        return receipts

    def _span(self, delivery: Delivery) -> Publication | None:
        message = delivery.message
        traceparent = message.attributes.get(TRACEPARENT)
        if traceparent is None:
            return None
        return self._tracer.delivery(traceparent, self._to, message.id, delivery.attempt)


def _outcome(receipt: Receipt) -> str:
    if receipt is None:
        return "delivered"
    return "refused" if isinstance(receipt, Refused) else "untried"
