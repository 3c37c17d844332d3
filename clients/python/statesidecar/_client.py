"""The blocking client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, assert_never

import grpc

from statesidecar import _forking, _requests
from statesidecar._channel import Connection, connect, resolve_target
from statesidecar._credentials import FilePath, Tls, credentials_for
from statesidecar._effects import Attempt, Effect, Invoke, Pause, Plan
from statesidecar._near import Near
from statesidecar._near_calls import Door, near_of, states
from statesidecar._near_sync import near_first, watch_near
from statesidecar._outboxes import Outbox
from statesidecar._retry import RetryPolicy
from statesidecar._states import Session, SessionPlans, States
from statesidecar._status import error_of_rpc
from statesidecar._stream_sync import Streams, close
from statesidecar._watches import Watch
from statesidecar.checkpoints import Checkpoint
from statesidecar.errors import InvalidRequest, StateSidecarError
from statesidecar.near import NearCache
from statesidecar.types import Entry

P = ParamSpec("P")
T = TypeVar("T")
_RETRY = RetryPolicy()


def _blocking(plan: Callable[Concatenate[States, P], Plan[T]]) -> Callable[Concatenate[StateClient, P], T]:
    @wraps(plan)
    def call(self: StateClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(plan(self._calls, *args, **kwargs))

    return call


def _opening(
    plans: Callable[Concatenate[States, P], SessionPlans],
) -> Callable[Concatenate[StateClient, P], SessionContext]:
    @wraps(plans)
    def call(self: StateClient, /, *args: P.args, **kwargs: P.kwargs) -> SessionContext:
        return SessionContext(self._run, plans(self._calls, *args, **kwargs))

    return call


class StateClient:
    """A blocking client of the daemon beside this process. Threads may share one.

    Their calls share one stream. It connects at its first call, so it may be made before a fork. Used before one, it
    works in the child with a connection of its own if GRPC_ENABLE_FORK_SUPPORT=1 was set before gRPC was imported and no
    thread was in a call; without that variable it raises InvalidRequest (CLIENT_FORKED) there.
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
        of now, which is asked before each attempt; or the `token_file` that has it, read again when it changes. `tls`: for TCP.
        None: $STATE_SIDECAR_TOKEN_FILE, $STATE_SIDECAR_TLS_CA, _CERTIFICATE and _KEY. Raises InvalidRequest
        (TOKEN_IN_PLAIN_TEXT) for a token to another machine without TLS. `near`: namespaces that have copies in this process.
        """
        self.target = resolve_target(target)
        self._credentials = credentials_for(self.target, token, token_file, tls)
        self._token = self._credentials.token
        self._calls = states(timeout_s, retry, self._token, near)
        self._near = near_of(self._calls)
        self._lock = threading.Lock()
        self._streams = Streams(self._token)
        self._connection: Connection | None = None
        self._closed = False
        _forking.joins(self)

    get = near_first(States.get)
    batch_get = _blocking(States.batch_get)
    set = _blocking(States.set)
    cas = _blocking(States.cas)
    delete = _blocking(States.delete)
    delete_prefix = _blocking(States.delete_prefix)
    touch = _blocking(States.touch)
    merge_patch = _blocking(States.merge_patch)
    append = _blocking(States.append)
    increment = _blocking(States.increment)
    transact = _blocking(States.transact)
    checkpoint = _blocking(States.checkpoint)
    get_checkpoint = _blocking(States.get_checkpoint)
    delete_checkpoint = _blocking(States.delete_checkpoint)
    restore = _blocking(States.restore)
    status = _blocking(States.status)
    vectors = _blocking(States.vectors)
    set_vector = _blocking(States.set_vector)
    update = _blocking(States.update)
    session = _opening(States.session)

    @property
    def outbox(self) -> Outbox:
        """Messages that were committed with writes: consumers, and dead letters."""
        return Outbox(self._calls, self._run, self._borrow, self._give_back)

    def list(
        self,
        namespace: str,
        prefix: str = "",
        *,
        keys_only: bool = False,
        page_size: int = 0,
        max_schema_version: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[Entry]:
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
            entries, token = self._run(page)
            yield from entries
            if not token:
                return

    def list_checkpoints(
        self,
        namespace: str,
        *,
        key: str = "",
        key_prefix: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[Checkpoint]:
        """Checkpoints of a key or of a prefix, or else all of the namespace; newest first, a page at a time.

        `page_size` 0: the daemon's default. `timeout_s` is the time of each page.
        """
        token = ""
        while True:
            page = self._calls.checkpoints_page(
                namespace, token, key=key, key_prefix=key_prefix, page_size=page_size, timeout_s=timeout_s
            )
            checkpoints, token = self._run(page)
            yield from checkpoints
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
    ) -> Watch:
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
        return Watch(self._calls.following(request), self._borrow, self._give_back, self._give_up)

    def close(self) -> None:
        """Closes the connection. Calls in flight fail."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
        for near in self._near.values():
            near.close()
        if connection is not None:
            close(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _watch_near(self, near: Near) -> None:
        watch_near(near, self._calls, Door(self._borrow, self._give_back, self._give_up), self)

    def _run(self, plan: Plan[T]) -> T:
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
                resume, came = plan.send, self._perform(effect)
            except StateSidecarError as error:
                resume, came = plan.throw, error

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Attempt():
                return self._attempt(effect)
            case Pause(seconds):
                time.sleep(seconds)
                return None
            case Invoke(function, arguments):
                return function(*arguments)
            case _:
                assert_never(effect)

    def _attempt(self, attempt: Attempt) -> Any:
        connection = self._borrow()
        answers = connection.answers
        try:
            reply = self._streams.call(connection, attempt)
            if reply is None:
                reply = connection.rpcs[attempt.rpc](attempt.request, timeout=attempt.timeout_s)
        except grpc.RpcError as error:
            raise self._failed(connection, answers, error_of_rpc(error)) from error
        except StateSidecarError as error:
            self._failed(connection, answers, error)
            raise
        else:
            connection.answers += 1
            return reply
        finally:
            self._give_back(connection)

    def _borrow(self) -> Connection:
        if self._token is not None:
            self._token.look()  # Before anything is held: it may raise, or take its time
        with self._lock:
            if self._closed:
                raise InvalidRequest("CLIENT_CLOSED", "the client is closed")
            if self._connection is None:
                self._connection = connect(grpc, self.target, self._credentials)
            self._connection.in_flight += 1
            return self._connection

    def _failed(self, connection: Connection, answers: int, failure: StateSidecarError) -> StateSidecarError:
        if connection.failed(failure, answers):
            self._give_up(connection)
        return failure

    def _give_up(self, connection: Connection) -> None:
        """Nothing comes over it any more: the next call makes another."""
        with self._lock:
            if self._connection is connection:
                self._connection = None

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            connection.in_flight -= 1
            if connection is self._connection and connection.outdated:
                self._connection = None
            unused = connection is not self._connection and connection.in_flight == 0
        if unused:
            close(connection)

    def _locks(self) -> Iterator[Any]:
        yield self._lock
        yield from self._streams.locks(self._connection)

    def _forked(self) -> None:
        self._connection = None


class SessionContext:
    """A session of a blocking client, for `with`."""

    def __init__(self, run: Callable[[Plan[Any]], Any], plans: SessionPlans) -> None:
        self._run = run
        self._plans = plans

    def __enter__(self) -> Session:
        session: Session = self._run(self._plans.load())
        return session

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error_type is None:
            self._run(self._plans.save())
