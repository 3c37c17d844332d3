"""What becomes of a published message: it is forgotten, tried again later, or a dead letter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sidecar.core.operations import Forget, Operation
from sidecar.core.ports import Ports
from sidecar.core.sinks import Delivery, Receipt, Refused
from sidecar.engine.outbox.config import OutboxConfig
from sidecar.engine.outbox.letters import DeadLetter
from sidecar.engine.outbox.marker import Mark, Marker
from sidecar.engine.outbox.parking import REASON_CHARS_MAX, Parked, Parking, delay_s
from sidecar.engine.outbox.queues import Batch, Part, Queue, Queues
from sidecar.tiers.ledger import Ledger


class Settling:
    """Turns the receipts of a batch into marks. `settled` is called when one is stored, or its lane was lost."""

    def __init__(
        self,
        *,
        queues: Queues,
        parking: Parking,
        marker: Marker,
        config: OutboxConfig,
        ledger: Ledger,
        ports: Ports,
        settled: Callable[[], None],
    ) -> None:
        self.delivered = 0
        self.refused = 0
        self.buried = 0
        """Counts since the start: messages forgotten, refusals, dead letters."""
        self._queues = queues
        self._parking = parking
        self._marker = marker
        self._config = config
        self._ledger = ledger
        self._ports = ports
        self._settled = settled

    def settle(self, batch: Batch, receipts: Sequence[Receipt]) -> None:
        """A receipt for each of the batch's messages."""
        begin = 0
        for part in batch.parts:
            end = begin + len(part.deliveries)
            self._settle(part, receipts[begin:end])
            begin = end

    def _settle(self, part: Part, receipts: Sequence[Receipt]) -> None:
        queue, refused = part.queue, False
        rest = []
        for delivery, receipt in zip(part.deliveries, receipts, strict=True):
            if receipt is None:
                self._mark(queue, _forgotten(queue, delivery), self._confirmed)
            elif isinstance(receipt, Refused) and not refused:
                refused = True
                self._refuse(queue, delivery, receipt)
            else:
                rest.append(delivery.message)
        if rest:
            self._queues.give_back(queue, rest)

    def _refuse(self, queue: Queue, delivery: Delivery, refused: Refused) -> None:
        self.refused += 1
        reason = refused.reason[:REASON_CHARS_MAX]
        if refused.permanent or delivery.attempt >= self._config.attempts_max:
            letter = DeadLetter(
                message=delivery.message, reason=reason, attempts=delivery.attempt, time=self._ledger.now()
            )
            put = letter.put(self._config.dead_letter_retention_s)
            self._mark(queue, (*_forgotten(queue, delivery), put), self._has_buried)
            return
        message = delivery.message
        rest_s = delay_s(delivery.attempt, self._config.retry_delay_s, self._ports.random())
        parked = Parked(
            namespace=message.namespace,
            order=message.order,
            id=message.id,
            topic=message.topic,
            attempts=delivery.attempt,
            until=self._ledger.now() + int(rest_s * 1000),
            reason=reason,
        )
        self._queues.drop(queue)
        if not queue.hold.lost:
            self._parking.add(parked)
        self._mark(queue, (parked.put(),), _nothing)

    def _mark(self, queue: Queue, operations: tuple[Operation, ...], count: Callable[[], None]) -> None:
        self._marker.add(Mark(queue.hold, operations, partial(self._marked, queue, count)))

    def _marked(self, queue: Queue, count: Callable[[], None], stored: bool) -> None:
        if stored:
            count()
        self._queues.settled(queue, 1)
        self._settled()

    def _confirmed(self) -> None:
        self.delivered += 1

    def _has_buried(self) -> None:
        self.buried += 1


def _nothing() -> None:
    """Not counted: the refusal was."""


def _forgotten(queue: Queue, delivery: Delivery) -> tuple[Operation, ...]:
    """A message's row goes, and that which says that it held up its key."""
    message, parked = delivery.message, queue.parked
    if parked is not None and parked.id == message.id:
        return Forget(key=message.row), Forget(key=parked.key)
    return (Forget(key=message.row),)
