"""What a relay takes into its hands: of what it reads, the messages of keys that are its to deliver, and free."""

from __future__ import annotations

from dataclasses import replace

from sidecar.core.errors import DataLoss
from sidecar.core.ledger import PARKED
from sidecar.core.operations import Forget
from sidecar.core.outbox import Pending
from sidecar.engine.outbox.group import Group, Hold
from sidecar.engine.outbox.marker import Mark, Marker
from sidecar.engine.outbox.outlets import Outlet, Source
from sidecar.engine.outbox.parking import Parked, Parking
from sidecar.engine.outbox.queues import Queue, Queues
from sidecar.engine.outbox.walk import Run, Walk
from sidecar.tiers.ledger import Ledger

PARKED_PAGE = 500
BROKEN_REST_MS = 60_000
"""A key whose next message can't be read is looked at again after that."""
LATER_MS = 100
"""A key that may be tried again, but not at this moment."""


class Intake:
    """Reads, a page at a time, what may be delivered. Errors are those of the Store port."""

    def __init__(
        self, source: Source, *, group: Group, queues: Queues, parking: Parking, marker: Marker, ledger: Ledger
    ) -> None:
        self.walk = Walk(ledger, source.prefixes, self._passes_by)
        self.found = 0
        """Messages that were taken in since the walk began."""
        self.seen = False
        """Whether a message of ours was seen since then, whoever has its lane."""
        self.elsewhere = False
        """Whether some were in lanes that are not ours."""
        self.broken = 0
        """Messages that could not be read, since the start."""
        self._source = source
        self._group = group
        self._queues = queues
        self._parking = parking
        self._marker = marker
        self._ledger = ledger
        self._passed_over: set[Outlet] = set()

    def begin(self) -> None:
        """Walk from the beginning."""
        self.walk.begin()
        self.found, self.seen, self.elsewhere = 0, False, False

    def outlet_is_back(self) -> bool:
        """Whether messages were passed over for an outlet that takes some now."""
        back = {outlet for outlet in self._passed_over if outlet.ready}
        self._passed_over -= back
        return bool(back)

    async def peek(self) -> None:
        """Only see whether something waits."""
        for run in await self.walk.step(keys_only=True):
            if self._source.outlet(run.namespace) is None:
                self.walk.leave_namespace(run.namespace)
            else:
                self.seen = True

    async def parked(self) -> bool:
        """Read which keys of lanes that are new to us are held up. Whether there were such lanes."""
        fresh = [hold for hold in self._group.holds.values() if not hold.loaded]
        if not fresh:
            return False
        lanes = {hold.lane for hold in fresh}
        for prefix in self._source.prefixes:
            after: str | None = None
            while True:
                page = await self._ledger.scan(_parked_beside(prefix), after=after, limit=PARKED_PAGE)
                for row in page.entries:
                    self._recall(Parked.decode(row), lanes)
                if not page.more:
                    break
                after = page.entries[-1].key
        for hold in fresh:
            hold.loaded = True
        return True

    def _recall(self, parked: Parked, lanes: set[str]) -> None:
        ours = parked.order[0] in lanes and self._source.outlet(parked.namespace) is not None
        if ours and self._source.wants(parked.topic):
            self._parking.add(parked)

    async def page(self) -> None:
        """The walk's next page."""
        self._queues.freed.clear()
        for run in await self.walk.step():
            await self._offer(run)

    async def retry(self, parked: Parked) -> None:
        """A key that was held up."""
        namespace, order = parked.at
        outlet = self._source.outlet(namespace)
        if outlet is None or self._hold_of(order) is None:
            return
        if self._queues.get(parked.at) is not None or not outlet.ready:
            later_ms = max(LATER_MS, int(outlet.rest_left_s * 1000))
            self._parking.add(replace(parked, until=self._ledger.now() + later_ms))
            return
        self._queues.freed.clear()
        try:
            run = await self.walk.order(namespace, order)
        except BaseException:
            self._parking.add(parked)
            raise
        hold = self._hold_of(order)
        if hold is not None:
            await self._take(run, hold, outlet, parked)

    # ----

    def _passes_by(self, namespace: str, order: str) -> bool:
        """Whether what is read of a key is of no use now."""
        at = (namespace, order)
        return at in self._parking or self._queues.get(at) is not None or self._hold_of(order) is None

    def _hold_of(self, order: str) -> Hold | None:
        hold = self._group.holds.get(order[0])
        return hold if hold is not None and hold.usable and hold.loaded else None

    async def _offer(self, run: Run) -> None:
        outlet = self._source.outlet(run.namespace)
        if outlet is None:
            self.walk.leave_namespace(run.namespace)
            return
        self.seen = True
        hold = self._hold_of(run.order)
        at = (run.namespace, run.order)
        if hold is None:
            self.elsewhere = True
            self.walk.leave_lane(run.namespace, run.order)
        elif not outlet.ready:
            self._passed_over.add(outlet)
            self.walk.leave_namespace(run.namespace)
        elif (queue := self._queues.get(at)) is not None:
            newest = run.rows[-1].key.rpartition("/")[2] if run.rows else ""
            queue.more = queue.more or run.cut or newest > queue.last
        elif at in self._queues.freed:
            self._queues.again = True
        elif at not in self._parking and not self._parking.full(run.namespace, run.order[0]):
            await self._take(run, hold, outlet, None)

    async def _take(self, run: Run, hold: Hold, outlet: Outlet, parked: Parked | None) -> None:
        if parked is not None and parked.id and _is_gone(parked, run):
            # Somebody else has delivered it: consumers of other topics that include its.
            self._marker.add(Mark(hold, (Forget(key=parked.key),), lambda _: None))
        while True:
            messages, reason = self._decoded(run)
            if reason and not messages:
                self.broken += 1
                self._hold_up(run, parked, reason)
                return
            cut = run.cut or bool(reason)
            wanted = [message for message in messages if self._source.wants(message.topic)]
            if wanted:
                queue = Queue((run.namespace, run.order), hold, outlet, last="", more=cut, parked=parked)
                self._queues.add(queue, wanted)
                self.found += len(queue.waiting)
            if wanted or not cut or not messages:
                return
            # All of other topics: ours, if there are any, are behind them.
            run = await self.walk.order(run.namespace, run.order, after=messages[-1].row)
            if hold.lost:
                return

    def _decoded(self, run: Run) -> tuple[list[Pending], str]:
        """Messages up to the first that can't be read, and why it can't."""
        messages: list[Pending] = []
        for row in run.rows:
            try:
                messages.append(Pending.decode(row))
            except DataLoss as exc:
                return messages, exc.message
        return messages, run.broken

    def _hold_up(self, run: Run, parked: Parked | None, reason: str) -> None:
        until = self._ledger.now() + BROKEN_REST_MS
        known = parked or Parked(
            namespace=run.namespace, order=run.order, id="", topic="", attempts=0, until=0, reason=""
        )
        self._parking.add(replace(known, until=until, reason=reason))


def _is_gone(parked: Parked, run: Run) -> bool:
    ids = [row.key.rpartition("/")[2] for row in run.rows]
    return not run.broken and parked.id not in ids and not (run.cut and parked.id > ids[-1])


def _parked_beside(prefix: str) -> str:
    """Where it is told which of the keys of some messages are held up."""
    return PARKED + prefix[len(PARKED) :]
