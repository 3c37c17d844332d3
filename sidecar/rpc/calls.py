"""What every RPC goes through: admission, its deadline, and one place where errors become statuses.

A plain wrapper rather than interceptors: it costs nothing on the way of a Get, and it reads from top to bottom.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from sidecar.core.errors import DeadlineExceeded, Draining, InvalidRequest, LimitExceeded, OutcomeUnknown
from sidecar.core.modes import ServingMode
from sidecar.rpc.convert import refuse_unknown_fields
from sidecar.rpc.large import Carrying
from sidecar.rpc.status import MODE_TRAILERS, abort, as_sidecar_error

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")
M = TypeVar("M")

ANSWER_MARGIN_S = 0.02
"""What is left of a caller's time when a write that is not yet known is told as such: enough for the answer to arrive."""

QUIET_S = 0.1
DEAF_S = 1.0


def patience(context: Context, timeout_s: float) -> float:
    """Seconds that a call may take: the caller's deadline, and at most `timeout_s`."""
    remaining: float | None = context.time_remaining()
    return timeout_s if remaining is None else min(remaining, timeout_s)


class Malformed:
    """Stands for a request whose bytes are no message: told as such, where a failing deserializer is told as UNKNOWN."""


def guarded(deserialize: Callable[[bytes], M]) -> Callable[[bytes], M | Malformed]:
    """A request deserializer that doesn't raise."""

    def parse(request: bytes) -> M | Malformed:
        try:
            return deserialize(request)
        except DecodeError:
            return Malformed()

    return parse


def refuse_unreadable(request: Message | Carrying | Malformed) -> None:
    """REQUEST_MALFORMED or FIELD_UNKNOWN for a request that isn't understood in every part."""
    if isinstance(request, Malformed):
        raise InvalidRequest(
            "the request is no such message, or a string in it is not UTF-8",
            reason="REQUEST_MALFORMED",
            field="request",
        )
    refuse_unknown_fields(request.message if isinstance(request, Carrying) else request)


class Admission:
    """Lets calls in, counts them, and, when draining, lets nothing new in. Bounded by `requests_max`.

    Streams that last as long as their callers like are counted apart, up to the same bound: a drain doesn't wait for them,
    it tells them (`drain_began`), and they end.
    """

    def __init__(self, requests_max: int) -> None:
        self.in_flight = 0
        self.streams = 0
        self.draining = False
        self.drain_began = asyncio.Event()
        self._requests_max = requests_max
        self._idle = asyncio.Event()
        self._called = asyncio.Event()

    def enter(self) -> None:
        """One call more; DRAINING or QUEUE_FULL. Whoever entered must leave."""
        if self.draining:
            raise self._refusal()
        if self.in_flight >= self._requests_max:
            raise LimitExceeded(f"{self.in_flight} requests are being answered; send fewer at once")
        self.in_flight += 1

    def leave(self, count: int = 1) -> None:
        """So many calls less."""
        self.in_flight -= count
        if self.draining and not self.in_flight:
            self._idle.set()

    def enter_stream(self) -> None:
        """One stream more; DRAINING or QUEUE_FULL. Whoever entered must leave, soon after `drain_began` is set."""
        if self.draining:
            raise self._refusal()
        if self.streams >= self._requests_max:
            raise LimitExceeded(f"{self.streams} streams are open; close some", retry_after_s=1.0)
        self.streams += 1

    def leave_stream(self) -> None:
        """One stream less."""
        self.streams -= 1

    async def drain(self) -> None:
        """Admit nothing new, and wait until everything admitted is answered and callers have heard of it.

        gRPC cancels a call that arrives while its server stops, which tells its caller nothing: so DRAINING is answered
        until nobody has called for QUIET_S, at most DEAF_S.
        """
        self.draining = True
        self.drain_began.set()
        if self.in_flight:
            await self._idle.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEAF_S):
                while await self._called_within(QUIET_S):
                    pass

    def _refusal(self) -> Draining:
        self._called.set()
        return Draining("the daemon is stopping; another is about to take its place", retry_after_s=0.5)

    async def _called_within(self, seconds: float) -> bool:
        self._called.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._called.wait()
        except TimeoutError:
            return False
        return True


class Commits:
    """Writes that the daemon owns: they go on when their caller is gone, and a stop waits for them."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(self, context: Context, write: Callable[[float], Coroutine[Any, Any, T]]) -> T:
        """Run `write` with its deadline (monotonic, seconds); told as unknown when the caller's time ends first."""
        timeout = patience(context, self._timeout_s + ANSWER_MARGIN_S) - ANSWER_MARGIN_S
        if timeout <= 0:
            raise DeadlineExceeded("no time was left when the write arrived; nothing was written")
        loop = asyncio.get_running_loop()
        task = loop.create_task(write(loop.time() + timeout))
        self._tasks.add(task)
        # A future and a timer by hand: asyncio.wait does the same and costs a write twice as much.
        answered: asyncio.Future[None] = loop.create_future()
        task.add_done_callback(functools.partial(self._done, answered))
        timer = loop.call_later(timeout, _wake, answered)
        try:
            await answered
        finally:
            timer.cancel()
        if not task.done():
            raise OutcomeUnknown(
                "the write was under way when the time ran out: repeat it with the same request_id", timed_out=True
            )
        return task.result()

    async def finish(self) -> None:
        """Until no write is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _done(self, answered: asyncio.Future[None], task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        _wake(answered)
        if not task.cancelled():
            # Looked at here, because the caller may be gone: the error of an abandoned write is nobody's.
            task.exception()


def _wake(answered: asyncio.Future[None]) -> None:
    if not answered.done():
        answered.set_result(None)


class Admitting(Protocol):
    """A servicer. `mode`: the guarantee that answers carry now, for those that are errors."""

    admission: Admission
    mode: Callable[[], ServingMode | None]


class Reply(Protocol):
    """A response that says its mode, as the proto's enum: the numbers are those of ServingMode."""

    @property
    def mode(self) -> Any:
        """Which guarantee it carries."""
        ...


S = TypeVar("S", bound=Admitting)
R = TypeVar("R", bound=Reply)
Handler = Callable[[S, Any, Context], Awaitable[R]]


def rpc(handler: Handler[S, R]) -> Handler[S, R]:
    """A unary RPC: admitted, its request known in every field, its errors told as statuses, its mode in the trailers."""

    @functools.wraps(handler)
    async def call(self: S, request: Message | Malformed, context: Context) -> R:
        try:
            self.admission.enter()
        except (Draining, LimitExceeded) as exc:
            await abort(context, exc, mode=self.mode())
        try:
            refuse_unreadable(request)
            reply = await handler(self, request, context)
            context.set_trailing_metadata(MODE_TRAILERS[reply.mode])
            return reply
        except Exception as exc:  # noqa: BLE001  # the one place where any error becomes a status
            await abort(context, as_sidecar_error(exc, handler.__name__), mode=self.mode())
        finally:
            self.admission.leave()

    return call
