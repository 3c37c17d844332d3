"""An HTTP server of the test's own, on a real socket, whose requests CloudEvents' SDK reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from aiohttp import web

from sidecar.core.outbox import Pending
from tests.sinks import cloudevents
from tests.sinks.messages import Got

REFUSED = "refused"
HOST = "127.0.0.1"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Keeps the requests that it got. `handler` answers; it may do so late, wrongly, or not at all."""

    def __init__(self, handler: Handler) -> None:
        self.requests: list[tuple[web.Request, bytes]] = []
        self.connections: set[object] = set()
        self.most_at_once = 0
        self.port = 0
        self._at_once = 0
        self._handler = handler
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.connections.add(request.transport)
        try:
            self.requests.append((request, await request.read()))
            return await self._handler(request)
        finally:
            self._at_once -= 1


class WebhookStructured:
    payload_max = 256 * 1024
    attributes_max = 64 * 1024
    refused_permanently = False
    mode = "structured"

    def __init__(self) -> None:
        self.url = ""
        self.server = HttpServer(self._answer)
        self._taken: list[Got] = []

    async def start(self, *, own: bool) -> None:
        await self.server.start()
        self.url = f"http://{self.server.address}/events?mode={self.mode}"

    async def stop(self) -> None:
        await self.server.stop()

    async def received(self, count: int) -> list[Got]:
        assert len(self._taken) >= count, self._taken
        return list(self._taken)

    def refused(self, message: Pending) -> Pending:
        return replace(message, topic=REFUSED)

    async def kill(self) -> None:
        await self.server.stop()

    async def restart(self) -> None:
        await self.server.start()

    async def _answer(self, request: web.Request) -> web.Response:
        got = cloudevents.of_http(request.headers, await request.read())
        if got.topic == REFUSED:
            return web.Response(status=500)
        self._taken.append(got)
        # Answers come in another order than requests.
        for _ in range(hash(got.id) % 5):
            await asyncio.sleep(0)
        return web.Response(status=202)


class WebhookBinary(WebhookStructured):
    attributes_max = 4 * 1024
    mode = "binary"
