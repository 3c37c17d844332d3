"""Messages that are kept in memory and delivered by the rules of the outbox, and a server that lets them be consumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sidecar.core.errors import SidecarError
from sidecar.core.limits import Limits
from sidecar.core.outbox import Pending, message_id, order_of
from sidecar.core.policy import PolicyTable
from sidecar.core.sinks import Delivery, Receipt, Refused, Sink, SinkUnavailable
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.outbox.letters import DeadLetter, DeadLetters, LetterPage
from sidecar.rpc.calls import Admission, Commits
from sidecar.rpc.outbox_service import OutboxAccess, OutboxService
from sidecar.runtime import adapters, build
from sidecar.runtime.ports import SystemPorts
from sidecar.tiers.placement import Placement
from statesidecar.v1.outbox_service_pb2_grpc import add_OutboxServiceServicer_to_server
from tests.rpc.graves import serving
from tests.support.clock import START_MS
from tests.support.daemon import settings

ATTEMPTS_MAX = 3
NS = "orders"


def pending(number: int, key: str = "", *, topic: str = "placed", namespace: str = NS, payload: bytes = b"") -> Pending:
    """The message of the write that committed this version."""
    name = key or f"key {number}"
    return Pending(
        id=message_id(number, 0),
        namespace=namespace,
        order=order_of(name),
        key=name,
        version=number,
        commit_time=START_MS + number,
        topic=topic,
        payload=payload or b"payload %d" % number,
        content_type="text/plain",
        attributes={"number": str(number)},
    )


def buried(message: Pending, reason: str = "no", attempts: int = 10, time: int = START_MS) -> DeadLetter:
    """A message that was given up on."""
    return DeadLetter(message=message, reason=reason, attempts=attempts, time=time)


class Queues:
    """Messages by id, and those that were given up on. `held` is awaited before anything is put back."""

    def __init__(self, *messages: Pending) -> None:
        self.waiting = {message.id: message for message in messages}
        self.attempts: dict[str, int] = {}
        self.buried: list[DeadLetter] = []
        self.members: list[Member] = []
        self.held: asyncio.Event | None = None
        self.reached = asyncio.Event()
        self.error: SidecarError | None = None

    def commit(self, *messages: Pending) -> None:
        """More messages, which members hear of at once."""
        self.waiting |= {message.id: message for message in messages}
        for member in self.members:
            member.changed.set()

    def has_sink(self, namespace: str) -> bool:
        return namespace == "sunk"

    def consume(self, namespace: str, topics: frozenset[str], sink: Sink, in_flight_max: int) -> Member:
        self.members.append(Member(self, namespace, topics, sink, in_flight_max))
        return self.members[-1]

    def settle(self, message: Pending, receipt: Receipt) -> None:
        """Gone if it was confirmed; else tried again at once, or buried."""
        attempts = self.attempts.get(message.id, 1)
        self.attempts[message.id] = attempts + 1
        if isinstance(receipt, Refused):
            if not receipt.permanent and attempts < ATTEMPTS_MAX:
                return
            self.buried.append(buried(message, receipt.reason, attempts))
        del self.waiting[message.id]

    def dead_letters(self, _namespace: str) -> DeadLetters:
        return self  # type: ignore[return-value]  # has its methods

    async def list(self, namespace: str, *, after: str, limit: int) -> LetterPage:
        await self._reach()
        letters = [letter for letter in self._of(namespace) if letter.cursor > after]
        return LetterPage(letters[:limit], letters[limit - 1].cursor if len(letters) > limit else "")

    async def redrive(self, namespace: str, ids: Collection[str] | None) -> int:
        await self._reach()
        chosen = [letter for letter in self._of(namespace) if ids is None or letter.message.id in ids]
        self.buried = [letter for letter in self.buried if letter not in chosen]
        self.commit(*(letter.message for letter in chosen))
        return len(chosen)

    def _of(self, namespace: str) -> Sequence[DeadLetter]:
        letters = [letter for letter in self.buried if letter.message.namespace == namespace]
        return sorted(letters, key=lambda letter: letter.cursor)

    async def _reach(self) -> None:
        self.reached.set()
        if self.held is not None:
            await self.held.wait()
        if self.error is not None:
            raise self.error


class Member:
    """Publishes what nobody has in flight, a key at a time, while it has room."""

    def __init__(self, queues: Queues, namespace: str, topics: frozenset[str], sink: Sink, in_flight_max: int) -> None:
        self.namespace, self.topics, self.in_flight_max = namespace, topics, in_flight_max
        self.changed = asyncio.Event()
        self.error: SidecarError | None = None
        self.stopped = asyncio.Event()
        self._queues = queues
        self._sink = sink
        self._stopping = False
        self.tasks: dict[str, asyncio.Task[None]] = {}
        """By order."""

    async def run(self) -> None:
        while not self._stopping:
            self.changed.clear()
            if self.error is not None:
                raise self.error
            for message in self._next():
                self.tasks[message.order] = asyncio.ensure_future(self._deliver(message))
            await self.changed.wait()
        while self.tasks:
            await asyncio.wait(self.tasks.values())
        self.stopped.set()

    def stop(self) -> None:
        self._stopping = True
        self._queues.members.remove(self)
        self._wake()

    def _next(self) -> list[Pending]:
        taken = {order for member in (self, *self._queues.members) for order in member.tasks}
        found: list[Pending] = []
        for message in sorted(self._queues.waiting.values(), key=lambda message: message.id):
            ours = message.namespace == self.namespace and (not self.topics or message.topic in self.topics)
            if ours and message.order not in taken and len(self.tasks) + len(found) < self.in_flight_max:
                found.append(message)
                taken.add(message.order)
        return found

    async def _deliver(self, message: Pending) -> None:
        try:
            attempt = self._queues.attempts.get(message.id, 1)
            [receipt] = await self._sink.publish([Delivery(message, attempt)])
            self._queues.settle(message, receipt)
        except SinkUnavailable:
            self._stopping = True
        finally:
            del self.tasks[message.order]
            self._wake()

    def _wake(self) -> None:
        for member in (self, *self._queues.members):
            member.changed.set()


class Served:
    """An OutboxService, with what it works on. Messages of the namespace `sunk` go to a sink."""

    def __init__(self, queues: Queues, warm: Placement, *, requests_max: int, timeout_s: float) -> None:
        self.queues = queues
        self.admission = Admission(requests_max)
        self.commits = Commits(timeout_s)
        self.authority: Any = warm.authority
        access = OutboxAccess(
            outbox_of=lambda _: queues,
            namespaces=Namespaces(PolicyTable(), Limits(), hot=None, warm=warm),
            admission=self.admission,
            commits=self.commits,
            read_timeout_s=timeout_s,
        )
        self.service = OutboxService(access)


@asynccontextmanager
async def served(
    queues: Queues, directory: Path, *, requests_max: int = 10, timeout_s: float = 5.0
) -> AsyncIterator[tuple[str, Served]]:
    """An OutboxService over these messages, as a daemon serves it; its address."""
    ports = SystemPorts()
    given = settings(directory)
    backends = adapters.backends(given, ports)
    await backends.open()
    warm = build.engine(given, backends, ports, None).namespaces.warm
    assert warm is not None
    offered = Served(queues, warm, requests_max=requests_max, timeout_s=timeout_s)
    try:
        async with serving(lambda server: add_OutboxServiceServicer_to_server(offered.service, server)) as target:
            yield target, offered
    finally:
        await backends.close()
