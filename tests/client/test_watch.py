"""Watches of both clients: over a real daemon, cuts, restarts and silence; and how a watch goes on, without any."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from statesidecar import (
    AsyncStateClient,
    Entry,
    RetryPolicy,
    StateClient,
    WatchEvent,
    WatchEventType,
    WatchExpired,
    errors,
)
from statesidecar._following import Following
from statesidecar.testing import RunningSidecar, sidecar
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.client.proxy import Proxy

PUT, DELETE, SYNCED, RESYNC = (
    WatchEventType.PUT,
    WatchEventType.DELETE,
    WatchEventType.SYNCED,
    WatchEventType.RESYNC,
)
QUICK = RetryPolicy(backoff_initial_s=0.01, backoff_max_s=0.05)
EMBEDDED = {"hot": "memory://", "warm": "memory://", "cold": "none://"}
END_S = 30.0


class Watched:
    """A watch of either client, as tests see both."""

    def __init__(self, target: str, *, blocking: bool, **asked: Any) -> None:
        whole: dict[str, Any] = {"namespace": "shop", "all_keys": not ({"key", "prefix"} & set(asked))} | asked
        self._runner = asyncio.Runner()
        caller = {name: whole.pop(name) for name in ("token", "token_file", "tls") if name in whole}
        self._client: Any = (StateClient if blocking else AsyncStateClient)(target, retry=QUICK, **caller)
        self._blocking = blocking
        self.watch: Any = self._client.watch(whole.pop("namespace"), **whole)

    def _run(self, what: Callable[[], Any]) -> Any:
        async def run() -> Any:
            async with asyncio.timeout(END_S):
                return await what()

        return what() if self._blocking else self._runner.run(run())

    def begin(self) -> Watched:
        self._run(self.watch.__enter__ if self._blocking else self.watch.__aenter__)
        return self

    def next(self) -> WatchEvent:
        event: WatchEvent = self._run(self.watch.__next__ if self._blocking else self.watch.__anext__)
        return event

    def several(self, count: int) -> list[tuple[WatchEventType, str, int]]:
        events = [self.next() for _ in range(count)]
        return [(event.type, event.key, event.version) for event in events]

    def close(self) -> None:
        self._run(self.watch.close)
        self._run(self._client.close)
        self._runner.close()


@pytest.fixture(params=[True, False], ids=["blocking", "asyncio"])
def blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def volatile() -> Iterator[RunningSidecar]:
    """A daemon for the test alone."""
    with sidecar(tiers=EMBEDDED) as running:
        yield running


def begun(target: str, *, blocking: bool, **asked: Any) -> closing[Watched]:
    return closing(Watched(target, blocking=blocking, **asked).begin())


def test_events_are_what_was_done(volatile: RunningSidecar, blocking: bool) -> None:
    client = volatile.client()
    with begun(volatile.target, blocking=blocking, include_value=True) as watched:
        written = client.set("shop", "key", "value", labels={"a": "b"}).version
        put = watched.next()
        deleted = client.delete("shop", "key").version
        gone = watched.next()

    assert (put.type, put.key, put.version, put.superseded) == (PUT, "key", written, False)
    assert put.entry is not None
    assert (put.entry.value, put.entry.labels) == (b"value", {"a": "b"})
    assert (gone.type, gone.key, gone.version) == (DELETE, "key", deleted)


def test_a_snapshot_ends_with_an_event(volatile: RunningSidecar, blocking: bool) -> None:
    client = volatile.client()
    versions = {key: client.set("shop", key, "").version for key in ("b/2", "a", "b/1")}
    with begun(volatile.target, blocking=blocking, prefix="b/", snapshot=True) as watched:
        shown = watched.several(3)
        later = client.set("shop", "b/3", "").version

        assert watched.several(1) == [(PUT, "b/3", later)]
    assert shown == [(PUT, "b/1", versions["b/1"]), (PUT, "b/2", versions["b/2"]), (SYNCED, "", 0)]


def test_a_watch_goes_on_from_another_s_token(volatile: RunningSidecar, blocking: bool) -> None:
    client = volatile.client()
    with begun(volatile.target, blocking=blocking, key="key") as watched:
        begin = watched.watch.resume_token
        first = client.set("shop", "key", "1").version
        event = watched.next()
    second = client.set("shop", "key", "2").version

    for token, versions in ((begin, [first, second]), (event.resume_token, [second])):
        with begun(volatile.target, blocking=blocking, key="key", resume_token=token) as resumed:
            assert [version for _, _, version in resumed.several(len(versions))] == versions


def test_cut_connections_are_not_noticed(volatile: RunningSidecar, blocking: bool) -> None:
    client = volatile.client()
    with Proxy(volatile.target) as proxy, begun(proxy.target, blocking=blocking) as watched:
        expected = []
        for number in range(5):
            expected.append((PUT, f"{number} before", client.set("shop", f"{number} before", "").version))
            proxy.cut()
            expected.append((PUT, f"{number} after", client.set("shop", f"{number} after", "").version))

        assert watched.several(10) == expected


def test_a_connection_that_is_silent_is_given_up(
    volatile: RunningSidecar, blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Following, "silence_s", 0.2)
    monkeypatch.setattr("statesidecar._watches._LOOK_S", 0.05)
    client = volatile.client()
    with Proxy(volatile.target) as proxy, begun(proxy.target, blocking=blocking) as watched:
        proxy.silence()
        version = client.set("shop", "key", "").version

        assert watched.several(1) == [(PUT, "key", version)]


def test_a_restart_is_not_noticed(tmp_path: Path, blocking: bool) -> None:
    kept: dict[str, Any] = {"data_dir": tmp_path, "tiers": {"cold": "none://"}}
    with sidecar(**kept) as first:
        target = first.target
        watched = Watched(target, blocking=blocking).begin()
        before = first.client().set("shop", "before", "").version
    with closing(watched), sidecar(**kept, listen=[target]) as second:
        after = second.client().set("shop", "after", "").version

        assert watched.several(2) == [(PUT, "before", before), (PUT, "after", after)]


def test_what_was_forgotten_is_said(blocking: bool) -> None:
    with sidecar(tiers=EMBEDDED) as first:
        target = first.target
        watched = Watched(target, blocking=blocking).begin()
    with closing(watched), sidecar(tiers=EMBEDDED, listen=[target]), pytest.raises(WatchExpired) as caught:
        watched.next()

    assert caught.value.reason == "OUT_OF_RANGE"


def test_after_what_was_forgotten_comes_a_new_snapshot(blocking: bool) -> None:
    with sidecar(tiers=EMBEDDED) as first:
        target = first.target
        first.client().set("shop", "old", "")
        watched = Watched(target, blocking=blocking, snapshot=True)
        shown = watched.several(2)
    with closing(watched), sidecar(tiers=EMBEDDED, listen=[target]) as second:
        new = second.client().set("shop", "new", "").version

        told = watched.several(2)
        told += watched.several(1) if told[-1][0] is RESYNC else []
        assert [kind for kind, _, _ in shown] == [PUT, SYNCED]
        assert told[0][0] is RESYNC
        assert (PUT, "new", new) in [*told, *watched.several(1)]


def test_what_can_not_be_mended_is_raised(volatile: RunningSidecar, blocking: bool) -> None:
    watched = Watched(volatile.target, blocking=blocking, resume_token="mine")
    with closing(watched), pytest.raises(errors.InvalidRequest) as caught:
        watched.next()

    assert caught.value.reason == "RESUME_TOKEN_INVALID"


def test_a_daemon_that_was_never_there_is_said(blocking: bool) -> None:
    with closing(Watched("127.0.0.1:1", blocking=blocking)) as watched, pytest.raises(errors.Unavailable):
        watched.next()


def test_a_watch_that_is_closed_ends(volatile: RunningSidecar) -> None:
    with StateClient(volatile.target) as client:
        watch = client.watch("shop", all_keys=True)
        with watch:
            closer = threading.Thread(target=watch.close)
            closer.start()
            assert list(watch) == []
            closer.join()


async def test_an_anext_that_is_cancelled_loses_nothing(volatile: RunningSidecar) -> None:
    client = volatile.client()
    async with AsyncStateClient(volatile.target) as watcher, watcher.watch("shop", all_keys=True) as watch:
        for number in range(5):
            waiting = asyncio.create_task(anext(watch))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            written = await asyncio.to_thread(client.set, "shop", f"{number}", "")
            event = await anext(watch)
            assert (event.key, event.version) == (f"{number}", written.version)
        await watch.close()
        assert [event async for event in watch] == []


# ---- how it goes on


def response(version: int = 0, token: str = "", *, complete: bool = False) -> pb.WatchResponse:
    event = pb.Event(type=pb.EVENT_TYPE_PUT, entry=types_pb2.Entry(key="k", version=version)) if version else None
    return pb.WatchResponse(event=event, resume_token=token, snapshot_complete=complete)


def following(**asked: Any) -> Following:
    return Following(pb.WatchRequest(namespace="shop", all=True, **asked), RetryPolicy(), lambda: 1.0)


def cut(reason: str = "", code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> errors.Unavailable:
    return errors.Unavailable(reason, "cut", code=code)


EXPIRED = WatchExpired("OUT_OF_RANGE", code=grpc.StatusCode.OUT_OF_RANGE)


def test_the_next_stream_goes_on_after_the_last_response() -> None:
    state = following()
    for one in (response(1, "one"), response(token="bookmark")):
        state.take(one)

    state.failed(cut())

    assert state.request().resume_token == "bookmark"
    assert state.event() == WatchEvent(
        type=PUT, entry=Entry(namespace="", key="k", value=b"", version=1), resume_token="one"
    )
    assert state.event() is None


def test_a_snapshot_that_was_cut_is_begun_anew_and_said() -> None:
    state = following(snapshot=True)
    assert state.request().snapshot
    state.take(response(1))
    state.event()
    state.failed(cut())

    again = state.request()

    assert (again.snapshot, again.resume_token) == (True, "")
    resync = state.event()
    assert resync is not None
    assert resync.type is RESYNC
    state.failed(cut())
    assert state.event() is None, "nothing was shown since"


def test_after_its_snapshot_a_watch_goes_on_by_token() -> None:
    state = following(snapshot=True)
    for one in (response(1), response(token="complete", complete=True)):
        state.take(one)

    state.failed(cut())

    again = state.request()
    assert (again.snapshot, again.resume_token) == (False, "complete")
    assert [state.event() for _ in range(3)][2] is None


@pytest.mark.parametrize("snapshot", [False, True])
def test_what_was_forgotten_needs_a_snapshot(snapshot: bool) -> None:
    state = following(snapshot=snapshot, resume_token="old")
    if not snapshot:
        with pytest.raises(WatchExpired):
            state.failed(EXPIRED)
        return
    state.failed(EXPIRED)

    assert (state.request().snapshot, state.request().resume_token) == (True, "")
    event = state.event()
    assert event is not None
    assert event.type is RESYNC


@pytest.mark.parametrize(
    "error",
    [
        cut(),
        cut("DRAINING"),
        errors.Unavailable("AUTHORITY_UNAVAILABLE", code=grpc.StatusCode.UNAVAILABLE, retry_after_s=0.5),
        errors.LimitExceeded("WATCH_TOO_SLOW", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.5),
        errors.LimitExceeded("QUEUE_FULL", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.5),
        errors.InternalError("", code=grpc.StatusCode.INTERNAL),
        cut(code=grpc.StatusCode.CANCELLED),
    ],
)
def test_what_passes_is_waited_for_as_long_as_it_takes(error: errors.StateSidecarError) -> None:
    state = following()
    state.take(response(1, "one"))

    pauses = [state.failed(error) for _ in range(100)]

    asked_s = getattr(error, "retry_after_s", None) or 0.0
    assert pauses[0] == asked_s + 0.05
    assert max(pauses) == asked_s + RetryPolicy().backoff_max_s


@pytest.mark.parametrize(
    "error",
    [
        cut("PASSTHROUGH"),
        errors.InvalidRequest("KEY_INVALID", code=grpc.StatusCode.INVALID_ARGUMENT),
        errors.CapabilityMissing("CAPABILITY_MISSING", code=grpc.StatusCode.UNIMPLEMENTED),
        errors.DataLoss("ENTRY_CORRUPT", code=grpc.StatusCode.DATA_LOSS),
        errors.LimitExceeded("QUOTA_EXCEEDED", code=grpc.StatusCode.RESOURCE_EXHAUSTED),
        errors.InternalError("INTERNAL", code=grpc.StatusCode.INTERNAL),
    ],
)
def test_what_does_not_pass_is_raised(error: errors.StateSidecarError) -> None:
    with pytest.raises(type(error)):
        following().failed(error)


def test_who_was_never_answered_gives_up() -> None:
    state = following()
    for _ in range(RetryPolicy().attempts_max - 1):
        state.failed(cut())

    with pytest.raises(errors.Unavailable):
        state.failed(cut())
