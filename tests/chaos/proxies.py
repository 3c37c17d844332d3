"""TCP proxies between a daemon and a backend, which a test cuts, mutes, slows down and refuses while they run.

They know nothing of what they forward. All of them live in one event loop in a thread of its own; what is asked of them
may be asked from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Self, TypeVar

import uvloop

PATIENCE_S = 10.0
UP, DOWN = "up", "down"
"""From the daemon to the backend, and back."""
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What becomes of the bytes. Whatever was lost is never delivered later: the connection is reset at the next rule.

    `lost`: directions whose bytes vanish. `mute`: new connections are accepted, and nobody is behind them.
    `replies_bytes_max`: a connection is reset when it brought more than so many bytes down under this rule.
    `replies_lost`: the share of bursts from the backend instead of which the connection is reset.
    """

    lost: frozenset[str] = frozenset()
    mute: bool = False
    replies_bytes_max: int | None = None
    replies_lost: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None

    @property
    def timed(self) -> bool:
        """Whether bytes wait."""
        return bool(self.delay_s or self.jitter_s or self.bytes_per_s)


PASSING = Rule()


class ProxyLoop:
    """The thread with the event loop of all proxies."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that runs there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)


class Proxy:
    """Listens on `host`, on the port that is asked for (0: a free one), and forwards to `target`.

    `seen` counts what the rules did: connections accepted, refused, reset, muted; bytes lost, delayed.
    """

    def __init__(self, loop: ProxyLoop, target: tuple[str, int], *, host: str, port: int, seed: int) -> None:
        self.host = host
        self.port = port
        self.seen: Counter[str] = Counter()
        self.rule = PASSING
        self.target = target
        self.random = Random(seed)
        self.links: set[_Link] = set()
        self._loop = loop
        self._server: asyncio.Server | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._loop.run(self._listen())

    def stop(self) -> None:
        """Cut every connection and stop listening."""
        self._loop.run(self._stop())

    def set(self, rule: Rule) -> None:
        """From now on the bytes go by this rule. Connections that lost some end."""
        self._loop.run(self._set(rule))

    def cut(self) -> int:
        """Reset every connection that is open now; how many there were."""
        return self._loop.run(self._cut())

    def refuse(self) -> None:
        """Reset what is open, and have the machine refuse connections until `accept`."""
        self._loop.run(self._stop())

    def accept(self) -> None:
        """Listen again. Without effect while it does."""
        if self._server is None:
            self.start()

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return self._server is not None

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), self.host, self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self._cut()

    async def _cut(self) -> int:
        links = list(self.links)
        for link in links:
            link.reset()
        self.seen["reset"] += len(links)
        return len(links)

    async def _set(self, rule: Rule) -> None:
        self.rule = rule
        for link in list(self.links):
            link.brought = 0
            if link.spoilt:
                link.reset()


class _Link:
    """A connection of the daemon's, and the one to the backend that was opened for it."""

    def __init__(self, proxy: Proxy, client: asyncio.Transport) -> None:
        self.proxy = proxy
        self.spoilt = False
        self.brought = 0
        self._client: asyncio.Transport | None = client
        self._server: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._free_at = {UP: 0.0, DOWN: 0.0}
        self._delayed: dict[str, deque[bytes]] = {UP: deque(), DOWN: deque()}
        self._loop = asyncio.get_running_loop()
        proxy.links.add(self)

    def connected(self, server: asyncio.Transport) -> None:
        """The backend has accepted."""
        self._server = server
        early, self._early = self._early, []
        for data in early:
            self._write(UP, data)

    def forward(self, direction: str, data: bytes) -> None:
        """Bytes that came, by the rule that holds now."""
        proxy, rule = self.proxy, self.proxy.rule
        if direction in rule.lost or self.spoilt:
            self.spoilt = True
            proxy.seen["bytes lost"] += len(data)
            return
        if direction == DOWN and self._cuts(rule, len(data)):
            proxy.seen["replies lost"] += 1
            self.reset()
            return
        now = self._loop.time()
        if rule.timed or self._delayed[direction]:
            self._later(direction, data, rule, now)
        else:
            self._write(direction, data)

    def _cuts(self, rule: Rule, size: int) -> bool:
        self.brought += size
        too_much = rule.replies_bytes_max is not None and self.brought > rule.replies_bytes_max
        return too_much or (rule.replies_lost > 0 and self.proxy.random.random() < rule.replies_lost)

    def _later(self, direction: str, data: bytes, rule: Rule, now: float) -> None:
        begin = max(self._free_at[direction], now)
        if rule.bytes_per_s:
            begin += len(data) / rule.bytes_per_s
        arrival = max(begin, now + max(0.0, rule.delay_s + self.proxy.random.uniform(-1, 1) * rule.jitter_s))
        self._free_at[direction] = arrival
        self.proxy.seen["bytes delayed"] += len(data)
        # Not with its data: timers of one millisecond may come in any order, and the bytes of a stream may not.
        self._delayed[direction].append(data)
        self._loop.call_at(arrival, self._write_next, direction)

    def _write_next(self, direction: str) -> None:
        self._write(direction, self._delayed[direction].popleft())

    def _write(self, direction: str, data: bytes) -> None:
        if direction == UP and self._server is None and self._client is not None:
            self._early.append(data)
            return
        transport = self._server if direction == UP else self._client
        if transport is not None:
            transport.write(data)

    def ended(self, side: str) -> None:
        """One side has gone. While bytes are lost, so is the word of that; what is on its way up arrives before it."""
        if side == UP:
            self._client = None
        else:
            self._server = None
        now = self._loop.time()
        if self.proxy.rule.lost or self.spoilt:
            self.spoilt = True
        elif side == UP and self._free_at[UP] > now:
            self._loop.call_at(self._free_at[UP] + 0.001, self.reset)
        else:
            self.reset()

    def reset(self) -> None:
        """Both connections end at once."""
        self.proxy.links.discard(self)
        self.spoilt = True
        for transport in (self._client, self._server):
            if transport is not None:
                _reset(transport)
        self._client = self._server = None


class _Client(asyncio.Protocol):
    """What the daemon connects to."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._link: _Link | None = None
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._proxy.seen["accepted"] += 1
        self._link = _Link(self._proxy, transport)
        if self._proxy.rule.mute:
            self._proxy.seen["muted"] += 1
            self._link.spoilt = True
            return
        self._dialling = asyncio.get_running_loop().create_task(self._dial(self._link))

    async def _dial(self, link: _Link) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Server(link), *self._proxy.target)
        except OSError:
            self._proxy.seen["unanswered"] += 1
            link.reset()

    def data_received(self, data: bytes) -> None:
        assert self._link is not None
        self._link.forward(UP, data)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._link is not None
        self._link.ended(UP)


class _Server(asyncio.Protocol):
    """What was dialled for it."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    def connection_made(self, transport: Any) -> None:
        if self._link not in self._link.proxy.links:
            _reset(transport)
        else:
            self._link.connected(transport)

    def data_received(self, data: bytes) -> None:
        self._link.forward(DOWN, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.ended(DOWN)


def _reset(transport: asyncio.Transport) -> None:
    connected = transport.get_extra_info("socket")
    try:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    except OSError:  # it has ended by itself
        return
    finally:
        transport.abort()
