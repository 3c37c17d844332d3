"""The webhook's sink against servers that answer in every way, late, wrongly or not at all."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from sidecar.core.sinks import UNTRIED, Receipt, Refused, SinkUnavailable
from sidecar.sinks import build
from sidecar.sinks.webhook.sink import CONCURRENCY, WebhookSink
from tests.sinks.harness_webhook import HOST, HttpServer
from tests.sinks.messages import APP, deliveries, message
from tests.support.clock import START_MS, ManualClock

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def endpoint(answer: Answer, query: str = "") -> AsyncIterator[tuple[HttpServer, WebhookSink, ManualClock]]:
    server = HttpServer(answer)
    await server.start()
    clock = ManualClock()
    sink = build(f"http://{server.address}/hook{query}", app=APP, clock=clock)
    assert isinstance(sink, WebhookSink)
    try:
        yield server, sink, clock
    finally:
        await sink.close()
        await server.stop()


def answering(status: int, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


async def taken(_: web.Request) -> web.Response:
    return web.Response(status=204)


async def one(sink: WebhookSink) -> Receipt:
    [receipt] = await sink.publish(deliveries([message()]))
    return receipt


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_a_2xx_confirms(status: int) -> None:
    async with endpoint(answering(status)) as (_, sink, _):
        assert await one(sink) is None


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        *((status, False) for status in (300, 304, 400, 402, 403, 404, 405, 406, 409, 410, 418, 425, 499)),
        *((status, False) for status in (500, 501, 502, 504, 599)),
        *((status, True) for status in (413, 415, 422, 431)),
    ],
)
async def test_what_says_something_of_the_message_refuses_it(status: int, permanent: bool) -> None:
    async with endpoint(answering(status)) as (server, sink, _):
        refused = await one(sink)

        assert isinstance(refused, Refused)
        assert refused.permanent is permanent
        assert str(status) in refused.reason
        assert server.address in refused.reason
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 407, 408, 429, 503])
async def test_what_says_nothing_of_the_message_is_an_outage(status: int) -> None:
    async with endpoint(answering(status)) as (_, sink, _):
        with pytest.raises(SinkUnavailable, match=str(status)):
            await one(sink)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    async with endpoint(answering(status, Location="/elsewhere")) as (server, sink, _):
        refused = await one(sink)

        assert isinstance(refused, Refused)
        assert "redirects are not followed" in refused.reason
        assert [request.path for request, _ in server.requests] == ["/hook"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999999999", 300.0),
        (format_datetime(datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(seconds=9), usegmt=True), 9.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("soon", 1.0),
        ("-1", 1.0),
        ("", 1.0),
    ],
)
async def test_the_endpoint_says_how_long_it_is_left_alone(text: str, seconds: float) -> None:
    async with endpoint(answering(429, Retry_After=text)) as (server, sink, clock):
        with pytest.raises(SinkUnavailable) as told:
            await one(sink)
        assert told.value.retry_after_s == pytest.approx(seconds)

        if seconds:
            clock.advance(int(seconds * 1000) - 1)
            with pytest.raises(SinkUnavailable, match="429") as told:
                await one(sink)
            assert told.value.retry_after_s == pytest.approx(0.001)
            assert len(server.requests) == 1
            clock.advance(1)
        with pytest.raises(SinkUnavailable):
            await one(sink)
        assert len(server.requests) == 2


async def test_what_was_taken_before_an_outage_is_told() -> None:
    answers = iter([204, 503, 204])

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=next(answers), headers={"Retry-After": "5"})

    async with endpoint(answer) as (server, sink, clock):
        call = deliveries([message("a"), message("a"), message("a")])

        assert await sink.publish(call) == [None, UNTRIED, UNTRIED]
        with pytest.raises(SinkUnavailable):
            await sink.publish(call[1:])
        assert len(server.requests) == 2
        clock.advance(5_000)
        assert await sink.publish(call[1:2]) == [None]


async def test_an_endpoint_that_does_not_answer_in_time_holds_up_its_message_alone() -> None:
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if b'"subject":"slow"' in await request.read():
            await release.wait()
        return web.Response(status=204)

    async with endpoint(answer, "?timeout=2") as (_, sink, _):
        receipts = await sink.publish(deliveries([message("slow"), message("slow"), message("b"), message("c")]))
        release.set()

        assert isinstance(receipts[0], Refused)
        assert "within 2 s" in receipts[0].reason
        assert not receipts[0].permanent
        assert receipts[1:] == [UNTRIED, None, None]


async def test_waiting_for_others_is_no_time_of_a_message_s_own() -> None:
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if b"slow" in await request.read():
            await release.wait()
        return web.Response(status=204)

    async with endpoint(answer, "?timeout=2") as (_, sink, _):
        slow = asyncio.gather(
            *(
                sink.publish(deliveries([message(f"slow {each}") for each in range(8)]))
                for _ in range(2 * CONCURRENCY // 8)
            )
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        receipts = await sink.publish(deliveries([message(str(each)) for each in range(8)]))
        refused = await slow
        release.set()

        assert receipts == [None] * 8
        assert all(isinstance(receipt, Refused) for call in refused for receipt in call)


async def test_a_message_whose_connection_is_closed_is_sent_once_more() -> None:
    answers = iter([False, True])

    async def answer(request: web.Request) -> web.Response:
        if not next(answers):
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=204)

    async with endpoint(answer) as (server, sink, _):
        assert await one(sink) is None
        [first, second] = [body for _, body in server.requests]
        assert first == second


async def test_a_message_whose_connection_is_always_closed_is_refused_and_others_are_not() -> None:
    async def answer(request: web.Request) -> web.Response:
        if b'"subject":"poison"' in await request.read():
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=204)

    async with endpoint(answer) as (server, sink, _):
        receipts = await sink.publish(deliveries([message("poison"), message("b"), message("poison")]))

        assert isinstance(receipts[0], Refused)
        assert "closes the connection" in receipts[0].reason
        assert receipts[1:] == [None, UNTRIED]
        assert len(server.requests) == 3


async def test_connections_are_used_again_and_bounded() -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(0)
        return web.Response(status=200, body=b"x" * 1000)

    async with endpoint(answer) as (server, sink, _):
        calls = [deliveries([message(f"{number} {place}") for place in range(8)]) for number in range(20)]
        told = await asyncio.gather(*map(sink.publish, calls))

        assert told == [[None] * 8] * 20
        assert len(server.requests) == 160
        assert len(server.connections) <= CONCURRENCY
        assert 2 <= server.most_at_once <= CONCURRENCY


async def test_an_answer_that_is_too_long_to_read_confirms_too() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=200, body=bytes(4 << 20))

    async with endpoint(answer) as (_, sink, _):
        assert [await one(sink), await one(sink)] == [None, None]


async def test_what_is_no_http_refuses() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    async with server:
        sink = build(f"http://{HOST}:{server.sockets[0].getsockname()[1]}", app=APP, clock=ManualClock())
        [refused] = await sink.publish(deliveries([message()]))
        await sink.close()

    assert isinstance(refused, Refused)


async def test_user_password_and_parameters_go_out_ours_do_not() -> None:
    async with endpoint(taken) as (server, _, clock):
        url = f"http://us%2Fer:p%40ss@{server.address}/a%2Fb?x=1&mode=structured&y=%2F&timeout=3"
        sink = build(url, app=APP, clock=clock)
        assert await sink.publish(deliveries([message()])) == [None]
        await sink.close()

        [(request, _)] = server.requests
        assert request.raw_path == "/a%2Fb?x=1&y=%2F"
        assert request.method == "POST"
        assert request.headers["Authorization"] == f"Basic {b64encode(b'us/er:p@ss').decode()}"
        assert request.headers["User-Agent"].startswith("state-sidecar/")
        assert request.headers["Content-Type"] == "application/cloudevents+json"


async def test_binary_events_are_headers_and_the_payload() -> None:
    async with endpoint(taken, "?mode=binary") as (server, sink, _):
        sent = message("k ü", payload=b"\xff\x00", content_type="image/png; q=1", attributes={"tenant": 'a "b"% ü'})
        untyped = message(content_type="", payload=b"")
        assert await sink.publish(deliveries([sent, untyped])) == [None, None]

        found = {request.headers["ce-version"]: (request.headers, body) for request, body in server.requests}
        headers, body = found[str(sent.version)]
        assert body == b"\xff\x00"
        assert headers["Content-Type"] == "image/png; q=1"
        assert headers["ce-subject"] == "k%20%C3%BC"
        assert headers["ce-tenant"] == "a%20%22b%22%25%20%C3%BC"
        assert headers["ce-specversion"] == "1.0"
        assert "Content-Type" not in found[str(untyped.version)][0]


async def test_a_content_type_that_can_t_be_a_header_is_refused_before_it_is_sent() -> None:
    async with endpoint(taken, "?mode=binary") as (server, sink, _):
        bad = message(content_type="text/plain\r\nX-Injected: 1")
        [refused] = await sink.publish(deliveries([bad]))

        assert isinstance(refused, Refused)
        assert refused.permanent
        assert not server.requests


async def test_certificates_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    app = web.Application()
    app.router.add_post("/", taken)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
    url = f"https://localhost:{runner.addresses[0][1]}"
    unknowing, knowing = (build(url, app=APP, clock=ManualClock()) for _ in range(2))

    with pytest.raises(SinkUnavailable, match="certificate does not verify"):
        await unknowing.publish(deliveries([message()]))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert await knowing.publish(deliveries([message()])) == [None]

    for sink in (unknowing, knowing):
        await sink.close()
    await runner.cleanup()


async def test_a_host_that_is_not_there_is_an_outage() -> None:
    sink = build("http://no-such-host.invalid/", app=APP, clock=ManualClock())
    with pytest.raises(SinkUnavailable, match=r"no-such-host.invalid:80 can't be reached"):
        await sink.publish(deliveries([message()]))
    await sink.close()
