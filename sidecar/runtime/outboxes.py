"""The outboxes of all authorities as one: each namespace's is that of its authority."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sidecar.core.ports import Ports
from sidecar.core.sinks import Sink
from sidecar.core.tracing import Tracer
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.outbox.config import OutboxConfig
from sidecar.engine.outbox.letters import DeadLetters
from sidecar.runtime.outbox import Consumer, Outbox
from sidecar.telemetry.figures import OutboxFigures
from sidecar.tiers.placement import Placement


class Outboxes:
    """One of each authority that can keep messages. `start` once, then `drain`, then `stop`."""

    def __init__(
        self,
        namespaces: Namespaces,
        config: OutboxConfig,
        *,
        sinks: Mapping[str, Sink | None],
        default: Sink | None,
        ports: Ports,
        tracer: Tracer | None = None,
    ) -> None:
        """`sinks` of namespaces; None: its messages wait for consumers. `default`: of all others.

        `tracer`: of what goes to consumers; sinks have it already.
        """
        self.each = [
            Outbox(placement, config, sinks=sinks, default=default, ports=ports, tracer=tracer)
            for placement in namespaces.placements()
            if placement.authority.capabilities.quiet
        ]
        self._namespaces = namespaces
        namespaces.crowded = lambda namespace: self.of(namespace).census.full(namespace)

    def of(self, namespace: str) -> Outbox:
        """A namespace's. Raises Unsupported where its authority keeps no messages."""
        return self.at(self._namespaces.of(namespace).outbox_authority())

    def at(self, placement: Placement) -> Outbox:
        """That of an authority which keeps messages."""
        return next(outbox for outbox in self.each if outbox.placement is placement)

    def has_sink(self, namespace: str) -> bool:
        """Whether a namespace's messages go to a sink that is configured."""
        return self.of(namespace).has_sink(namespace)

    def consume(self, namespace: str, topics: frozenset[str], sink: Sink, in_flight_max: int) -> Consumer:
        """A member of the group that consumes these topics (none: all) of a namespace. Raises Draining, LimitExceeded."""
        return self.of(namespace).consume(namespace, topics, sink, in_flight_max)

    def dead_letters(self, namespace: str) -> DeadLetters:
        """Those of the authority that a namespace has."""
        return self.of(namespace).dead_letters(namespace)

    def figures(self) -> OutboxFigures:
        """For operators."""
        waiting = [one for outbox in self.each for one in list(outbox.census.namespaces().values())]
        relays = [one for outbox in self.each for one in outbox.figures()]
        return OutboxFigures(
            pending=sum(one.messages for one in waiting),
            lag_s=max((outbox.census.lag_ms() for outbox in self.each), default=0) / 1000,
            dead_letters=sum(one.dead_letters for one in waiting),
            delivered=sum(one.delivered for one in relays),
            refused=sum(one.refused for one in relays),
            buried=sum(one.buried for one in relays),
            in_flight=sum(one.in_flight for one in relays),
            parked=sum(one.parked for one in relays),
            sinks_away=sum(len(one.errors) for one in relays),
            sink_errors=[error for one in relays for error in one.errors],
        )

    def start(self) -> None:
        """Begin."""
        for outbox in self.each:
            outbox.start()

    async def drain(self, seconds: float) -> None:
        """Take no consumers any more; deliver what is there and can go out now. At most so long."""
        await asyncio.gather(*(outbox.drain(seconds) for outbox in self.each))

    async def stop(self) -> None:
        """End; others go on at once. Idempotent."""
        await asyncio.gather(*(outbox.stop() for outbox in self.each))
