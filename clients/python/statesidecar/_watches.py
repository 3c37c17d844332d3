"""Watches of both clients: iterators that go on by themselves where a stream ended."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from statesidecar._channel import Connection, let_go
from statesidecar._flag import Flag
from statesidecar._following import Following, cut
from statesidecar._status import error_of_rpc
from statesidecar.errors import StateSidecarError
from statesidecar.watching import WatchEvent

_LOOK_S = 5.0


class Watch(Iterator[WatchEvent]):
    """Changes as they come. It begins with the first that is asked for, or with its `with` block. Of one thread.

    A stream that breaks is taken up again after the last event, for as long as it takes; what can't be mended is raised,
    and then `resume_token` is where another watch can go on.
    """

    def __init__(
        self,
        following: Following,
        borrow: Callable[[], Connection],
        give_back: Callable[[Connection], None],
        give_up: Callable[[Connection], None],
    ) -> None:
        self._following = following
        self._borrow = borrow
        self._give_back = give_back
        self._give_up = give_up
        self._connection: Connection | None = None
        self._call: Any = None
        self._waiting_since: float | None = None
        self._dropping = threading.Lock()
        self._closed = Flag()
        self._guard: threading.Thread | None = None

    @property
    def resume_token(self) -> str:
        """Goes on after the last event that was returned, or later, where nothing was skipped. Empty: not known yet."""
        return self._following.resume_token

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEvent:
        # What has come is shown also after `close`: the token is after it.
        while (event := self._following.event()) is None:
            if self._closed.is_set():
                raise StopIteration
            self._receive()
        return event

    def __enter__(self) -> Self:
        """Begins: changes from now on are told."""
        while not self._following.begun and not self._closed.is_set():
            self._receive()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends it; from any thread."""
        self._closed.set()
        self._drop()

    def _receive(self) -> None:
        """One response, or one error and the pause after it."""
        try:
            call = self._call or self._open()
            self._waiting_since = time.monotonic()
            response = next(call)
            self._waiting_since = None
            self._following.take(response)
            return
        except StopIteration:
            failure: StateSidecarError = cut("the stream ended")
        except grpc.RpcError as error:
            failure = error_of_rpc(error)
        self._waiting_since = None
        self._drop()
        if not self._closed.is_set():
            self._closed.wait(self._following.failed(failure))

    def _open(self) -> Any:
        connection = self._connection = self._borrow()
        call = self._call = connection.rpcs["Watch"](self._following.request())
        if self._closed.is_set():  # Meanwhile: `close` may not have seen the call
            call.cancel()
        if self._guard is None:
            self._guard = threading.Thread(target=self._look, name="state-sidecar-watch", daemon=True)
            self._guard.start()
        return call

    def _look(self) -> None:
        """Ends a stream over which nothing comes any more: the kernel notices late or never."""
        while not self._closed.wait(min(_LOOK_S, self._following.silence_s / 2)):
            since, call, connection = self._waiting_since, self._call, self._connection
            if since is None or call is None or connection is None:
                continue
            if time.monotonic() - since > self._following.silence_s:
                self._give_up(connection)
                call.cancel()

    def _drop(self) -> None:
        with self._dropping:  # Whoever receives, and whoever closes
            call, self._call = self._call, None
            connection, self._connection = self._connection, None
        if call is not None:
            call.cancel()
        if connection is not None:
            self._give_back(connection)


class AsyncWatch(AsyncIterator[WatchEvent]):
    """As `Watch`, for asyncio: `async for`, `async with`. An `anext` that is cancelled loses nothing."""

    def __init__(
        self,
        following: Following,
        borrow: Callable[[], Connection],
        give_back: Callable[[Connection], Any],
        give_up: Callable[[Connection], None],
    ) -> None:
        self._following = following
        self._borrow = borrow
        self._give_back = give_back
        self._give_up = give_up
        self._connection: Connection | None = None
        self._call: Any = None
        self._closed = False

    @property
    def resume_token(self) -> str:
        """Goes on after the last event that was returned, or later, where nothing was skipped. Empty: not known yet."""
        return self._following.resume_token

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        while not self._closed:
            event = self._following.event()
            if event is not None:
                return event
            await self._receive()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        """Begins: changes from now on are told."""
        while not self._following.begun and not self._closed:
            await self._receive()
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends it."""
        self._closed = True
        await self._drop()

    async def _receive(self) -> None:
        try:
            if self._call is None:
                self._connection = self._borrow()
                self._call = self._connection.rpcs["Watch"](self._following.request())
            async with asyncio.timeout(self._following.silence_s):
                response = await self._call.read()
            if response is not grpc.aio.EOF:
                self._following.take(response)
                return
            failure: StateSidecarError = cut("the stream ended")
        except TimeoutError:
            assert self._connection is not None, "it was read from"
            self._give_up(self._connection)
            failure = cut("nothing came for a while")
        except grpc.RpcError as error:
            failure = error_of_rpc(error)
        except asyncio.CancelledError:
            # The caller's, or of the stream by `close`; a read that was cancelled takes its stream with it.
            await self._drop()
            if self._closed:
                return
            raise
        await self._drop()
        if not self._closed:
            await asyncio.sleep(self._following.failed(failure))

    async def _drop(self) -> None:
        call, self._call = self._call, None
        connection, self._connection = self._connection, None
        if call is not None:
            call.cancel()
            await call.code()  # Its end is told to the loop, which may be closed in a moment
            let_go(call)
        if connection is not None:
            await self._give_back(connection)
