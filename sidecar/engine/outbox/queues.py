"""What a relay has in its hands: the next messages of some keys, and batches of them on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sidecar.core.outbox import Pending
from sidecar.core.sinks import Delivery
from sidecar.engine.outbox.group import Hold
from sidecar.engine.outbox.outlets import Outlet
from sidecar.engine.outbox.parking import At, Parked

BUFFERED_BYTES_MAX = 4 << 20
"""Of messages that wait in a relay's hands; beyond, each key has one there."""
OVERHEAD_BYTES = 500
"""Of a message besides its payload."""


@dataclass(slots=True, eq=False)
class Queue:
    """The next messages of a key. `last`: the id of the last that was read; `more`: others come behind it; `parked`: the
    message that held the key up; `under_way`: messages in flight: while there are any, no others of the key go out;
    `dropped`: what waits is not for us any more, or not now.
    """

    at: At
    hold: Hold
    outlet: Outlet
    last: str
    waiting: deque[Pending] = field(default_factory=deque)
    more: bool = False
    parked: Parked | None = None
    under_way: int = 0
    dropped: bool = False

    def delivery(self, message: Pending) -> Delivery:
        """A message, and how often it was tried."""
        tried = self.parked.attempts if self.parked is not None and self.parked.id == message.id else 0
        return Delivery(message, tried + 1)


@dataclass(slots=True)
class Part:
    """The messages of one key in a batch."""

    queue: Queue
    deliveries: list[Delivery]


@dataclass(slots=True, eq=False)
class Batch:
    """Messages that are published in one call."""

    outlet: Outlet
    parts: list[Part] = field(default_factory=list)

    @property
    def deliveries(self) -> Sequence[Delivery]:
        """All of them."""
        return [delivery for part in self.parts for delivery in part.deliveries]

    @property
    def usable(self) -> bool:
        """Whether all of it is still ours."""
        return not any(part.queue.hold.lost for part in self.parts)


class Queues:
    """The keys in a relay's hands. Never two batches hold the same key."""

    def __init__(self, in_flight_max: int, *, idle: Callable[[Hold], None]) -> None:
        """`idle` hears that nothing of a lane is under way any more."""
        self.in_flight = 0
        self.again = False
        """Messages were seen that are not in our hands: the walk is to come by again."""
        self.freed: set[At] = set()
        """Keys that were in our hands since the latest reading began: what it shows of them may be delivered already."""
        self._in_flight_max = in_flight_max
        self._idle = idle
        self._tracked: dict[At, Queue] = {}
        self._ready: dict[Outlet, deque[Queue]] = {}
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether no more may be in flight."""
        return self.in_flight >= self._in_flight_max

    @property
    def movable(self) -> bool:
        """Whether something could go out now, as soon as there is room."""
        return any(ready and outlet.ready for outlet, ready in self._ready.items())

    def get(self, at: At) -> Queue | None:
        """The queue of a key."""
        return self._tracked.get(at)

    def add(self, queue: Queue, messages: Iterable[Pending]) -> None:
        """A key that is not in our hands yet, with its first messages."""
        assert queue.at not in self._tracked, "a key has one queue"
        for message in messages:
            if queue.waiting and self._bytes > BUFFERED_BYTES_MAX:
                queue.more = True
                break
            queue.waiting.append(message)
            queue.last = message.id
            self._bytes += _size(message)
        self._tracked[queue.at] = queue
        self._ready.setdefault(queue.outlet, deque()).append(queue)

    def batch(self) -> Batch | None:
        """The next messages for an outlet that is ready, as many as may be in flight."""
        room = self._in_flight_max - self.in_flight
        if room <= 0:
            return None
        for outlet, ready in list(self._ready.items()):
            if not outlet.ready:
                continue
            # Half of the room at once: while one batch is stored, another is published.
            limit = min(room, outlet.batch_max, max(self._in_flight_max // 2, 1))
            if parts := self._parts(ready, limit):
                # Its turn is after the others'.
                self._ready[outlet] = self._ready.pop(outlet)
                outlet.begin()
                return Batch(outlet, parts)
            del self._ready[outlet]
        return None

    def give_back(self, queue: Queue, messages: Sequence[Pending]) -> None:
        """They did not go out, and are the next again."""
        if not queue.dropped:
            queue.waiting.extendleft(reversed(messages))
            self._bytes += sum(map(_size, messages))
        self.settled(queue, len(messages))

    def settled(self, queue: Queue, count: int) -> None:
        """So many are not in flight any more. The key is free when none is."""
        self.in_flight -= count
        queue.under_way -= count
        if queue.under_way:
            return
        queue.hold.busy -= 1
        if not queue.dropped and queue.waiting and queue.hold.usable:
            self._ready.setdefault(queue.outlet, deque()).append(queue)
        else:
            self._remove(queue)
        if not queue.hold.busy:
            self._idle(queue.hold)

    def drop(self, queue: Queue) -> None:
        """What waits of a key is not to go out now."""
        queue.dropped = True
        self._bytes -= sum(map(_size, queue.waiting))
        queue.waiting.clear()
        if not queue.under_way:
            self._remove(queue)

    def drop_lane(self, hold: Hold) -> None:
        """A lane is another's."""
        for queue in [queue for queue in self._tracked.values() if queue.hold is hold]:
            self.drop(queue)

    def _parts(self, ready: deque[Queue], limit: int) -> list[Part]:
        parts: list[Part] = []
        while ready and limit:
            queue = ready.popleft()
            if queue.dropped:
                continue
            if not queue.hold.usable:
                self.drop(queue)
                continue
            count = min(limit, len(queue.waiting))
            messages = [queue.waiting.popleft() for _ in range(count)]
            self._bytes -= sum(map(_size, messages))
            parts.append(Part(queue, [queue.delivery(message) for message in messages]))
            queue.under_way = count
            queue.hold.busy += 1
            self.in_flight += count
            limit -= count
        return parts

    def _remove(self, queue: Queue) -> None:
        del self._tracked[queue.at]
        self.freed.add(queue.at)
        self.again = self.again or queue.more


def _size(message: Pending) -> int:
    return len(message.payload) + OVERHEAD_BYTES
