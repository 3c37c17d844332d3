"""Watch: what a watcher is told, onto its stream, until its caller goes, takes nothing, or the daemon drains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing

from sidecar.core.errors import Draining, LimitExceeded
from sidecar.core.modes import ServingMode
from sidecar.core.store import ChangeKind
from sidecar.engine.watching import Asked, Told, Watch, Watching
from sidecar.rpc import convert
from sidecar.rpc.calls import Admission, Context, refuse_unreadable
from sidecar.rpc.status import abort, as_sidecar_error
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2

SLOW_S = 10.0
"""A response that its caller doesn't take for so long ends the stream."""
TYPES = {
    ChangeKind.PUT: pb.EVENT_TYPE_PUT,
    ChangeKind.DELETE: pb.EVENT_TYPE_DELETE,
    ChangeKind.EXPIRE: pb.EVENT_TYPE_EXPIRE,
}


class Watches:
    """The watchers of a daemon, at most `watches_max`. A drain doesn't wait for them: it ends them."""

    def __init__(self, watching: Watching, admission: Admission, *, watches_max: int, slow_s: float = SLOW_S) -> None:
        self._watching = watching
        self._admission = admission
        self._watches_max = watches_max
        self._slow_s = slow_s
        self.count = 0
        self._timers: set[asyncio.Timeout] = set()
        """Of those who are told something: they end when their time does."""

    def enter(self) -> None:
        """One watcher more; DRAINING or QUEUE_FULL. Whoever entered must leave."""
        self._admission.enter_stream()
        if self.count >= self._watches_max:
            self._admission.leave_stream()
            raise LimitExceeded(f"{self.count} watchers are served; close some", retry_after_s=1.0)
        self.count += 1

    def leave(self) -> None:
        """One watcher less."""
        self.count -= 1
        self._admission.leave_stream()

    def end(self) -> None:
        """End all of them, wherever they are, with DRAINING."""
        now = asyncio.get_running_loop().time()
        for timer in self._timers:
            timer.reschedule(now)

    async def tell(self, asked: Asked, context: Context) -> None:
        """Until it ends in an error. Raises DRAINING, WATCH_TOO_SLOW, and what `Watching` and `Watch` do."""
        timer = asyncio.timeout(None)
        try:
            async with timer:
                self._timers.add(timer)
                with closing(await self._watching.open(asked)) as watch:
                    await self._follow(watch, asked.namespace, context)
        except TimeoutError:
            if not timer.expired():
                raise  # somebody else's, and a bug
            raise Draining(
                "the daemon is stopping; another is about to take its place: go on there with the last resume_token",
                retry_after_s=0.5,
            ) from None
        finally:
            self._timers.discard(timer)

    async def _follow(self, watch: Watch, namespace: str, context: Context) -> None:
        while True:
            told = await watch.next()
            for one in told:
                await self._write(context, _response(namespace, one))
            if not told:
                try:
                    async with asyncio.timeout(watch.idle_s):
                        await watch.more()
                except TimeoutError:
                    pass  # a bookmark is due

    async def _write(self, context: Context, response: pb.WatchResponse) -> None:
        try:
            async with asyncio.timeout(self._slow_s):
                await context.write(response)
        except TimeoutError:
            # The response is on its way, and comes before the status: what is told next comes after it.
            raise LimitExceeded(
                f"a response was not taken for {self._slow_s:g} s: go on with the newest resume_token, and read faster",
                reason="WATCH_TOO_SLOW",
                retry_after_s=1.0,
                metadata={"resume_token": response.resume_token},
            ) from None


class WatchService:
    """A part of StateService, which has the rest."""

    mode: Callable[[], ServingMode | None]
    _watches: Watches

    async def Watch(self, request: pb.WatchRequest, context: Context) -> None:
        try:
            self._watches.enter()
        except (Draining, LimitExceeded) as exc:
            await abort(context, exc, mode=self.mode())
        try:
            refuse_unreadable(request)
            await self._watches.tell(_asked(request), context)
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "Watch"), mode=self.mode())
        finally:
            # Not before the status was taken, or the caller is gone: until then the stream costs something.
            self._watches.leave()


def _asked(request: pb.WatchRequest) -> Asked:
    return Asked(
        namespace=request.namespace,
        key=request.key,
        key_prefix=request.key_prefix,
        all_keys=request.all,
        resume_token=request.resume_token,
        include_value=request.include_value,
        snapshot=request.snapshot,
        max_schema_version=request.max_schema_version,
    )


def _response(namespace: str, told: Told) -> pb.WatchResponse:
    if told.kind is None:
        return pb.WatchResponse(resume_token=told.token, snapshot_complete=told.complete)
    entry = (
        types_pb2.Entry(namespace=namespace, key=told.key, version=told.version)
        if told.entry is None
        else convert.entry(told.entry)
    )
    event = pb.Event(type=TYPES[told.kind], entry=entry, superseded=told.superseded)
    return pb.WatchResponse(event=event, resume_token=told.token)
