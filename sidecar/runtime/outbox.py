"""The outbox of one authority as the daemon runs it: the tasks of its relays, its consumers, its count."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from sidecar.core.errors import Draining, LimitExceeded, SidecarError, StoreCorrupt, Unavailable
from sidecar.core.ledger import SEPARATOR
from sidecar.core.ports import Ports
from sidecar.core.sinks import Sink, SinkUnavailable
from sidecar.core.tracing import Tracer
from sidecar.engine.outbox.census import Census
from sidecar.engine.outbox.config import OutboxConfig
from sidecar.engine.outbox.group import SINKS
from sidecar.engine.outbox.letters import DeadLetters
from sidecar.engine.outbox.outlets import Outlet, Source
from sidecar.engine.outbox.queues import Batch
from sidecar.engine.outbox.relay import Relay, RelayFigures
from sidecar.engine.outbox.traced import CONSUMER, TracedSink
from sidecar.runtime.tasks import Rounds
from sidecar.tiers.placement import Placement

log = logging.getLogger(__name__)

CENSUS_INTERVAL_S = 2.0
CENSUS_DUTY = 0.02
CONSUMERS_MAX = 1_000
"""Streams that consume at once."""
T = TypeVar("T")
PAUSE_S, PAUSE_S_MAX = 0.1, 2.0
"""After a failure of the authority, doubled with each."""
LEAVE_S = 1.0
"""What a stop spends on telling others that they may go on; they find out by themselves within a lease."""


class RelayTasks:
    """What one relay does all the time: one task reads, one attends to its lanes, one marks; each batch has its own."""

    def __init__(self, name: str, relay: Relay, *, fatal: bool = False) -> None:
        """`fatal`: a failure of the authority is told in `failed`, for whoever can end it."""
        self.relay = relay
        self.failed: asyncio.Future[SidecarError] = asyncio.get_running_loop().create_future()
        self._name = name
        self._fatal = fatal
        self._feed, self._look, self._mark, self._moved, self._stopping = (asyncio.Event() for _ in range(5))
        relay.wakes.feed, relay.wakes.look, relay.wakes.mark = self._feed.set, self._look.set, self._mark.set
        self._tasks: list[asyncio.Task[None]] = []
        self._deliveries: set[asyncio.Task[None]] = set()
        self._feeding = True
        self._failures: dict[str, int] = {}

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work) for work in (self._feeds(), self._attends(), self._marks())]

    async def drain(self, seconds: float) -> None:
        """Until what is there now has gone out, as far as it can go now; at most so long."""
        self.relay.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.relay.quiet:
                    self._moved.clear()
                    await self._moved.wait()

    async def finish(self, seconds: float) -> None:
        """Begin nothing more; wait so long for what is being published, and store what became of it."""
        self._feeding = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._deliveries or self.relay.marker.waiting:
                    self._moved.clear()
                    await self._moved.wait()

    async def stop(self) -> None:
        """End, and let others go on at once. Idempotent."""
        self._stopping.set()
        tasks, self._tasks = [*self._tasks, *self._deliveries], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError, SidecarError):
            async with asyncio.timeout(LEAVE_S):
                while self.relay.marker.waiting:
                    await self.relay.marker.flush()
                await self.relay.leave()

    # ----

    async def _feeds(self) -> None:
        while self._feeding:
            self._feed.clear()
            done, batch = await self._attempt("reading messages", self.relay.next)
            if batch is not None:
                self._deliver(batch)
                await asyncio.sleep(0)
            elif done:
                self._moved.set()
                await _wait(self._feed, self.relay.feed_in_s)

    async def _attends(self) -> None:
        while True:
            self._look.clear()
            done, _ = await self._attempt("its lanes", self.relay.attend)
            if done:
                await _wait(self._look, self.relay.attend_in_s)

    async def _marks(self) -> None:
        while True:
            self._mark.clear()
            while self.relay.marker.waiting:
                await self._attempt("forgetting messages", self.relay.marker.flush)
                self._moved.set()
            await self._mark.wait()

    def _deliver(self, batch: Batch) -> None:
        task = asyncio.get_running_loop().create_task(self._delivers(batch))
        self._deliveries.add(task)
        task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        self._moved.set()

    async def _delivers(self, batch: Batch) -> None:
        was_away = bool(batch.outlet.error)
        try:
            await self.relay.deliver(batch)
        except SinkUnavailable as exc:
            # A consumer that leaves is no news.
            level = logging.DEBUG if was_away or self._fatal else logging.WARNING
            log.log(level, "%s: a sink is away: %s", self._name, exc.message, extra={"reason": exc.reason})
        except Exception:
            log.exception("bug in a sink of %s", self._name)
        else:
            if was_away and not batch.outlet.error:
                log.info("%s: the sink works again", self._name)

    async def _attempt(self, what: str, work: Callable[[], Awaitable[T]]) -> tuple[bool, T | None]:
        """Whether it was done, and its result; a pause follows what was not, longer each time."""
        try:
            result = await work()
        except SidecarError as exc:
            if self._fatal and isinstance(exc, Unavailable | StoreCorrupt) and not self.failed.done():
                self.failed.set_result(exc)
            # Said once: an authority that is away for an hour is one piece of news.
            level = logging.DEBUG if what in self._failures else logging.WARNING
            log.log(level, "%s: %s failed: %s", self._name, what, exc.message, extra={"reason": exc.reason})
        except Exception:
            log.exception("bug in %s: %s", self._name, what)
        else:
            if self._failures.pop(what, 0):
                log.info("%s: %s works again", self._name, what)
            return True, result
        count = self._failures[what] = self._failures.get(what, 0) + 1
        await _wait(self._stopping, min(PAUSE_S * 2.0 ** min(count - 1, 30), PAUSE_S_MAX))
        return False, None


class Consumer:
    """One stream that consumes. `run` once; `stop` ends it from outside."""

    def __init__(self, relay: Relay, *, name: str, ended: Callable[[], None]) -> None:
        self.relay = relay
        self._name = name
        self._ended = ended
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Publish nothing more. Idempotent."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`, and what the sink has confirmed is marked. Raises SidecarError if it can't go on."""
        tasks = RelayTasks(self._name, self.relay, fatal=True)
        tasks.start()
        stopping = asyncio.get_running_loop().create_task(self._stopping.wait())
        try:
            await asyncio.wait((stopping, tasks.failed), return_when=asyncio.FIRST_COMPLETED)
            await tasks.finish(LEAVE_S)
        finally:
            stopping.cancel()
            await tasks.stop()
            self._ended()
        if tasks.failed.done():
            raise tasks.failed.result()


class Outbox:
    """`start` once, then `drain`, then `stop`. Without a sink it only counts, and offers messages to consumers."""

    def __init__(
        self,
        placement: Placement,
        config: OutboxConfig,
        *,
        sinks: Mapping[str, Sink | None],
        default: Sink | None,
        ports: Ports,
        tracer: Tracer | None = None,
    ) -> None:
        """`sinks` of namespaces; None: its messages wait for consumers. `default`: of all others. `tracer`: of consumers."""
        self.placement = placement
        self.config = config
        self.census = Census(placement.ledger, config.pending_max)
        self._ports = ports
        self._tracer = tracer
        self._letters = DeadLetters(placement.ledger, placement.news)
        outlets: dict[int, Outlet] = {}
        for sink in (*sinks.values(), default):
            if sink is not None:
                outlets.setdefault(id(sink), Outlet(sink, rest_s=config.retry_delay_s, ports=ports))
        named = {name: None if sink is None else outlets[id(sink)] for name, sink in sinks.items()}
        self._source = Source(named, None if default is None else outlets[id(default)])
        self._relay = self._made(SINKS, self._source, config) if self._source.outlets else None
        self._tasks: RelayTasks | None = None
        self._census = Rounds(
            "the outbox's census", self.census.round, interval_s=CENSUS_INTERVAL_S, duty=lambda: CENSUS_DUTY
        )
        self._consumers: dict[Consumer, Callable[[], None]] = {}
        self._gone = RelayFigures()
        """What consumers counted that are gone."""
        self._unlisten: Callable[[], None] | None = None
        self._draining = False

    def has_sink(self, namespace: str) -> bool:
        """Whether a namespace's messages go to a sink that is configured."""
        return self._source.outlet(namespace) is not None

    def consume(self, namespace: str, topics: frozenset[str], sink: Sink, in_flight_max: int) -> Consumer:
        """A member of the group that consumes these topics (none: all) of a namespace. Raises Draining, LimitExceeded."""
        if self._draining:
            raise Draining("the daemon is stopping")
        if len(self._consumers) >= CONSUMERS_MAX:
            raise LimitExceeded(f"{CONSUMERS_MAX} streams consume messages here already", retry_after_s=1.0)
        config = replace(self.config, in_flight_max=in_flight_max)
        sink = sink if self._tracer is None else TracedSink(sink, self._tracer, CONSUMER)
        outlet = Outlet(sink, rest_s=config.retry_delay_s, ports=self._ports, proven=True)
        relay = self._made(consumers_group(namespace, topics), Source({namespace: outlet}, topics=topics), config)
        unlisten = self.placement.news.listen(relay.heard)

        def ended() -> None:
            self._consumers.pop(consumer)()
            past, last = self._gone, relay.figures()
            self._gone = RelayFigures(
                delivered=past.delivered + last.delivered,
                refused=past.refused + last.refused,
                buried=past.buried + last.buried,
                broken=past.broken + last.broken,
            )

        name = f"a consumer of {namespace}"
        consumer = Consumer(relay, name=name, ended=ended)
        self._consumers[consumer] = unlisten
        return consumer

    def dead_letters(self, namespace: str) -> DeadLetters:  # noqa: ARG002  # of all namespaces of this authority
        """Those of the authority that a namespace has."""
        return self._letters

    def figures(self) -> list[RelayFigures]:
        """Of the relay to sinks, if there is one, of each consumer, and of those that are gone."""
        # A copy in one step: the probes' thread asks, too.
        relays = [consumer.relay for consumer in list(self._consumers)]
        return [*(relay.figures() for relay in ([self._relay] if self._relay else []) + relays), self._gone]

    def start(self) -> None:
        """Begin."""
        self._census.start()
        if self._relay is not None:
            self._tasks = RelayTasks("the outbox", self._relay)
            self._unlisten = self.placement.news.listen(self._relay.heard)
            self._tasks.start()

    async def drain(self, seconds: float) -> None:
        """Take no consumers any more; deliver what is there and can go out now. At most so long."""
        self._draining = True
        for consumer in list(self._consumers):
            consumer.stop()
        if self._tasks is not None:
            await self._tasks.drain(seconds)

    async def stop(self) -> None:
        """End; others go on at once. Idempotent."""
        self._draining = True
        for consumer in list(self._consumers):
            consumer.stop()
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            await tasks.stop()
            for outlet in self._source.outlets:
                await outlet.close()
        await self._census.stop()

    def _made(self, group: str, source: Source, config: OutboxConfig) -> Relay:
        return Relay(group, source, config, ledger=self.placement.ledger, news=self.placement.news, ports=self._ports)


def consumers_group(namespace: str, topics: frozenset[str]) -> str:
    """The name of the group of those that consume these topics of a namespace."""
    told = "\0".join(sorted(topics)).encode()
    return f"{namespace}{SEPARATOR}{hashlib.blake2b(told, digest_size=8).hexdigest() if topics else ''}"


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
