"""The NATS sink: its stream's bounds, its server's rights and absences."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trustme
from nats.js.api import DiscardPolicy

from servers.base import HOST, free_ports, shared
from servers.nats import Nats
from sidecar.core.sinks import UNTRIED, Refused, Sink, SinkUnavailable
from sidecar.runtime.ports import SystemClock
from sidecar.sinks import build
from sidecar.sinks.nats import connection
from tests.sinks.harness_nats import JetStream
from tests.sinks.leftovers import eventually, is_left, left
from tests.sinks.messages import APP, deliveries, expected, message


@asynccontextmanager
async def sink_of(url: str) -> AsyncIterator[Sink]:
    sink = build(url, app=APP, clock=SystemClock())
    try:
        yield sink
    finally:
        await sink.close()


@pytest.fixture
async def stream() -> AsyncIterator[JetStream]:
    harness = JetStream()
    await harness.start(own=False)
    yield harness
    await harness.stop()


@pytest.fixture
async def own() -> AsyncIterator[JetStream]:
    harness = JetStream()
    await harness.start(own=True)
    yield harness
    await harness.stop()


async def test_the_stream_takes_an_id_once(stream: JetStream) -> None:
    sent = [message("a"), message("b")]
    for _ in range(3):
        async with sink_of(stream.url) as sink:
            assert await sink.publish(deliveries(sent)) == [None, None]

    assert {got.id for got in await stream.received(2)} == {expected(each).id for each in sent}
    assert len(await stream.received(2)) == 2


async def test_a_stream_that_is_not_there_is_told_at_the_start() -> None:
    async with sink_of(f"nats://{shared(Nats).address}?stream=missing") as sink:
        with pytest.raises(SinkUnavailable, match=r"stream missing at .*: there is no such stream"):
            await sink.open()


async def test_a_stream_that_goes_away_is_an_outage_and_no_refusal(stream: JetStream) -> None:
    async with sink_of(stream.url) as sink:
        assert await sink.publish(deliveries([message()])) == [None]
        await stream.remove()

        with pytest.raises(SinkUnavailable, match="there is no such stream"):
            await sink.publish(deliveries([message()]))

        await stream.make()
        assert await sink.publish(deliveries([message()])) == [None]


async def test_a_stream_that_is_full_is_an_outage_and_no_refusal() -> None:
    harness = JetStream()
    harness.options = {"max_msgs": 1, "discard": DiscardPolicy.NEW}
    await harness.start(own=False)
    async with sink_of(harness.url) as sink:
        assert await sink.publish(deliveries([message()])) == [None]
        with pytest.raises(SinkUnavailable, match="maximum messages exceeded"):
            await sink.publish(deliveries([message()]))
    await harness.stop()


async def test_a_subject_that_is_full_refuses_its_messages_alone() -> None:
    harness = JetStream()
    harness.options = {"max_msgs_per_subject": 1, "discard": DiscardPolicy.NEW, "discard_new_per_subject": True}
    await harness.start(own=False)
    async with sink_of(harness.url) as sink:
        assert await sink.publish(deliveries([message()])) == [None]
        refused, other = await sink.publish(deliveries([message("b"), message("c", topic="orders.other")]))
        assert isinstance(refused, Refused)
        assert not refused.permanent
        assert other is None
    await harness.stop()


async def test_what_the_stream_finds_too_large_is_refused_for_ever() -> None:
    harness = JetStream()
    harness.options = {"max_msg_size": 2_000}
    await harness.start(own=False)
    async with sink_of(harness.url) as sink:
        refused, other = await sink.publish(deliveries([message("a", payload=bytes(2_000)), message("b")]))
        assert isinstance(refused, Refused)
        assert refused.permanent
        assert other is None
    await harness.stop()


async def test_what_the_server_finds_too_large_is_refused_before_it_ends_the_connection(stream: JetStream) -> None:
    near = 1024 * 1024 - 200  # with its headers it is too large
    async with sink_of(stream.url) as sink:
        for size in (2 << 20, near):
            refused, other = await sink.publish(deliveries([message("a", payload=bytes(size)), message("b")]))
            assert isinstance(refused, Refused)
            assert refused.permanent
            assert other is None


@pytest.mark.parametrize("topic", ["a b", "a.*", ">", "a..b", ".a", "a.", "a\u2003b"])
async def test_a_topic_that_is_no_subject_is_refused_for_ever(stream: JetStream, topic: str) -> None:
    async with sink_of(stream.url) as sink:
        refused, other = await sink.publish(deliveries([message("a", topic=topic), message("b")]))
        assert isinstance(refused, Refused)
        assert refused.permanent
        assert other is None


async def test_a_message_can_t_ask_the_server_for_anything(stream: JetStream) -> None:
    """Without a prefix the topic is the subject, and the server's own begin with a $."""
    url = stream.url.partition("&subject_prefix")[0]
    async with sink_of(url) as sink:
        [refused] = await sink.publish(deliveries([message(topic=f"$JS.API.STREAM.DELETE.{stream.name}", payload=b"")]))
        assert isinstance(refused, Refused)
        assert refused.permanent
        await sink.open()
    assert await stream.received(0) == []


async def test_a_content_type_that_can_t_be_a_header_is_refused(stream: JetStream) -> None:
    async with sink_of(stream.url) as sink:
        [refused] = await sink.publish(deliveries([message(content_type="a\r\nNats-Rollup: all")]))
        assert isinstance(refused, Refused)
        assert refused.permanent


async def test_a_server_that_hangs_is_an_outage_and_is_let_go_of_at_once(
    own: JetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_S", 1.0)
    before = left()
    async with sink_of(own.url) as sink:
        await sink.open()
        own.server.pause()
        begin = time.monotonic()
        large = [message(str(number), payload=bytes(200_000)) for number in range(sink.batch_max)]
        with pytest.raises(SinkUnavailable, match="no answer"):
            await sink.publish(deliveries(large))
        with pytest.raises(SinkUnavailable):
            await sink.publish(deliveries([message()]))
        await sink.close()
        assert time.monotonic() - begin < 10
        await eventually(partial(is_left, before), f"{left()} were {before}")

        own.server.resume()
        assert await sink.publish(deliveries([message()])) == [None]


async def test_another_server_is_used_where_one_is_away(stream: JetStream) -> None:
    [away] = free_ports(1)
    async with sink_of(stream.url.replace("nats://", f"nats://{HOST}:{away},")) as sink:
        await sink.open()
        assert await sink.publish(deliveries([message()])) == [None]


@pytest.mark.parametrize(
    ("options", "right", "wrong"),
    [
        (("--user", "me", "--pass", "hun%ter2"), "me:hun%25ter2", "me:other"),
        (("--auth", "hunter2"), "hunter2", "other"),
    ],
)
async def test_user_password_and_token(options: tuple[str, ...], right: str, wrong: str) -> None:
    server = await asyncio.to_thread(Nats(*options).start)
    try:
        async with sink_of(f"nats://{right}@{server.address}?stream=S") as sink:
            with pytest.raises(SinkUnavailable, match="no such stream"):
                await sink.open()
        for userinfo in (f"{wrong}@", ""):
            async with sink_of(f"nats://{userinfo}{server.address}?stream=S") as sink:
                before = left()
                with pytest.raises(SinkUnavailable, match="Authorization Violation") as told:
                    await sink.open()
                await eventually(partial(is_left, before), f"{left()} were {before}")
            assert "other" not in str(told.value)
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_subject_that_we_may_not_publish_to_refuses_its_messages_alone(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("""authorization { users = [
        {user: all, password: all},
        {user: some, password: some, permissions: {publish: {allow: [">"], deny: ["S.orders.Secret"]}}},
        {user: none, password: none, permissions: {publish: {allow: ["S.>"]}}},
    ]}""")
    harness = JetStream()
    harness.name = "S"
    harness.server = await asyncio.to_thread(Nats("-c", str(tmp_path / "conf")).start)
    try:
        await harness.make("all:all@")
        async with sink_of(f"nats://some:some@{harness.server.address}?stream=S&subject_prefix=S") as sink:
            begin = time.monotonic()
            call = [
                message("a", topic="orders.Secret"),
                message("a"),
                message("b"),
                message("c", topic="orders.Secret"),
            ]
            first, second, third, fourth = await sink.publish(deliveries(call))
            assert isinstance(first, Refused)
            assert isinstance(fourth, Refused)
            assert "may not publish to S.orders.Secret" in first.reason
            assert (second, third) == (UNTRIED, None)
            assert time.monotonic() - begin < connection.ANSWER_S, "nobody waits for an answer"
        async with sink_of(f"nats://none:none@{harness.server.address}?stream=S&subject_prefix=S") as sink:
            with pytest.raises(SinkUnavailable, match=r"allow publishing to \$JS.API.STREAM.INFO.S"):
                await sink.open()
    finally:
        await asyncio.to_thread(harness.server.stop)


async def test_tls_is_verified_and_not_done_without(tmp_path: Path) -> None:
    authority, certificate = trustme.CA(), tmp_path / "cert.pem"
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert(HOST)
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    server = await asyncio.to_thread(Nats("--tls", "--tlscert", str(certificate), "--tlskey", str(certificate)).start)
    try:
        query = f"?stream=S&ca_file={tmp_path / 'ca.pem'}"
        async with sink_of(f"tls://{server.address}{query}") as sink:
            with pytest.raises(SinkUnavailable, match="no such stream"):
                await sink.open()
        async with sink_of(f"tls://{server.address}?stream=S") as sink:
            with pytest.raises(SinkUnavailable, match="no TLS with"):
                await sink.open()
        async with sink_of(f"tls://{shared(Nats).address}{query}") as sink:
            with pytest.raises(SinkUnavailable, match="does not ask for TLS"):
                await sink.open()
        async with sink_of(f"tls://{server.address}?stream=S&ca_file={tmp_path}/none.pem") as sink:
            with pytest.raises(SinkUnavailable, match="ca_file"):
                await sink.open()
    finally:
        await asyncio.to_thread(server.stop)
