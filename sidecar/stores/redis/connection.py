"""One connection to one server, shared by concurrent calls: commands go out as they come, replies come in their order.

A reply belongs to the oldest call that has none, always: a caller that went away leaves its place in the line, and its
reply is dropped there. So no caller can get another's reply, which is what cancelled callers of pooled connections got
(redis-py, CVE-2023-28858 and CVE-2023-28859). A reply that does not come in time ends the connection for all.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hiredis

from sidecar.stores.redis.errors import (
    HANGS_UP,
    NOT_HERE,
    RedisOutcomeUnknown,
    RedisRefused,
    RedisUnavailable,
    connecting_failed,
)
from sidecar.stores.redis.script import Argument, pack
from sidecar.stores.redis.target import Endpoint, RedisTarget, Tls, Verify

_INCOMPLETE = object()
CLIENT_NAME = b"state-sidecar"
INFO = [pack((b"INFO", section)) for section in (b"server", b"replication", b"memory", b"persistence")]
Process = tuple[str, str]
"""A server's run_id, another after each start, and master_replid, another after each promotion."""
UNKNOWN: Process = ("", "")

Waiting = tuple["asyncio.Future[Any]", float, "list[Any] | None", int]
"""Who waits, since when, and for a batch: the replies so far and how many there will be."""


class Connection(asyncio.Protocol):
    """A connection after `connect`. Not for blocking commands."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float) -> None:
        self.endpoint = endpoint
        self.process = UNKNOWN
        """Who is at the other end, where that was asked (`identify`)."""
        self.usable = False
        """False once it is lost, or must not be given new commands."""
        self.lost: asyncio.Future[None]
        """Done when the connection has ended."""
        self._timeout_s = timeout_s
        self.pushed: Callable[[Any], None] | None = None
        """Is given what nobody asked for (a subscription's messages); None: there must be no such thing."""
        self.refusal: RedisRefused | None = None
        """What the server said by itself before it hung up."""
        self._waiting: deque[Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.lost = self._loop.create_future()
        self._time = self._loop.time
        self._transport: asyncio.Transport
        self._reader = hiredis.Reader(
            protocolError=ProtocolViolated, replyError=RedisRefused, notEnoughData=_INCOMPLETE, encoding=None
        )

    @property
    def load(self) -> int:
        """Calls that wait for replies."""
        return len(self._waiting)

    def call(self, command: bytes) -> asyncio.Future[Any]:
        """Send one packed command. Its reply; raises RedisRefused, RedisOutcomeUnknown."""
        future = self._loop.create_future()
        self._send(command, (future, self._time(), None, 1))
        return future

    def call_many(self, commands: Sequence[bytes]) -> asyncio.Future[list[Any]]:
        """Send packed commands at once. Their replies, refusals among them. Raises RedisOutcomeUnknown."""
        future = self._loop.create_future()
        self._send(b"".join(commands), (future, self._time(), [], len(commands)))
        return future

    def send(self, command: bytes) -> None:
        """Send a command that has no reply of its own (SUBSCRIBE)."""
        self._transport.write(command)

    def retire(self) -> None:
        """Take no new commands, and close when those under way are answered."""
        self.usable = False
        if not self._waiting:
            self._transport.close()

    def abort(self, why: str) -> None:
        """Close now: nobody gets a reply any more."""
        self.usable = False
        self._transport.abort()
        self._end(why)

    def _send(self, data: bytes, waiting: Waiting) -> None:
        if not self.usable:
            # It was lost between being found and this: nothing was sent.
            raise RedisUnavailable(f"the connection to {self.endpoint} was lost")
        self._waiting.append(waiting)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._check_time)
        self._transport.write(data)

    def _check_time(self) -> None:
        """One timer for all calls: it looks at the oldest, and goes on while there is one."""
        self._timer = None
        if self._waiting:
            left = self._waiting[0][1] + self._timeout_s - self._time()
            if left <= 0:
                self.abort(f"{self.endpoint} has not answered for {self._timeout_s:g} s")
            else:
                self._timer = self._loop.call_later(left, self._check_time)

    # ---- what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's have the methods of an asyncio.Transport, and are none
        self.usable = True

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _INCOMPLETE:
                self._deliver(reply)
        except ProtocolViolated as exc:
            self.abort(f"{self.endpoint} does not speak Redis's protocol: {exc}")
        if not self.usable and not self._waiting:
            self._transport.close()

    def _deliver(self, reply: Any) -> None:
        """Give a reply to the oldest call that waits."""
        if not self._waiting:
            self._unasked(reply)
            return
        future, _, replies, count = self._waiting[0]
        refused = type(reply) is RedisRefused
        if refused and (reply.code in NOT_HERE or reply.code == HANGS_UP):
            self.usable = False
        if replies is not None:
            replies.append(reply)
            if len(replies) < count:
                return
            reply, refused = replies, False
        self._waiting.popleft()
        if future.done():  # its caller has gone away
            return
        if refused:
            future.set_exception(reply)
        else:
            future.set_result(reply)

    def _unasked(self, reply: Any) -> None:
        if self.pushed is not None:
            self.pushed(reply)
            return
        if isinstance(reply, RedisRefused):  # as one that has too many clients says before it hangs up
            self.refusal = reply
        raise ProtocolViolated("a reply that nobody asked for")

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._end(f"the connection to {self.endpoint} was lost", exc)

    def _end(self, why: str, cause: Exception | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            future = self._waiting.popleft()[0]
            if not future.done():
                error = RedisOutcomeUnknown(why)
                error.__cause__ = cause
                future.set_exception(error)
        if not self.lost.done():
            self.lost.set_result(None)


class ProtocolViolated(Exception):
    """Bytes that are no reply, or one too many."""


async def connect(
    endpoint: Endpoint, target: RedisTarget, *, timeout_s: float, open_s: float, sentinel: bool = False
) -> tuple[Connection, dict[bytes, Any]]:
    """Open a connection within `open_s`, and say who we are; what HELLO answers. Raises RedisUnavailable."""
    context = None if target.tls is None else _ssl_context(target.tls)
    made: list[Connection] = []

    def protocol() -> Connection:
        made.append(Connection(endpoint, timeout_s=timeout_s))
        return made[-1]

    try:
        async with asyncio.timeout(open_s):
            transport, connection = await asyncio.get_running_loop().create_connection(
                protocol,
                endpoint.host,
                endpoint.port,
                ssl=context,
                server_hostname=None if target.tls is None else endpoint.host,
            )
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            hello = await _greet(connection, target, sentinel=sentinel)
    except BaseException as exc:
        for connection in made:
            if connection.usable:
                connection.abort("it was given up")
        if isinstance(exc, Exception):
            raise connecting_failed(exc, endpoint, target.tls) from exc
        raise
    return connection, hello


async def identify(connection: Connection) -> Connection:
    """Find out which process it is that answers there. Raises RedisUnavailable."""
    try:
        connection.process = process_of(info_fields(await connection.call_many(INFO[:2])))
    except (RedisUnavailable, RedisRefused) as exc:
        connection.abort("it does not say who it is")
        raise connecting_failed(exc, connection.endpoint, None) from exc
    return connection


def process_of(fields: Mapping[str, str]) -> Process:
    """Of what INFO says."""
    return fields["run_id"], fields["master_replid"]


def info_fields(replies: Sequence[Any]) -> dict[str, str]:
    """INFO's sections as one. Raises RedisRefused."""
    fields: dict[str, str] = {}
    for reply in replies:
        if isinstance(reply, RedisRefused):
            raise reply
        lines = reply.decode(errors="replace").splitlines()
        fields.update(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
    return fields


async def _greet(connection: Connection, target: RedisTarget, *, sentinel: bool) -> dict[bytes, Any]:
    if not connection.usable:
        raise connection.refusal or ConnectionResetError
    user, password = target.user, target.password
    if sentinel:
        user, password = target.sentinel_user, target.sentinel_password
    hello: list[Argument] = [b"HELLO", b"2"]
    if password is not None:
        hello += [b"AUTH", user or b"default", password]
    answer = await connection.call(pack((*hello, b"SETNAME", CLIENT_NAME)))
    if target.database and not sentinel:
        await connection.call(pack((b"SELECT", target.database)))
    return dict(zip(answer[::2], answer[1::2], strict=True))


def _ssl_context(tls: Tls) -> ssl.SSLContext:
    """Read anew for each connection, since certificates are renewed. Raises RedisUnavailable for a file that is none."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as exc:
        raise RedisUnavailable(f"ca_file {tls.ca_file} can't be read: {exc.strerror or exc}") from exc
    context.check_hostname = tls.verify is Verify.FULL
    if tls.verify is Verify.NONE:
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        except OSError as exc:
            said = exc.strerror or exc
            raise RedisUnavailable(f"cert_file {tls.cert_file} or its key can't be read: {said}") from exc
    return context
