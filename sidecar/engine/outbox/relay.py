"""The relay: what waits in our lanes is read, published, and forgotten once the sink has confirmed it.

It has no task of its own. `attend` keeps our share of the lanes, `next` reads and makes batches, `deliver` publishes one,
`marker.flush` stores what became of it; the runtime calls each when `wakes` asks for it, or its time has come.

Order: a key is read from its first message that was not delivered, and nothing of it is read or published while some of
it is in flight, which ends when its rows are forgotten. So whoever publishes a message knows that those before it went
out: their rows were gone, or it has published them itself before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.core.failpoints import reach
from sidecar.core.ports import Ports
from sidecar.engine.outbox.config import OutboxConfig
from sidecar.engine.outbox.group import Group, Hold
from sidecar.engine.outbox.intake import Intake
from sidecar.engine.outbox.marker import Marker
from sidecar.engine.outbox.outlets import Source
from sidecar.engine.outbox.parking import Parking
from sidecar.engine.outbox.queues import Batch, Queues
from sidecar.engine.outbox.settling import Settling
from sidecar.tiers.ledger import Ledger
from sidecar.tiers.news import News

IDLE_LEASES = 3
"""Who has seen no message for so long leaves the group: its rows cost a commit now and then."""
TOLD_FACTOR = 4
"""So much rarer is looked for messages where news tell of them."""
GAP_S, GAP_S_MAX = 0.002, 0.05
"""Between walks that find nothing, because the news were of other writes: doubled with each."""
FRUITLESS_DUTY = 0.2
"""The share of the time for long walks that find nothing."""


def _nothing() -> None:
    """Nobody waits."""


@dataclass(slots=True)
class Wakes:
    """Whom the relay asks for: `feed` calls `next`, `look` calls `attend`, `mark` calls `marker.flush`."""

    feed: Callable[[], None] = _nothing
    look: Callable[[], None] = _nothing
    mark: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayFigures:
    """Counts since the start, and what is now. `errors`: of the sinks that are away."""

    delivered: int = 0
    refused: int = 0
    buried: int = 0
    broken: int = 0
    in_flight: int = 0
    parked: int = 0
    lanes: int = 0
    members: int = 0
    errors: tuple[str, ...] = ()


class Relay:
    """One member of a group. `in_flight_max` of the configuration holds for it alone."""

    def __init__(
        self, group: str, source: Source, config: OutboxConfig, *, ledger: Ledger, news: News, ports: Ports
    ) -> None:
        self.wakes = Wakes()
        self.group = Group(group, ledger, lease_ms=config.lease_ms, ports=ports, lost=self._lose)
        self.marker = Marker(self.group, ledger)
        self._source = source
        self._placement_news = news
        self._config = config
        self._ledger = ledger
        self._ports = ports
        self._queues = Queues(config.in_flight_max, idle=self._idle)
        self._parking = Parking()
        self._intake = Intake(
            source,
            group=self.group,
            queues=self._queues,
            parking=self._parking,
            marker=self.marker,
            ledger=ledger,
        )
        self._settling = Settling(
            queues=self._queues,
            parking=self._parking,
            marker=self.marker,
            config=config,
            ledger=ledger,
            ports=ports,
            settled=self._settled,
        )
        self._draining = False
        self._news = True
        self._looked_s = self._poll_s = self._not_before_s = self._began_s = self._ended_s = 0.0
        self._seen_s: float | None = None
        """When a message was seen last that is of our group."""
        self._pages = 0
        self._gap_s = 0.0

    # ---- what the runtime asks

    def heard(self) -> None:
        """Something was committed."""
        if not self._draining:
            self._news = True
            self.wakes.feed()

    def drain(self) -> None:
        """Deliver what is there now; what comes later is for others. `quiet` says when it is done."""
        self._news = self._draining = True
        self._gap_s = self._not_before_s = 0.0
        self.wakes.feed()

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way, and nothing of what was looked for can go out now."""
        under_way = self._queues.in_flight or self.marker.waiting or self._queues.movable
        to_read = self._news or self._queues.again or self._intake.walk.under_way
        coming = self._wanted and not self.group.trusted
        return not (under_way or to_read or coming)

    @property
    def feed_in_s(self) -> float:
        """When `next` has something to do that nobody asks for."""
        if self._queues.full or (self.group.joined and not self.group.trusted):
            return self._interval_s  # whoever changes that asks
        now = self._monotonic()
        times = [self._poll_s] + [end for outlet in self._source.outlets if (end := outlet.rests_until_s) > now]
        if self._news:
            times.append(self._not_before_s)
        if (parked_until := self._parking.next_end) is not None:
            times.append(now + max(parked_until - self._ledger.now(), 1) / 1000)
        return max(min(times) - now, 0.001)

    @property
    def attend_in_s(self) -> float:
        """When `attend` has something to do that nobody asks for."""
        if not self.group.joined:
            return self._config.lease_s
        unsettled = self._intake.elsewhere or not self.group.fulfilled
        third_s = self._config.lease_s / 3
        interval_s = min(self._config.poll_interval_s, third_s) if unsettled else third_s
        return max(self._looked_s + interval_s - self._monotonic(), 0.001)

    def figures(self) -> RelayFigures:
        """Now."""
        return RelayFigures(
            delivered=self._settling.delivered,
            refused=self._settling.refused,
            buried=self._settling.buried,
            broken=self._intake.broken,
            in_flight=self._queues.in_flight,
            parked=len(self._parking),
            lanes=len(self.group.holds),
            members=self.group.live,
            errors=tuple(outlet.error for outlet in self._source.outlets if outlet.error),
        )

    # ---- lanes

    async def attend(self) -> None:
        """Be a member while there are messages, with our share of the lanes. Raises what the authority raises."""
        if not self._wanted:
            if self.group.joined and not self._queues.in_flight:
                await self.leave()
            return
        self._looked_s = self._monotonic()
        before = set(self.group.holds.values())
        trusted = self.group.trusted
        await self.group.look()
        if not trusted or not before.issuperset(self.group.holds.values()):
            self._queues.again = True
            self.wakes.feed()

    async def leave(self) -> None:
        """Others go on at once."""
        if self.group.joined:
            await self.group.leave()
            self._placement_news.committed()

    @property
    def _wanted(self) -> bool:
        if self._seen_s is None:
            return False
        return self._monotonic() - self._seen_s < IDLE_LEASES * self._config.lease_s

    def _lose(self, hold: Hold) -> None:
        self._queues.drop_lane(hold)
        self._parking.drop(hold.lane)
        self.wakes.look()

    def _idle(self, hold: Hold) -> None:
        if hold.leaving:
            self.wakes.look()

    # ---- reading

    async def next(self) -> Batch | None:
        """What is to be delivered next; None: nothing now. Called by one task. Raises what the authority raises."""
        while True:
            if self.group.joined and not self.group.trusted:
                self.wakes.look()
                return None
            if (batch := self._queues.batch()) is not None:
                return batch
            if self._queues.full or not await self._read():
                return None

    async def _read(self) -> bool:
        """One page, if there may be something to read."""
        if not self.group.joined:
            return await self._peek()
        if await self._intake.parked():
            self._queues.again = True
        if (parked := self._parking.due(self._ledger.now())) is not None:
            await self._intake.retry(parked)
            return True
        if not self._intake.walk.under_way and not self._begins():
            return False
        await self._intake.page()
        self._turned()
        return True

    async def _peek(self) -> bool:
        """Before we are a member: is there something to be one for?"""
        if not self._intake.walk.under_way and not self._begins():
            return False
        await self._intake.peek()
        if self._intake.seen:
            # What was seen is read when we have lanes.
            self._intake.walk.under_way = False
        self._turned()
        if self._intake.seen:
            self.wakes.look()
        return not self._intake.seen

    def _begins(self) -> bool:
        """Whether it is time for another walk; then it begins."""
        now = self._monotonic()
        again = self._queues.again or self._intake.outlet_is_back()
        if not again and not (now >= self._not_before_s and (self._news or now >= self._poll_s)):
            return False
        self._news = self._queues.again = False
        self._poll_s = now + self._interval_s
        self._began_s, self._pages = now, 0
        self._intake.begin()
        return True

    def _turned(self) -> None:
        """A page was read."""
        now = self._monotonic()
        self._pages += 1
        if self._intake.seen:
            self._seen_s = now
        if self._intake.walk.under_way:
            return
        if self._intake.found:
            self._gap_s = 0.0
        else:
            in_a_row = self._began_s - self._ended_s <= GAP_S_MAX
            self._gap_s = min(2 * self._gap_s, GAP_S_MAX) if in_a_row and self._gap_s else GAP_S
        self._ended_s = now
        if self._intake.elsewhere and now - self._looked_s >= self._config.poll_interval_s:
            self.wakes.look()  # whoever had those lanes may have gone
        long_s = (now - self._began_s) * (1 / FRUITLESS_DUTY - 1) if self._pages > 1 and self._gap_s else 0.0
        self._not_before_s = now + max(self._gap_s, long_s)

    # ---- delivering

    async def deliver(self, batch: Batch) -> None:
        """Publish, and hand over to the marker what became of it. Raises SinkUnavailable; then it goes out later."""
        if not self.group.trusted or not batch.usable:
            batch.outlet.end()
            self._give_back(batch)
            self.wakes.look()
            return
        reach("outbox.publish.before")
        try:
            receipts = await batch.outlet.publish(batch.deliveries)
        except BaseException:
            self._give_back(batch)
            raise
        reach("outbox.publish.after")
        self._settling.settle(batch, receipts)
        self.wakes.mark()

    def _give_back(self, batch: Batch) -> None:
        for part in batch.parts:
            self._queues.give_back(part.queue, [delivery.message for delivery in part.deliveries])
        self.wakes.feed()

    def _settled(self) -> None:
        self.wakes.feed()

    @property
    def _interval_s(self) -> float:
        """From one look for messages that nobody told of to the next. Who tells may come and go."""
        return self._config.poll_interval_s * (TOLD_FACTOR if self._placement_news.told else 1)

    def _monotonic(self) -> float:
        return self._ports.clock.monotonic()
