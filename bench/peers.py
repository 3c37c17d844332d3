"""What an application would use instead of us, each by its own library from the same process and event loop.

Redis by redis-py and redis.asyncio; PostgreSQL by psycopg over a pool; etcd over the same Python gRPC library, with the
few messages of its public API that are needed (Range and Put of etcdserverpb.KV).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import psycopg
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from servers.etcd import Etcd
from servers.postgres import Postgres

POOL_SIZE = 16
TIMEOUT_S = 5.0
CAS_TABLE = """
CREATE TABLE bare (key bytea PRIMARY KEY, value bytea NOT NULL, version bigint NOT NULL) WITH (fillfactor = 80)"""
CAS_INSERT = "INSERT INTO bare (key, value, version) VALUES (%b, %b, 1)"
CAS_UPDATE = "UPDATE bare SET value = %b, version = version + 1 WHERE key = %b AND version = %b RETURNING version"

_FIELD = descriptor_pb2.FieldDescriptorProto
# By message: the fields that we use, with the numbers of etcd's public API; what else comes is skipped.
_MESSAGES: dict[str, Sequence[tuple[str, int, int, str]]] = {
    "RangeRequest": (("key", 1, _FIELD.TYPE_BYTES, ""), ("serializable", 7, _FIELD.TYPE_BOOL, "")),
    "KeyValue": (
        ("key", 1, _FIELD.TYPE_BYTES, ""),
        ("mod_revision", 3, _FIELD.TYPE_INT64, ""),
        ("value", 5, _FIELD.TYPE_BYTES, ""),
    ),
    "RangeResponse": (("kvs", 2, _FIELD.TYPE_MESSAGE, "KeyValue"), ("count", 4, _FIELD.TYPE_INT64, "")),
    "PutRequest": (("key", 1, _FIELD.TYPE_BYTES, ""), ("value", 2, _FIELD.TYPE_BYTES, "")),
    "PutResponse": (),
}


def _etcd_messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="bench/etcd.proto", package="bench.etcd", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            label = _FIELD.LABEL_REPEATED if of else _FIELD.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            added.type = kind  # type: ignore[assignment]  # stubs tell an enum's number from an int
            if of:
                added.type_name = f".bench.etcd.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.etcd.{name}")) for name in _MESSAGES
    }


class EtcdClient:
    """Get and put of one key. A read is linearizable, as etcd's are unless asked otherwise; a write is synced to disk."""

    def __init__(self, server: Etcd) -> None:
        messages = _etcd_messages()
        self._range, self._put = messages["RangeRequest"], messages["PutRequest"]
        self.channel = grpc.aio.insecure_channel(server.address)
        self._get_rpc: Any = self.channel.unary_unary(
            "/etcdserverpb.KV/Range", self._range.SerializeToString, messages["RangeResponse"].FromString
        )
        self._put_rpc: Any = self.channel.unary_unary(
            "/etcdserverpb.KV/Put", self._put.SerializeToString, messages["PutResponse"].FromString
        )

    async def get(self, key: bytes) -> bytes:
        """A key's value. Raises IndexError for none."""
        response = await self._get_rpc(self._range(key=key), timeout=TIMEOUT_S)
        value: bytes = response.kvs[0].value
        return value

    async def put(self, key: bytes, value: bytes) -> None:
        """Write a key."""
        await self._put_rpc(self._put(key=key, value=value), timeout=TIMEOUT_S)


class Pool:
    """Connections in autocommit that are lent one at a time; psycopg prepares what it sees often."""

    def __init__(self, connections: Sequence[psycopg.AsyncConnection[Any]]) -> None:
        self._free: asyncio.LifoQueue[psycopg.AsyncConnection[Any]] = asyncio.LifoQueue()
        for connection in connections:
            self._free.put_nowait(connection)

    async def rows(self, statement: str, *parameters: object) -> list[Any]:
        """What one statement returns; [] of one that returns nothing."""
        connection = await self._free.get()
        try:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []
        finally:
            self._free.put_nowait(connection)

    async def cas(self, key: bytes, value: bytes, version: int) -> int:
        """The new version. Raises ValueError for a conflict."""
        [[changed]] = await self.rows(CAS_UPDATE, value, key, version)
        assert isinstance(changed, int)
        return changed


@asynccontextmanager
async def pool(server: Postgres, size: int = POOL_SIZE) -> AsyncIterator[Pool]:
    """A pool of psycopg's own connections."""
    connections = [await psycopg.AsyncConnection.connect(server.url(), autocommit=True) for _ in range(size)]
    try:
        yield Pool(connections)
    finally:
        for connection in connections:
            await connection.close()
