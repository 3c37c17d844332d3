"""One connection, on which the commands of many callers are under way at once, answered in order.

A call is written whole, and its replies are read here, not by the caller: one that was cancelled in the meantime is
simply not told, and nobody can come to read another's reply. What can't be the reply that is due, and silence while one
is due, end the connection and with it every call under way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from sidecar.core.cache import CacheUnavailable
from sidecar.stores.memcached import protocol
from sidecar.stores.memcached.protocol import Command, Parser, Reply, Violation

CALLS_MAX = 1024
"""Calls under way on a connection."""
UNSENT_BYTES_MAX = 16 << 20
"""What may wait to be sent when another call begins."""
PATIENCE = 5
"""How many times the timeout a call may take while its replies come, as large ones do. Silence ends it after one."""
GREETING_VALUE_BYTES_MAX = 64 * 1024
"""Until the server's own bound is known."""


class _Call:
    """Commands that were sent, and the replies so far."""

    __slots__ = ("commands", "future", "number", "replies", "send_time")

    def __init__(
        self, commands: Sequence[Command], number: int, send_time: float, future: asyncio.Future[list[Reply]]
    ) -> None:
        self.commands = commands
        self.number = number
        self.send_time = send_time
        self.future = future
        self.replies: list[Reply] = []


class Connection(asyncio.Protocol):
    """A connection to the server called `name`. `process` names the process at its other end, once that is known.

    `lost` hears when it has ended, and the complaint if that was because the server is silent.
    """

    def __init__(self, name: str, *, timeout_s: float, lost: Callable[[Connection, str], None]) -> None:
        self.name = name
        self.process = ""
        self.item_bytes_max = GREETING_VALUE_BYTES_MAX
        self.usable = False
        self._complaint = f"memcached {name} is not connected"
        self._timeout_s = timeout_s
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = Parser(value_bytes_max=GREETING_VALUE_BYTES_MAX)
        self._calls: deque[_Call] = deque()
        self._number = 0
        self._heard_time = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def under_way(self) -> int:
        """Calls that wait for replies."""
        return len(self._calls)

    def allow_items(self, item_bytes_max: int) -> None:
        """The server's bound of an item: no value that it sends is larger."""
        self.item_bytes_max = self._parser.value_bytes_max = item_bytes_max

    def call(self, commands: Sequence[Command]) -> asyncio.Future[list[Reply]]:
        """Send commands; their replies, in order. Raises CacheUnavailable, now or when awaited."""
        transport = self._transport
        if not self.usable or transport is None:
            raise CacheUnavailable(self._complaint)
        if len(self._calls) >= CALLS_MAX or transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            raise CacheUnavailable(f"memcached {self.name} does not keep up: too much is under way to it")
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        if not commands:
            future.set_result([])
            return future
        self._calls.append(_Call(commands, self._number, self._loop.time(), future))
        transport.write(protocol.encode(commands, self._number))
        self._number += len(commands)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look_at_the_time)
        return future

    def close(self, reason: str = "the connection was closed", *, silent: bool = False) -> None:
        """End at once; calls under way fail. Idempotent."""
        complaint = f"memcached {self.name}: {reason}"
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        calls, self._calls = self._calls, deque()
        for call in calls:
            if not call.future.done():
                call.future.set_exception(CacheUnavailable(complaint))
        if self.usable:
            self.usable, self._complaint = False, complaint
            self._lost(self, complaint if silent else "")

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self.close("it has closed the connection" if exc is None else f"the connection broke ({exc})")

    def data_received(self, data: bytes) -> None:
        """Give replies to those they are for."""
        self._heard_time = self._loop.time()
        try:
            for reply in self._parser.feed(data):
                self._received(reply)
        except Violation as exc:
            # What it said is told only of a server that we don't know yet: later it could be someone's value.
            said = "its replies are out of order" if self.process else f"it does not speak memcached's protocol: {exc}"
            self.close(said)

    def _received(self, reply: Reply) -> None:
        if not self._calls:
            raise Violation(f"{reply.value[:40]!a} unasked")
        call = self._calls[0]
        place = len(call.replies)
        if not protocol.answers(reply, call.commands[place], call.number + place):
            raise Violation(f"{reply.code!a} {reply.value[:40]!a}")
        call.replies.append(reply)
        if len(call.replies) == len(call.commands):
            self._calls.popleft()
            if not call.future.done():
                call.future.set_result(call.replies)

    def _look_at_the_time(self) -> None:
        self._timer = None
        if self._calls:
            sent = self._calls[0].send_time
            due = min(max(sent, self._heard_time) + self._timeout_s, sent + PATIENCE * self._timeout_s)
            if due <= self._loop.time():
                self.close(f"it does not answer within {self._timeout_s:g} s", silent=True)
            else:
                self._timer = self._loop.call_at(due, self._look_at_the_time)
