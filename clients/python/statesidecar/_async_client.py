"""The asyncio client."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, assert_never

import grpc
import grpc.aio

from statesidecar import _requests
from statesidecar._channel import Connection, connect, resolve_target
from statesidecar._credentials import FilePath, Tls, credentials_for
from statesidecar._effects import Attempt, Effect, Invoke, Pause, Plan
from statesidecar._near import Near
from statesidecar._near_async import close_near, near_first, watch_near
from statesidecar._near_calls import Door, near_of, states
from statesidecar._outboxes import AsyncOutbox
from statesidecar._retry import RetryPolicy
from statesidecar._states import Session, SessionPlans, States
from statesidecar._stream_async import end, send
from statesidecar._watches import AsyncWatch
from statesidecar.checkpoints import Checkpoint
from statesidecar.errors import CLIENT_QUEUE_FULL, InvalidRequest, StateSidecarError
from statesidecar.near import NearCache
from statesidecar.types import Entry

P = ParamSpec("P")
T = TypeVar("T")
_RETRY = RetryPolicy()


def _awaiting(
    plan: Callable[Concatenate[States, P], Plan[T]],
) -> Callable[Concatenate[AsyncStateClient, P], Coroutine[Any, Any, T]]:
    @wraps(plan)
    async def call(self: AsyncStateClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(plan(self._calls, *args, **kwargs))

    return call


def _opening(
    plans: Callable[Concatenate[States, P], SessionPlans],
) -> Callable[Concatenate[AsyncStateClient, P], AsyncSessionContext]:
    @wraps(plans)
    def call(self: AsyncStateClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncSessionContext:
        return AsyncSessionContext(self._run, plans(self._calls, *args, **kwargs))

    return call


class AsyncStateClient:
    """An asyncio client of the daemon beside this process. Tasks of one event loop may share one.

    It can be made anywhere, and belongs to the event loop of its first call. Calls are those of `StateClient`, awaited; a
    function given to `update` or as `on_conflict` may be async. A cancelled write may or may not have landed.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout_s: float = 5.0,
        retry: RetryPolicy = _RETRY,
        token: str | Callable[[], str] | None = None,
        token_file: FilePath | None = None,
        tls: Tls | None = None,
        near: Mapping[str, NearCache] | None = None,
    ) -> None:
        """`target`: host:port or unix:///path; None: $STATE_SIDECAR_TARGET, else 127.0.0.1:7420.

        `timeout_s` is the time of a call with all its retries. `token`: a bearer token, or a function that tells the one
        of now, which is asked before each attempt and must not block; or the `token_file` that has it, read again when it changes. `tls`: for TCP.
        None: $STATE_SIDECAR_TOKEN_FILE, $STATE_SIDECAR_TLS_CA, _CERTIFICATE and _KEY. Raises InvalidRequest
        (TOKEN_IN_PLAIN_TEXT) for a token to another machine without TLS. `near`: namespaces that have copies in this process.
        """
        self.target = resolve_target(target)
        self._credentials = credentials_for(self.target, token, token_file, tls)
        self._token = self._credentials.token
        self._calls = states(timeout_s, retry, self._token, near)
        self._near = near_of(self._calls)
        self._connection: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    get = near_first(States.get)
    batch_get = _awaiting(States.batch_get)
    set = _awaiting(States.set)
    cas = _awaiting(States.cas)
    delete = _awaiting(States.delete)
    delete_prefix = _awaiting(States.delete_prefix)
    touch = _awaiting(States.touch)
    merge_patch = _awaiting(States.merge_patch)
    append = _awaiting(States.append)
    increment = _awaiting(States.increment)
    transact = _awaiting(States.transact)
    checkpoint = _awaiting(States.checkpoint)
    get_checkpoint = _awaiting(States.get_checkpoint)
    delete_checkpoint = _awaiting(States.delete_checkpoint)
    restore = _awaiting(States.restore)
    status = _awaiting(States.status)
    vectors = _awaiting(States.vectors)
    set_vector = _awaiting(States.set_vector)
    update = _awaiting(States.update)
    session = _opening(States.session)

    @property
    def outbox(self) -> AsyncOutbox:
        """Messages that were committed with writes: consumers, and dead letters."""
        return AsyncOutbox(self._calls, self._run, self._borrow, self._give_back)

    async def list(
        self,
        namespace: str,
        prefix: str = "",
        *,
        keys_only: bool = False,
        page_size: int = 0,
        max_schema_version: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Entry]:
        """Entries whose keys begin with `prefix`, in key order, a page at a time as they are asked for.

        `page_size` 0: the daemon's default. `max_schema_version` as in `get`. `timeout_s` is the time of each page.
        """
        token = ""
        while True:
            page = self._calls.list_page(
                namespace,
                prefix,
                token,
                keys_only=keys_only,
                page_size=page_size,
                max_schema_version=max_schema_version,
                timeout_s=timeout_s,
            )
            entries, token = await self._run(page)
            for entry in entries:
                yield entry
            if not token:
                return

    async def list_checkpoints(
        self,
        namespace: str,
        *,
        key: str = "",
        key_prefix: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Checkpoint]:
        """Checkpoints of a key or of a prefix, or else all of the namespace; newest first, a page at a time.

        `page_size` 0: the daemon's default. `timeout_s` is the time of each page.
        """
        token = ""
        while True:
            page = self._calls.checkpoints_page(
                namespace, token, key=key, key_prefix=key_prefix, page_size=page_size, timeout_s=timeout_s
            )
            checkpoints, token = await self._run(page)
            for found in checkpoints:
                yield found
            if not token:
                return

    def watch(
        self,
        namespace: str,
        *,
        key: str = "",
        prefix: str = "",
        all_keys: bool = False,
        include_value: bool = False,
        snapshot: bool = False,
        resume_token: str = "",
        max_schema_version: int = 0,
    ) -> AsyncWatch:
        """Watches a key, the keys that begin with `prefix`, or `all_keys`: each change once, a key's in version order.

        From now on, or after `resume_token`; with `snapshot`, first what is there. `include_value` brings values. An
        iterator that goes on by itself over broken streams and restarts. Raises WatchExpired where changes were forgotten
        meanwhile, unless it was begun with a `snapshot`: then a new one follows an event RESYNC.
        """
        request = _requests.watch(
            namespace,
            key=key,
            prefix=prefix,
            all_keys=all_keys,
            include_value=include_value,
            snapshot=snapshot,
            resume_token=resume_token,
            max_schema_version=max_schema_version,
        )
        return AsyncWatch(self._calls.following(request), self._borrow, self._give_back, self._give_up)

    async def close(self) -> None:
        """Closes the connection. Calls in flight fail."""
        self._closed = True
        await close_near(self._near.values())
        connection, self._connection = self._connection, None
        if connection is not None:
            await end(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _watch_near(self, near: Near) -> None:
        watch_near(near, self._calls, Door(self._borrow, self._give_back, self._give_up), self)

    async def _run(self, plan: Plan[T]) -> T:
        resume: Callable[[Any], Effect] = plan.send
        came: Any = None
        while True:
            try:
                effect = resume(came)
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                came = None  # An error has this frame in its traceback: kept here, both would wait for the collector
            try:
                work = self._attempt(effect) if type(effect) is Attempt else self._perform(effect)
                resume, came = plan.send, await work
            except StateSidecarError as error:
                resume, came = plan.throw, error

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Attempt():
                return await self._attempt(effect)
            case Pause(seconds):
                await asyncio.sleep(seconds)
                return None
            case Invoke(function, arguments):
                returned = function(*arguments)
                return await returned if inspect.isawaitable(returned) else returned
            case _:
                assert_never(effect)

    async def _attempt(self, attempt: Attempt) -> Any:
        connection = self._borrow()
        answers = connection.answers
        try:
            reply = await send(connection, attempt, self._token)
            connection.answers += 1
            return reply
        except StateSidecarError as failure:
            if failure.reason != CLIENT_QUEUE_FULL and connection.failed(failure, answers):
                self._give_up(connection)
            raise
        finally:
            connection.in_flight -= 1
            if connection is not self._connection or connection.outdated:
                await self._let_go(connection)

    def _give_up(self, connection: Connection) -> None:
        """Nothing comes over it any more: the next call makes another."""
        if self._connection is connection:
            self._connection = None

    async def _give_back(self, connection: Connection) -> None:
        connection.in_flight -= 1
        await self._let_go(connection)

    async def _let_go(self, connection: Connection) -> None:
        if connection is self._connection and connection.outdated:
            self._connection = None
        if connection is not self._connection and connection.in_flight == 0:
            await end(connection)
            connection.forget()

    def _borrow(self) -> Connection:
        if self._closed:
            raise InvalidRequest("CLIENT_CLOSED", "the client is closed")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise InvalidRequest("EVENT_LOOP_CHANGED", "the client belongs to another event loop; make one for this")
        if self._token is not None:
            self._token.look()
        if self._connection is None:
            self._connection = connect(grpc.aio, self.target, self._credentials)
        self._connection.in_flight += 1
        return self._connection


class AsyncSessionContext:
    """A session of an asyncio client, for `async with`."""

    def __init__(self, run: Callable[[Plan[Any]], Coroutine[Any, Any, Any]], plans: SessionPlans) -> None:
        self._run = run
        self._plans = plans

    async def __aenter__(self) -> Session:
        session: Session = await self._run(self._plans.load())
        return session

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error_type is None:
            await self._run(self._plans.save())
