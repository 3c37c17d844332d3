"""The Redis sink: streams as a consumer reads them, and servers that are full, replicas or hung."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from servers.base import shared
from servers.redis import SentinelRedis, Valkey
from sidecar.core.sinks import UNTRIED, Refused, Sink, SinkUnavailable
from sidecar.runtime.ports import SystemClock
from sidecar.sinks import build
from sidecar.sinks.events import published_id
from sidecar.sinks.redis import sink as module
from sidecar.stores.apps import prefix_of
from tests.sinks.messages import APP, deliveries, message


@asynccontextmanager
async def sink_of(url: str, app: str = APP) -> AsyncIterator[Sink]:
    sink = build(url, app=app, clock=SystemClock())
    try:
        yield sink
    finally:
        await sink.close()


@pytest.fixture
def stream() -> str:
    return f"stream/{uuid.uuid4().hex}"


async def test_an_entry_has_the_fields_of_its_message(stream: str) -> None:
    sent = message("k ü", payload=b"\xff\x00", content_type="", attributes={"b": "2", "a": "ü"})
    async with sink_of(f"{shared(Valkey).url}?stream={stream}") as sink:
        assert await sink.publish(deliveries([sent])) == [None]

    [[_, fields]] = shared(Valkey).ask("XRANGE", stream, "-", "+")
    assert fields == [
        *(b"id", published_id(APP, sent).encode()),
        *(b"namespace", sent.namespace.encode()),
        *(b"key", "k ü".encode()),
        *(b"version", str(sent.version).encode()),
        *(b"topic", b"orders.placed"),
        *(b"content_type", b""),
        *(b"commit_time_ms", str(sent.commit_time).encode()),
        *(b"payload", b"\xff\x00"),
        *(b"attr:a", "ü".encode()),
        *(b"attr:b", b"2"),
    ]


async def test_a_topic_has_a_stream_of_its_own_unless_one_is_named() -> None:
    app = uuid.uuid4().hex
    async with sink_of(shared(Valkey).url, app) as sink:
        assert await sink.publish(deliveries([message(topic="a"), message(topic="b/ü")])) == [None, None]

    for topic in ("a", "b/ü"):
        [[_, fields]] = shared(Valkey).ask("XRANGE", f"state-sidecar/{app}/{topic}", "-", "+")
        assert fields[fields.index(b"topic") + 1] == topic.encode()


async def test_a_stream_is_trimmed_where_that_was_asked_for(stream: str) -> None:
    async with sink_of(f"{shared(Valkey).url}?stream={stream}&maxlen=100") as sink:
        for _ in range(40):
            await sink.publish(deliveries([message(str(number)) for number in range(sink.batch_max)]))

    assert 100 <= shared(Valkey).ask("XLEN", stream) < 300


async def test_what_follows_in_another_topic_is_not_tried_either() -> None:
    app = uuid.uuid4().hex
    server = shared(Valkey)
    server.ask("SET", f"state-sidecar/{app}/taken", "a string")
    call = [message("k", topic="taken"), message("k", topic="free"), message("other", topic="free")]
    async with sink_of(server.url, app) as sink:
        refused, untried, other = await sink.publish(deliveries(call))

    assert isinstance(refused, Refused)
    assert "WRONGTYPE" in refused.reason
    assert not refused.permanent
    assert (untried, other) == (UNTRIED, None)
    assert server.ask("XLEN", f"state-sidecar/{app}/free") == 1


@pytest.fixture
async def own() -> AsyncIterator[Valkey]:
    server = await asyncio.to_thread(Valkey().start)
    yield server
    await asyncio.to_thread(server.stop)


async def test_a_server_that_is_full_is_an_outage_and_no_refusal(own: Valkey) -> None:
    async with sink_of(own.url) as sink:
        assert await sink.publish(deliveries([message()])) == [None]
        own.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(SinkUnavailable, match="is full"):
            await sink.publish(deliveries([message("a"), message("b")]))
        own.ask("CONFIG", "SET", "maxmemory", "0")
        assert await sink.publish(deliveries([message()])) == [None]


async def test_a_user_needs_no_more_than_the_document_says(own: Valkey) -> None:
    connecting = ("+hello", "+auth", "+client|setname", "+info", "+select")
    rights = (*connecting, "+evalsha", "+eval", "+xadd", "~state-sidecar/app/*")
    own.ask("ACL", "SETUSER", "sink", "on", ">hunter2", "resetchannels", "-@all", *rights)
    url = own.url.replace("redis://", "redis://sink:hunter2@")
    async with sink_of(url, "app") as sink:
        await sink.open()
        assert await sink.publish(deliveries([message(), message("b", topic="b")])) == [None, None]


async def test_a_stream_that_is_refused_us_refuses_its_messages_alone(own: Valkey) -> None:
    own.ask("ACL", "SETUSER", "sink", "on", ">hunter2", "resetchannels", "+@all", "~state-sidecar/app/free")
    url = own.url.replace("redis://", "redis://sink:hunter2@")
    async with sink_of(url, "app") as sink:
        call = [message("a", topic="taken"), message("a", topic="free"), message("b", topic="free")]
        refused, untried, other = await sink.publish(deliveries(call))
    assert isinstance(refused, Refused)
    assert not refused.permanent
    assert (untried, other) == (UNTRIED, None)
    assert own.ask("XLEN", "state-sidecar/app/free") == 1


@pytest.mark.parametrize("command", ["xadd", "evalsha"])
async def test_a_command_that_is_refused_us_is_an_outage(own: Valkey, command: str) -> None:
    own.ask("ACL", "SETUSER", "sink", "on", ">hunter2", "resetchannels", "~*", "+@all", f"-{command}")
    async with sink_of(own.url.replace("redis://", "redis://sink:hunter2@")) as sink:
        with pytest.raises(SinkUnavailable, match=command):
            await sink.publish(deliveries([message("a"), message("b")]))


async def test_a_server_that_becomes_a_replica_is_an_outage(own: Valkey) -> None:
    async with sink_of(own.url) as sink:
        await sink.open()
        own.ask("REPLICAOF", "127.0.0.1", shared(Valkey).port)
        with pytest.raises(SinkUnavailable, match="is a replica"):
            await sink.publish(deliveries([message()]))
        with pytest.raises(SinkUnavailable, match="is a replica"):
            await sink.open()


async def test_a_server_that_hangs_is_an_outage(own: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.5)
    async with sink_of(own.url) as sink:
        await sink.open()
        own.pause()
        with pytest.raises(SinkUnavailable, match="has not answered"):
            await sink.publish(deliveries([message()]))
        own.resume()


async def test_the_primary_that_sentinels_name_is_used() -> None:
    servers = await asyncio.to_thread(SentinelRedis(Valkey).start)
    try:
        async with sink_of(f"{servers.url}?maxlen=1000") as sink:
            await sink.open()
            assert await sink.publish(deliveries([message(topic="t")])) == [None]
        assert servers.primary.ask("XLEN", f"{prefix_of(APP)}t") == 1
    finally:
        await asyncio.to_thread(servers.stop)
