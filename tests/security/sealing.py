"""For tests of encryption: daemons with keys, and everything that a caller can put into one, marked so that it can be found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from statesidecar.v1 import outbox_service_pb2 as outbox_pb
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.types_pb2 import OutboxMessage
from tests.support.daemon import RunningDaemon
from tests.support.keys import write_key

CANARY = b"canary-7c1d"
LARGE = CANARY + b"-large" * 400
APPENDING = pb.UpdateRequest(
    namespace="shop",
    key="list",
    append=pb.Append(items=[b'"%b"' % CANARY]),
    create=True,
    return_value=True,
    request_id="2",
)
"""Under a request id: what it answered, it answers again."""
NAMESPACES: dict[str, Any] = {
    "plans": {"kind": "process", "checkpoint": {"every": 2}, "large_value_bytes": 1000},
    "buffered": {"on_outage": "buffer"},
    "counters": {"authority": "hot"},
}
"""Of a daemon that has all kinds of rows: automatic checkpoints, values in cold, a journal, an authority that is hot."""


def embedded(directory: Path, **given: Any) -> dict[str, Any]:
    """Settings of a daemon whose tiers are files, with a key of its own."""
    write_key(directory / "keys", "first")
    tiers = {"warm": f"sqlite://{directory}/state.db", "cold": f"file://{directory}/cold"}
    encryption = {"keys": directory / "keys"}
    return {"tiers": tiers, "encryption": encryption, "namespaces": NAMESPACES} | given


async def write_everything(daemon: RunningDaemon) -> str:
    """Values in every kind of row; answers a checkpoint's id."""
    state = daemon.state
    message = OutboxMessage(topic="topic", payload=CANARY, content_type="text/plain")
    await state.Set(pb.SetRequest(namespace="shop", key="set", value=CANARY, request_id="1", outbox=[message]))
    await state.Update(APPENDING)
    for number in range(4):
        await state.Set(pb.SetRequest(namespace="plans", key="p/large", value=LARGE + b"%d" % number))
        await state.Set(pb.SetRequest(namespace="plans", key="p/small", value=CANARY + b"%d" % number))
    await state.Set(pb.SetRequest(namespace="counters", key="hot", value=CANARY))
    for namespace, key in (("shop", "set"), ("plans", "p/large"), ("counters", "hot")):
        await state.Get(pb.GetRequest(namespace=namespace, key=key))
    reply = await state.Checkpoint(pb.CheckpointRequest(namespace="plans", key_prefix="p/", label="label"))
    return str(reply.checkpoint.checkpoint_id)


async def read_everything(daemon: RunningDaemon, checkpoint: str) -> None:
    """What `write_everything` wrote is there, exactly."""
    state = daemon.state

    async def value(namespace: str, key: str) -> bytes:
        reply = await state.Get(pb.GetRequest(namespace=namespace, key=key, consistency="CONSISTENCY_STRONG"))
        return bytes(reply.entry.value)

    assert await value("shop", "set") == CANARY
    assert await value("shop", "list") == b'["%b"]' % CANARY
    assert await value("plans", "p/large") == LARGE + b"3"
    assert await value("plans", "p/small") == CANARY + b"3"
    page = await state.List(pb.ListRequest(namespace="plans"))
    assert [bytes(entry.value) for entry in page.entries] == [LARGE + b"3", CANARY + b"3"]
    kept = await state.GetCheckpoint(pb.GetCheckpointRequest(namespace="plans", checkpoint_id=checkpoint))
    assert [bytes(entry.value) for entry in kept.entries] == [LARGE + b"3", CANARY + b"3"]
    automatic = await state.ListCheckpoints(pb.ListCheckpointsRequest(namespace="plans", key="p/small"))
    oldest = automatic.checkpoints[-1]
    assert (oldest.automatic, oldest.value_bytes) == (True, len(CANARY) + 1)
    restored = await state.GetCheckpoint(pb.GetCheckpointRequest(namespace="plans", checkpoint_id=oldest.checkpoint_id))
    assert [bytes(entry.value) for entry in restored.entries] == [CANARY + b"1"]
    again = await state.Update(APPENDING)
    assert bytes(again.value) == b'["%b"]' % CANARY, "a repeated request id answers what it did"


async def consumed(daemon: RunningDaemon) -> bytes:
    """The payload of the message that waits in `shop`."""
    call = daemon.outbox.Consume()
    await call.write(outbox_pb.ConsumeRequest(namespace="shop"))
    async with asyncio.timeout(30):
        while True:
            reply = await call.read()
            assert reply is not grpc.aio.EOF
            for delivered in reply.messages:
                call.cancel()
                return bytes(delivered.message.payload)


def files_with(directory: Path, content: bytes) -> Iterator[Path]:
    """Files under a directory that hold some bytes."""
    return (path for path in directory.rglob("*") if path.is_file() and content in path.read_bytes())
