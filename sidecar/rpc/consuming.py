"""Consume: a sink that is a stream. Messages go down it as they are published, and acknowledgements come up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

import grpc

from sidecar.core.errors import Draining
from sidecar.core.sinks import Delivery, Receipt, SinkUnavailable
from sidecar.rpc import convert_outbox
from sidecar.rpc.calls import Admission, Context
from statesidecar.v1 import outbox_service_pb2 as pb

RESPONSE_BYTES_MAX = 1024 * 1024
"""Of messages that go together. One that is larger goes alone."""
LAST_ACKNOWLEDGEMENTS_S = 0.5
"""How long a daemon that stops waits for acknowledgements of what it has sent."""


class Consumer(Protocol):
    """A member of a group of consumers: it publishes to its sink what its lanes hold."""

    async def run(self) -> None:
        """Until `stop`, and what the sink has confirmed is marked. Raises SidecarError if it can't go on."""
        ...

    def stop(self) -> None:
        """Publish nothing more. Idempotent."""
        ...


class Consumption:
    """One stream, and the sink of its consumer."""

    batch_max = 1

    def __init__(self, context: Context, admission: Admission) -> None:
        self._context = context
        self._admission = admission
        self._receipts: dict[str, asyncio.Future[Receipt]] = {}
        """Of messages that are published and not answered yet, by id."""
        self._unsent: dict[str, Delivery] = {}
        self._published = asyncio.Event()
        self._open = True

    # ---- the sink

    async def open(self) -> None:
        """It is."""

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        """Send the one message, and wait for what the caller says of it. Raises SinkUnavailable at the stream's end."""
        [delivery] = deliveries
        if not self._open:
            raise _gone()
        name = delivery.message.id
        assert name not in self._receipts, "a message is published once at a time"
        receipt = self._receipts[name] = asyncio.get_running_loop().create_future()
        self._unsent[name] = delivery
        self._published.set()
        try:
            return [await receipt]
        finally:
            del self._receipts[name]
            self._unsent.pop(name, None)

    async def close(self) -> None:
        """The stream's end does it."""

    # ---- the stream

    async def first(self) -> pb.ConsumeRequest:
        """What is to be consumed. Raises DRAINING if a stop comes before it."""
        reading, draining = self._reading(), self._draining()
        try:
            await asyncio.wait((reading, draining), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise _stopping()
            return reading.result()
        finally:
            reading.cancel()
            draining.cancel()

    async def run(self, consumer: Consumer) -> None:
        """Until the caller has no more requests, or leaves, or the consumer can't go on. Raises DRAINING at a stop."""
        loop = asyncio.get_running_loop()
        reading, draining = loop.create_task(self._read()), self._draining()
        delivering, sending = loop.create_task(consumer.run()), loop.create_task(self._send())
        tasks = (delivering, reading, sending, draining)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                await self._last_acknowledgements(reading)
        finally:
            self._open = False
            self._let_go(self._receipts)
            consumer.stop()
            for task in (reading, sending, draining):
                task.cancel()
            # What was acknowledged is marked, also when the caller is gone.
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error
        if reading.cancelled():
            raise _stopping()

    def _reading(self) -> asyncio.Task[pb.ConsumeRequest]:
        async def first() -> pb.ConsumeRequest:
            request = await self._context.read()
            return convert_outbox.first(None if request is grpc.aio.EOF else request)

        return asyncio.get_running_loop().create_task(first())

    def _draining(self) -> asyncio.Task[object]:
        return asyncio.get_running_loop().create_task(self._admission.drain_began.wait())

    async def _read(self) -> None:
        while (request := await self._context.read()) is not grpc.aio.EOF:
            for name, receipt in convert_outbox.receipts(request):
                # Unknown: answered before, or of an earlier stream. That message comes again.
                if (waiting := self._receipts.get(name)) is not None and not waiting.done():
                    waiting.set_result(receipt)

    async def _send(self) -> None:
        while True:
            await self._published.wait()
            self._published.clear()
            while self._unsent:
                await self._context.write(self._gathered())

    def _gathered(self) -> pb.ConsumeResponse:
        """What waits to be sent, as much as goes together."""
        response = pb.ConsumeResponse()
        size = 0
        for name, delivery in list(self._unsent.items()):
            size += len(delivery.message.payload)
            if response.messages and size > RESPONSE_BYTES_MAX:
                break
            del self._unsent[name]
            response.messages.append(convert_outbox.delivered(delivery.message, delivery.attempt))
        return response

    async def _last_acknowledgements(self, reading: asyncio.Task[None]) -> None:
        """Of what was sent. What was not goes to others at once."""
        self._open = False
        self._let_go(self._unsent)
        self._unsent.clear()
        answered = asyncio.gather(*self._receipts.values(), return_exceptions=True)
        await asyncio.wait((answered, reading), timeout=LAST_ACKNOWLEDGEMENTS_S, return_when=asyncio.FIRST_COMPLETED)

    def _let_go(self, names: Iterable[str]) -> None:
        for name in names:
            if (receipt := self._receipts.get(name)) is not None and not receipt.done():
                receipt.set_exception(_gone())


def _gone() -> SinkUnavailable:
    return SinkUnavailable("the consumer has gone")


def _stopping() -> Draining:
    return Draining("the daemon is stopping: what was not acknowledged comes again, from others", retry_after_s=0.5)
