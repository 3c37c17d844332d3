"""A Cluster: which node has which slot, and following it where a slot has gone.

MOVED and ASK say that nothing was executed, so following them is routing and no retry. The map of slots is asked for anew
after a MOVED and when a node can't be reached, at most once a second.
"""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sidecar.core.ports import Clock
from sidecar.stores.redis.connection import Connection, Process
from sidecar.stores.redis.errors import RedisRefused, RedisUnavailable
from sidecar.stores.redis.node import RETRY_S, Node
from sidecar.stores.redis.script import pack
from sidecar.stores.redis.target import Endpoint

SLOTS = 16_384
REDIRECTIONS_MAX = 5
ASKED_PER_TIMEOUT = 3
"""Nodes that may hang, one after the other, before a call for the map gives up."""
_ASKING = pack((b"ASKING",))
_CLUSTER_SLOTS = pack((b"CLUSTER", b"SLOTS"))

Command = tuple[bytes, bytes]
"""A key that says the slot, and the packed command."""


def slot_of(key: bytes) -> int:
    """The slot of a key: CRC-16/XMODEM of it, or of its first non-empty {tag}."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


class Cluster:
    """The nodes of a Cluster, found through those of a URL."""

    def __init__(
        self, endpoints: Iterable[Endpoint], make: Callable[[Endpoint], Node], *, clock: Clock, timeout_s: float
    ) -> None:
        self._make = make
        self._monotonic = clock.monotonic
        self._timeout_s = timeout_s
        self._seeds = tuple(endpoints)
        self._nodes = {endpoint: make(endpoint) for endpoint in self._seeds}
        self._owners: list[Endpoint | None] = [None] * SLOTS
        self._known = False
        self._asked = -RETRY_S
        self._error = "no node of the Cluster was asked yet"
        self._lock = asyncio.Lock()

    # ---- calls

    async def call(self, key: bytes, command: bytes) -> Any:
        """Run one command where its key is. Raises RedisUnavailable, RedisOutcomeUnknown, RedisRefused."""
        (reply,) = await self.call_many([(key, command)])
        if isinstance(reply, RedisRefused):
            raise reply
        return reply

    async def call_many(self, commands: Sequence[Command], processes: set[Process] | None = None) -> list[Any]:
        """Run commands, those of a node in one round trip, nodes at the same time. Their replies, refusals among them.

        `processes` is given those that have answered.
        Raises RedisUnavailable, RedisOutcomeUnknown if any node does.
        """
        replies: list[Any] = [None] * len(commands)
        left: list[tuple[int, Endpoint | None]] = [(index, None) for index in range(len(commands))]
        for _ in range(REDIRECTIONS_MAX):
            left = await self._round(commands, left, replies, processes)
            if not left:
                break
        return replies

    async def _round(
        self,
        commands: Sequence[Command],
        left: list[tuple[int, Endpoint | None]],
        replies: list[Any],
        processes: set[Process] | None,
    ) -> list[tuple[int, Endpoint | None]]:
        """Run what is left, each where it belongs or where ASK sent it; what was sent elsewhere again."""
        if not self._known:
            await self._find_out()
        groups: dict[tuple[Endpoint, bool], list[int]] = {}
        for index, asked in left:
            endpoint = asked or self._owners[slot_of(commands[index][0])]
            if endpoint is None:
                self._known = False
                raise RedisUnavailable("the Cluster has no node for the key's slot")
            groups.setdefault((endpoint, asked is not None), []).append(index)
        runs = [
            self._run(at, asking, [commands[index][1] for index in group], processes)
            for (at, asking), group in groups.items()
        ]
        answers = [await runs[0]] if len(runs) == 1 else await asyncio.gather(*runs, return_exceptions=True)
        elsewhere: list[tuple[int, Endpoint | None]] = []
        for ((at, _), group), answer in zip(groups.items(), answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            for index, reply in zip(group, answer, strict=True):
                replies[index] = reply
                if isinstance(reply, RedisRefused) and reply.code in ("MOVED", "ASK"):
                    elsewhere.append((index, self._redirected(reply, at)))
        return elsewhere

    async def _run(
        self, endpoint: Endpoint, asking: bool, commands: Sequence[bytes], processes: set[Process] | None
    ) -> list[Any]:
        connection = await self._connection(endpoint)
        if processes is not None:
            processes.add(connection.process)
        if asking:
            return (await connection.call_many([part for command in commands for part in (_ASKING, command)]))[1::2]
        return await connection.call_many(commands)

    async def _connection(self, endpoint: Endpoint) -> Connection:
        node = self._node(endpoint)
        try:
            return node.ready() or await node.connection()
        except RedisUnavailable:
            # Its slots may be another's by now, whom the next call asks.
            self._known = False
            raise

    def _redirected(self, reply: RedisRefused, source: Endpoint) -> Endpoint | None:
        _, slot, address = reply.reply.split()[:3]
        host, _, port = address.rpartition(":")
        endpoint = Endpoint(host.strip("[]") or source.host, int(port))
        if reply.code == "ASK":
            return endpoint
        self._owners[int(slot)] = endpoint
        # Where one slot went, others have gone.
        self._known = self._known and self._monotonic() < self._asked + RETRY_S
        return None

    def _node(self, endpoint: Endpoint) -> Node:
        node = self._nodes.get(endpoint)
        if node is None:
            node = self._nodes[endpoint] = self._make(endpoint)
        return node

    # ---- the map

    async def primaries(self) -> list[tuple[Connection, int]]:
        """A connection to each node that has slots, and its first one. Raises RedisUnavailable."""
        self._known = False
        await self._find_out()
        first: dict[Endpoint, int] = {}
        for slot, endpoint in enumerate(self._owners):
            if endpoint is not None:
                first.setdefault(endpoint, slot)
        connections = await asyncio.gather(*(self._connection(endpoint) for endpoint in first))
        return list(zip(connections, first.values(), strict=True))

    async def any(self) -> Connection:
        """A connection to some node. Raises RedisUnavailable."""
        error: RedisUnavailable | None = None
        for node in list(self._nodes.values()):
            try:
                return node.ready() or await node.connection()
            except RedisUnavailable as exc:
                error = exc
        raise error or RedisUnavailable(self._error)

    def nodes(self) -> list[Node]:
        """All that were ever heard of."""
        return list(self._nodes.values())

    async def _find_out(self) -> None:
        """Ask nodes for the map until one has it, all callers together. Raises RedisUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_s), self._lock:
                if not self._known and self._monotonic() >= self._asked + RETRY_S:
                    self._asked = self._monotonic()
                    await self._ask_nodes()
        except TimeoutError:
            self._error = f"no node of the Cluster has answered within {self._timeout_s:g} s"
        if not self._known and not any(self._owners):
            raise RedisUnavailable(self._error)

    async def _ask_nodes(self) -> None:
        for endpoint, node in sorted(self._nodes.items(), key=lambda pair: pair[1].ready() is None):
            try:
                async with asyncio.timeout(self._timeout_s / ASKED_PER_TIMEOUT):
                    answer = await (node.ready() or await node.connection()).call(_CLUSTER_SLOTS)
            except (RedisUnavailable, RedisRefused) as exc:
                self._error = str(exc)
            except TimeoutError:
                self._error = f"{endpoint} does not answer"
            else:
                if answer:
                    self._learn(answer, endpoint)
                    return
                self._error = f"{endpoint} is a node of a Cluster without slots"
            # Others are asked first the next time.
            self._nodes[endpoint] = self._nodes.pop(endpoint)

    def _learn(self, answer: list[Any], source: Endpoint) -> None:
        """CLUSTER SLOTS: [first, last, [host of the primary, port, ...], replicas ...] for each range."""
        owners: list[Endpoint | None] = [None] * SLOTS
        # Replicas too: they know the map when the primaries are gone.
        members = set(self._seeds)
        for first, last, *nodes in answer:
            endpoints = [Endpoint(host.decode() if host else source.host, port) for host, port, *_ in nodes]
            owners[first : last + 1] = [endpoints[0]] * (last + 1 - first)
            members.update(endpoints)
        self._owners = owners
        self._known = True
        for endpoint in members:
            self._node(endpoint)
        gone = [self._nodes.pop(endpoint) for endpoint in self._nodes.keys() - members]
        for node in gone:
            node.retire()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await asyncio.gather(*(node.close() for node in self._nodes.values()))
