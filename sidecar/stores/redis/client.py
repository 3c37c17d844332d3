"""A client of Redis for scripts and plain reads: one server, the primary that sentinels name, or a Cluster.

It is built on hiredis' parser and connections that concurrent callers share, not on redis-py's pools: nothing is retried, a
cancelled call can't displace another's reply, and a read costs little beside its round trip (bench/redis.py).

Each call ends within `timeout_s` to connect and `timeout_s` to be answered. What raises:

- RedisUnavailable: nothing was executed. While no connection can be opened, at most one attempt a second is made.
- RedisOutcomeUnknown, one of these: it was sent, and may have been executed.
- RedisRefused: Redis answered with an error; `code` is its first word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.core.observed import Pool
from sidecar.core.ports import Clock
from sidecar.stores.redis.cluster import Cluster, Command
from sidecar.stores.redis.connection import INFO, Connection, Process, connect, identify, info_fields, process_of
from sidecar.stores.redis.errors import RedisOutcomeUnknown, RedisRefused, RedisUnavailable
from sidecar.stores.redis.node import Node, primary_only
from sidecar.stores.redis.script import Argument, Call, Script, load_script, pack
from sidecar.stores.redis.sentinels import primary_of
from sidecar.stores.redis.target import Endpoint, RedisTarget, Topology

__all__ = [
    "Argument",
    "Call",
    "Process",
    "RedisClient",
    "RedisOutcomeUnknown",
    "RedisRefused",
    "RedisUnavailable",
    "Script",
    "ServerInfo",
    "load_script",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """A primary as it tells of itself. `slot`: the first of those that it has in a Cluster, else None."""

    address: str
    slot: int | None
    process: Process
    fields: dict[str, str]
    """INFO's sections server, replication, memory, persistence: run_id, master_replid, maxmemory_policy and so on."""


class RedisClient:
    """Connects when first used, and again when a connection was lost."""

    def __init__(self, target: RedisTarget, *, clock: Clock, timeout_s: float = 2.0, connections_max: int = 16) -> None:
        self.target = target
        self._clock = clock
        self._timeout_s = timeout_s
        self._connections_max = connections_max
        self._node: Node | None = None
        self._cluster: Cluster | None = None
        if target.topology is Topology.CLUSTER:
            self._cluster = Cluster(target.endpoints, self._cluster_node, clock=clock, timeout_s=timeout_s)
        else:
            self._node = self._made_node(self._open_primary)

    @property
    def pool(self) -> Pool:
        """The connections to all nodes. Those that listen are not among them."""
        nodes = self._cluster.nodes() if self._cluster is not None else [self._node]
        pools = [node.pool for node in nodes if node is not None]
        return Pool(
            in_use=sum(pool.in_use for pool in pools),
            idle=sum(pool.idle for pool in pools),
            size_max=self._connections_max * len(pools),
        )

    # ---- commands

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Argument] = ()) -> Any:
        """Run a script on keys of one slot: its reply. Loads it where it is missing, which executes nothing twice."""
        key, call = keys[0], (keys, args)
        try:
            return await self._call(key, script.by_sha(call))
        except RedisRefused as exc:
            if exc.code != "NOSCRIPT":
                raise
        return await self._call(key, script.by_source(call))

    async def run_many(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Run a script for each call, in order on each node and in one round trip a node: replies, refusals among them.

        Each runs by itself: others may come between. RedisUnavailable may come after some were executed.
        """
        replies = await self._call_many([(call[0][0], script.by_sha(call)) for call in calls])
        missing = [index for index, reply in enumerate(replies) if _is_refused(reply, "NOSCRIPT")]
        if missing:
            again = await self._call_many([(calls[index][0][0], script.by_source(calls[index])) for index in missing])
            for index, reply in zip(missing, again, strict=True):
                replies[index] = reply
        return replies

    async def mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, of whatever slots; None where there is none."""
        return (await self.read(keys))[0]

    async def read(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], Collection[Process]]:
        """The values of keys, of whatever slots, None where there is none; and which processes have answered."""
        if self._node is not None and keys:
            connection = self._node.ready() or await self._node.connection()
            if len(keys) == 1:
                return [await connection.call(pack((b"GET", keys[0])))], (connection.process,)
            return await connection.call(pack((b"MGET", *keys))), (connection.process,)
        processes: set[Process] = set()
        replies = await self._call_many([(key, pack((b"GET", key))) for key in keys], processes)
        for reply in replies:
            if isinstance(reply, RedisRefused):
                raise reply
        return replies, processes

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Remove keys, of whatever slots. Their memory is freed beside the commands (UNLINK)."""
        for reply in await self._call_many([(key, pack((b"UNLINK", key))) for key in keys]):
            if isinstance(reply, RedisRefused):
                raise reply

    async def publish(self, channel: bytes, payloads: Sequence[bytes]) -> None:
        """Send messages to all who listen now, anywhere in a Cluster."""
        if payloads:
            connection = await self._any()
            for reply in await connection.call_many([pack((b"PUBLISH", channel, one)) for one in payloads]):
                if isinstance(reply, RedisRefused):
                    raise reply

    async def servers(self) -> list[ServerInfo]:
        """Every primary that has keys, as it tells of itself now."""
        if self._cluster is None:
            assert self._node is not None
            connection = self._node.ready() or await self._node.connection()
            return [await self._told(connection, None)]
        primaries = await self._cluster.primaries()
        return list(await asyncio.gather(*(self._told(connection, slot) for connection, slot in primaries)))

    async def ask_servers(self, commands: Sequence[bytes]) -> list[tuple[str, list[Any]]]:
        """Of every primary that has keys its address and its replies to packed commands, refusals among them."""
        if self._cluster is None:
            connections = [await self._any()]
        else:
            connections = [connection for connection, _ in await self._cluster.primaries()]
        return [(str(one.endpoint), await one.call_many(commands)) for one in connections]

    async def _told(self, connection: Connection, slot: int | None) -> ServerInfo:
        fields = info_fields(await connection.call_many(INFO))
        info = ServerInfo(address=str(connection.endpoint), slot=slot, process=process_of(fields), fields=fields)
        if fields.get("role") != "master":
            # Made a replica while we were connected: what it holds may be old from now on.
            self.disconnect()
            raise RedisUnavailable(f"{info.address} is a replica, and its data may be old: name the primary")
        if info.process != connection.process:
            # The same process with a new history, of which our connections don't know.
            self.disconnect()
        return info

    # ---- connections

    async def subscribed(self, channel: bytes, pushed: Callable[[Any], None]) -> Connection:
        """A connection of its own, whose messages are pushed; the caller aborts it. Raises RedisUnavailable."""
        if self._cluster is None:
            connection = await self._open_primary()
        else:
            connection = await self._open((await self._cluster.any()).endpoint, cluster=True)
        connection.pushed = pushed
        connection.send(pack((b"SUBSCRIBE", channel)))
        return connection

    def disconnect(self) -> None:
        """Let all connections go once they have answered, after a reply that can't be right."""
        for node in (self._node,) if self._cluster is None else self._cluster.nodes():
            if node is not None:
                node.retire()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        if self._node is not None:
            await self._node.close()
        if self._cluster is not None:
            await self._cluster.close()

    async def _call(self, key: bytes, command: bytes) -> Any:
        if self._node is not None:
            connection = self._node.ready() or await self._node.connection()
            return await connection.call(command)
        assert self._cluster is not None
        return await self._cluster.call(key, command)

    async def _call_many(self, commands: Sequence[Command], processes: set[Process] | None = None) -> list[Any]:
        if not commands:
            return []
        if self._node is not None:
            connection = self._node.ready() or await self._node.connection()
            return await connection.call_many([command for _, command in commands])
        assert self._cluster is not None
        return await self._cluster.call_many(commands, processes)

    async def _any(self) -> Connection:
        if self._node is not None:
            return self._node.ready() or await self._node.connection()
        assert self._cluster is not None
        return await self._cluster.any()

    def _made_node(self, open_one: Callable[[], Any]) -> Node:
        return Node(open_one, clock=self._clock, timeout_s=self._timeout_s, connections_max=self._connections_max)

    def _cluster_node(self, endpoint: Endpoint) -> Node:
        return self._made_node(lambda: self._open(endpoint, cluster=True))

    async def _open(self, endpoint: Endpoint, *, cluster: bool = False, timeout_s: float | None = None) -> Connection:
        connection, hello = await connect(
            endpoint, self.target, timeout_s=self._timeout_s, open_s=timeout_s or self._timeout_s
        )
        return await identify(primary_only(connection, hello, cluster=cluster))

    async def _open_primary(self) -> Connection:
        if self.target.topology is Topology.SENTINEL:
            # Each of them may hang, and there is time left for the primary.
            part_s = self._timeout_s / (len(self.target.endpoints) + 1)
            endpoint = await primary_of(self.target, timeout_s=part_s)
            return await self._open(endpoint, timeout_s=part_s)
        return await self._open(self.target.endpoints[0])


def _is_refused(reply: object, code: str) -> bool:
    return isinstance(reply, RedisRefused) and reply.code == code
