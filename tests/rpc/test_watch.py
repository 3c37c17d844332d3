"""Watch over real gRPC: what a stream tells, how it ends, and what its error says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core.store import SweepOrder
from sidecar.engine.watching import Feed
from statesidecar.v1 import state_service_pb2 as pb
from tests.rpc.error_table import UNKNOWN_FIELD
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.statuses import Refusal, refusal_of

NS = "shop"
PUT, DELETE, EXPIRE = pb.EVENT_TYPE_PUT, pb.EVENT_TYPE_DELETE, pb.EVENT_TYPE_EXPIRE
END_S = 20.0
"""How long a failing test waits for an event."""


class Stream:
    """One call of Watch."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.token = ""
        self.heard: list[Any] = []
        """What came before it ended."""

    async def response(self) -> Any:
        async with asyncio.timeout(END_S):
            response = await self.call.read()
        assert response is not grpc.aio.EOF
        self.token = response.resume_token or self.token
        return response

    async def bookmark(self) -> Any:
        response = await self.response()
        assert not response.HasField("event")
        return response

    async def event(self) -> Any:
        """The next that is no bookmark."""
        while not (response := await self.response()).HasField("event"):
            pass
        return response.event

    async def events(self, count: int) -> list[tuple[Any, str, int]]:
        events = [await self.event() for _ in range(count)]
        return [(event.type, event.entry.key, event.entry.version) for event in events]

    async def refused(self) -> Refusal:
        """What ends it; events before that are read."""
        try:
            async with asyncio.timeout(END_S):
                while (response := await self.call.read()) is not grpc.aio.EOF:
                    self.heard.append(response)
        except grpc.aio.AioRpcError as error:
            return refusal_of(error)
        raise AssertionError("it ended without an error")


@asynccontextmanager
async def watching(daemon: RunningDaemon, **asked: Any) -> AsyncIterator[Stream]:
    """A watch that has begun, unless it begins with a snapshot."""
    whole: dict[str, Any] = {"namespace": NS, "all": not ({"key", "key_prefix"} & set(asked))} | asked
    stream = Stream(daemon.state.Watch(pb.WatchRequest(**whole)))
    if not asked.get("snapshot"):
        await stream.response()
    yield stream
    stream.call.cancel()


async def put(daemon: RunningDaemon, key: str, value: bytes = b"value", **fields: Any) -> int:
    reply = await daemon.state.Set(pb.SetRequest(namespace=NS, key=key, value=value, **fields))
    return int(reply.version)


def feed_of(daemon: RunningDaemon) -> Feed:
    """That of namespaces with `authority: warm`."""
    return next(feed for feed in daemon.daemon._engine.watching.feeds if feed.placement is daemon.warm)


async def watchers(daemon: RunningDaemon, count: int) -> None:
    """Until so many are open."""
    async with asyncio.timeout(END_S):
        while daemon.daemon._watches.count != count:  # noqa: ASYNC110  # a count that has no signal
            await asyncio.sleep(0)


async def test_every_change_is_told(daemon: RunningDaemon) -> None:
    async with watching(daemon) as stream:
        first, second = await put(daemon, "a"), await put(daemon, "b")
        deleted = (await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="a"))).version

        assert await stream.events(3) == [(PUT, "a", first), (PUT, "b", second), (DELETE, "a", deleted)]


async def test_an_event_without_value_is_namespace_key_and_version(daemon: RunningDaemon) -> None:
    async with watching(daemon) as stream:
        version = await put(daemon, "key", content_type="text/plain", labels={"a": "b"})

        entry = (await stream.event()).entry

    assert entry == type(entry)(namespace=NS, key="key", version=version)


async def test_an_event_with_value_is_the_entry(daemon: RunningDaemon) -> None:
    async with watching(daemon, include_value=True) as stream:
        await put(daemon, "key", b"bytes", content_type="text/plain", labels={"a": "b"}, schema_version=3)

        event = await stream.event()

    [got] = (await daemon.state.BatchGet(pb.BatchGetRequest(namespace=NS, keys=["key"]))).results
    assert event.entry == got.entry
    assert not event.superseded


async def test_an_expiry_is_told_when_it_is_swept(daemon: RunningDaemon) -> None:
    async with watching(daemon) as stream:
        request = pb.SetRequest(namespace=NS, key="key")
        request.ttl.FromMilliseconds(1)
        await daemon.state.Set(request)
        order = SweepOrder(limit=10, tombstone_retention_ms=60_000, request_retention_ms=60_000)
        while not (await daemon.warm.sweep(order)).expired:
            pass

        assert [kind for kind, _, _ in await stream.events(2)] == [PUT, EXPIRE]


async def test_the_changes_of_another_daemon_are_told(daemon: RunningDaemon) -> None:
    async with watching(daemon) as stream:
        version = await daemon.write_behind_the_cache(NS, "key", b"value")

        assert await stream.events(1) == [(PUT, "key", version)]


async def test_a_transaction_is_told_under_one_version(daemon: RunningDaemon) -> None:
    async with watching(daemon) as stream:
        operations = [pb.TransactOperation(set=pb.SetRequest(key=key)) for key in "abc"]
        version = (await daemon.state.Transact(pb.TransactRequest(namespace=NS, operations=operations))).version

        assert await stream.events(3) == [(PUT, key, version) for key in "abc"]


async def test_a_stream_goes_on_from_any_token(daemon: RunningDaemon) -> None:
    async with watching(daemon) as stream:
        tokens = [stream.token]
        versions = []
        for number in range(5):
            versions.append((PUT, f"{number}", await put(daemon, f"{number}")))
            await stream.event()
            tokens.append(stream.token)

    for at, token in enumerate(tokens):
        resumed = Stream(daemon.state.Watch(pb.WatchRequest(namespace=NS, all=True, resume_token=token)))
        assert await resumed.events(5 - at) == versions[at:]
        resumed.call.cancel()


async def test_bookmarks_come_while_nothing_happens(volatile: RunningDaemon) -> None:
    async with watching(volatile, key="quiet") as stream:
        begin = stream.token
        await put(volatile, "another")
        loop = asyncio.get_running_loop()
        before = loop.time()

        await stream.bookmark()

        assert loop.time() - before < 1.0 + END_S / 4
        assert stream.token != begin


async def test_a_snapshot_then_changes(daemon: RunningDaemon) -> None:
    versions = {key: await put(daemon, key, key.encode()) for key in ("b", "a", "x")}
    async with watching(daemon, key_prefix="", snapshot=True, include_value=True, all=True) as stream:
        shown = [await stream.response() for _ in range(4)]
        later = await put(daemon, "b", b"later")
        after = await stream.event()

    assert [response.event.entry.key for response in shown[:3]] == ["a", "b", "x"]
    assert [response.event.entry.version for response in shown[:3]] == [versions[key] for key in ("a", "b", "x")]
    assert [response.event.entry.value for response in shown[:3]] == [b"a", b"b", b"x"]
    assert [response.resume_token for response in shown[:3]] == [""] * 3
    assert shown[3].snapshot_complete
    assert shown[3].resume_token
    assert (after.entry.version, after.entry.value) == (later, b"later")


@pytest.mark.parametrize(
    ("asked", "reason", "field"),
    [
        ({"namespace": ""}, "NAMESPACE_INVALID", "namespace"),
        ({"namespace": "a\nb"}, "NAMESPACE_INVALID", "namespace"),
        ({"all": False}, "PREFIX_EMPTY", "key_prefix"),
        ({"key": "k" * 1025, "all": False}, "KEY_INVALID", "key"),
        ({"key_prefix": "k" * 1025}, "KEY_INVALID", "key_prefix"),
        ({"key": "k"}, "KEY_INVALID", "key"),
        ({"resume_token": "mine"}, "RESUME_TOKEN_INVALID", "resume_token"),
        ({"resume_token": "mine", "snapshot": True}, "RESUME_TOKEN_INVALID", "resume_token"),
    ],
)
async def test_a_request_that_can_not_be_served(
    volatile: RunningDaemon, asked: dict[str, Any], reason: str, field: str
) -> None:
    whole: dict[str, Any] = {"namespace": NS, "all": True} | asked
    request = pb.WatchRequest(**whole)

    refused = await Stream(volatile.state.Watch(request)).refused()

    assert refused.told == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert [violation.field for violation in refused.violations] == [field]
    await watchers(volatile, 0)


async def test_unknown_fields_and_what_is_no_message(volatile: RunningDaemon) -> None:
    unknown = pb.WatchRequest(namespace=NS, all=True)
    unknown.MergeFromString(UNKNOWN_FIELD)
    raw: Any = volatile.channel.unary_stream("/statesidecar.v1.StateService/Watch")

    assert (await Stream(volatile.state.Watch(unknown)).refused()).reason == "FIELD_UNKNOWN"
    assert (await Stream(raw(b"\xff\xff")).refused()).reason == "REQUEST_MALFORMED"


async def test_a_token_that_is_too_old(tmp_path: Path) -> None:
    async with running_daemon(tmp_path) as first, watching(first) as stream:
        token = stream.token
    async with running_daemon(tmp_path) as second:
        request = pb.WatchRequest(namespace=NS, all=True, resume_token=token)

        refused = await Stream(second.state.Watch(request)).refused()

    assert refused.told == (grpc.StatusCode.OUT_OF_RANGE, "OUT_OF_RANGE")


async def test_a_stream_ends_when_the_authority_is_away_and_goes_on_when_it_is_back(daemon: RunningDaemon) -> None:
    async with watching(daemon) as stream:
        token = stream.token
        store = daemon.switch()
        store.away()

        refused = await stream.refused()
        at_once = await refusal_of_watch(daemon, token)
        store.back()
        await daemon.healed()
        version = await put(daemon, "key")
        resumed = Stream(daemon.state.Watch(pb.WatchRequest(namespace=NS, all=True, resume_token=token)))

        assert await resumed.events(1) == [(PUT, "key", version)]
        resumed.call.cancel()
    assert refused.told == at_once.told == (grpc.StatusCode.UNAVAILABLE, "AUTHORITY_UNAVAILABLE")
    assert refused.retry is not None


async def refusal_of_watch(daemon: RunningDaemon, token: str) -> Refusal:
    return await Stream(daemon.state.Watch(pb.WatchRequest(namespace=NS, all=True, resume_token=token))).refused()


async def test_a_drain_ends_streams_at_once(daemon: RunningDaemon) -> None:
    async with watching(daemon) as one, watching(daemon, key="key") as another:
        loop = asyncio.get_running_loop()
        began = loop.time()

        stopping = asyncio.create_task(daemon.daemon.stop())
        refused = [await one.refused(), await another.refused()]
        await stopping

        assert loop.time() - began < daemon.daemon.settings.grace_period_s / 2
    assert [told.told for told in refused] == [(grpc.StatusCode.UNAVAILABLE, "DRAINING")] * 2
    assert all(told.retry is not None for told in refused)


async def test_no_more_watchers_than_the_bound(tmp_path: Path) -> None:
    async with running_daemon(tmp_path, watches_max=2) as daemon:
        async with watching(daemon), watching(daemon):
            refused = await Stream(daemon.state.Watch(pb.WatchRequest(namespace=NS, all=True))).refused()
        await watchers(daemon, 0)
        async with watching(daemon) as later:
            assert later.token

    assert refused.told == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert refused.retry is not None


async def test_a_caller_that_is_gone_is_watched_for_no_longer(daemon: RunningDaemon) -> None:
    async with watching(daemon):
        await watchers(daemon, 1)
    await watchers(daemon, 0)

    assert feed_of(daemon).watchers == 0
    assert daemon.daemon._admission.streams == 0


async def test_who_takes_nothing_is_told_so_and_loses_nothing(volatile: RunningDaemon) -> None:
    volatile.daemon._watches._slow_s = 0.2
    big = bytes(200_000)
    async with watching(volatile, include_value=True) as slow:
        versions = [(PUT, f"{number}", await put(volatile, f"{number}", big)) for number in range(50)]
        async with watching(volatile) as other:
            while feed_of(volatile).watchers > 1:
                await other.response()
            refused = await slow.refused()
        seen = [response.event for response in slow.heard if response.HasField("event")]
        token = refused.info.metadata["resume_token"]
        volatile.daemon._watches._slow_s = END_S
        resumed = Stream(volatile.state.Watch(pb.WatchRequest(namespace=NS, all=True, resume_token=token)))
        rest = await resumed.events(len(versions) - len(seen))
        resumed.call.cancel()

    assert refused.told == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCH_TOO_SLOW")
    assert refused.retry is not None
    assert [(event.type, event.entry.key, event.entry.version) for event in seen] + rest == versions
    assert rest


async def test_a_bug_of_ours_is_internal(volatile: RunningDaemon) -> None:
    async with watching(volatile) as stream:
        volatile.switch().fail_next("changes", RuntimeError("planted"))
        await put(volatile, "key")

        refused = await stream.refused()

    assert refused.told == (grpc.StatusCode.INTERNAL, "INTERNAL")
