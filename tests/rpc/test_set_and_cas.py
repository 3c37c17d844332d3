"""Set: the last writer wins. CAS: only if the version is still the expected one, 0 being that there is no entry."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon
from tests.support.statuses import Refusal, refusal

NS = "shop"


async def stored(daemon: RunningDaemon, key: str = "key") -> types.Entry | None:
    read = pb.GetRequest(namespace=NS, key=key, consistency=types.CONSISTENCY_STRONG)
    reply = await daemon.state.Get(read)
    return reply.entry if reply.HasField("entry") else None


def assert_conflict(refused: Refusal, *, key: str, expected: int, current: int) -> None:
    assert refused.told == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert refused.conflict == types.ConflictInfo(key=key, expected_version=expected, current_version=current)


async def test_set_replaces_all_of_an_entry(daemon: RunningDaemon) -> None:
    first = pb.SetRequest(
        namespace=NS, key="key", value=b"1", content_type="text/plain", schema_version=1, labels={"a": "1"}
    )
    first.ttl.FromSeconds(60)
    await daemon.state.Set(first)
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"2"))

    entry = await stored(daemon)

    assert entry is not None
    assert (entry.value, entry.content_type, entry.schema_version, dict(entry.labels)) == (b"2", "", 0, {})
    assert not entry.HasField("expire_time")


async def test_versions_of_a_key_rise_across_delete_and_create(daemon: RunningDaemon) -> None:
    versions = []
    for _ in range(3):
        versions.append((await daemon.state.Set(pb.SetRequest(namespace=NS, key="key"))).version)
        versions.append((await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="key"))).version)

    assert versions == sorted(set(versions))
    assert versions[0] > 0


async def test_set_answers_when_the_entry_ends(daemon: RunningDaemon) -> None:
    request = pb.SetRequest(namespace=NS, key="key", value=b"1")
    request.ttl.FromSeconds(60)

    written = await daemon.state.Set(request)
    entry = await stored(daemon)

    assert entry is not None
    assert written.expire_time == entry.expire_time
    assert entry.expire_time.ToMilliseconds() - entry.update_time.ToMilliseconds() == 60_000


async def test_cas_from_nothing_and_on(daemon: RunningDaemon) -> None:
    created = await daemon.state.CAS(pb.CASRequest(namespace=NS, key="key", value=b"1"))
    changed = await daemon.state.CAS(
        pb.CASRequest(namespace=NS, key="key", value=b"2", expected_version=created.version)
    )

    entry = await stored(daemon)

    assert entry is not None
    assert (entry.value, entry.version) == (b"2", changed.version)
    assert changed.version > created.version


async def test_cas_0_of_a_key_that_exists_is_a_conflict(daemon: RunningDaemon) -> None:
    current = (await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"1"))).version

    refused = await refusal(daemon.state.CAS(pb.CASRequest(namespace=NS, key="key", value=b"2")))

    assert_conflict(refused, key="key", expected=0, current=current)
    assert (await stored(daemon)).value == b"1"  # type: ignore[union-attr]  # it is there


async def test_cas_of_an_outdated_version_is_a_conflict(daemon: RunningDaemon) -> None:
    old = (await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"1"))).version
    current = (await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"2"))).version

    refused = await refusal(daemon.state.CAS(pb.CASRequest(namespace=NS, key="key", value=b"3", expected_version=old)))

    assert_conflict(refused, key="key", expected=old, current=current)
    assert refused.info.metadata == {"expected_version": str(old), "current_version": str(current)}


async def test_cas_of_a_version_on_an_absent_key_is_a_conflict(daemon: RunningDaemon) -> None:
    refused = await refusal(daemon.state.CAS(pb.CASRequest(namespace=NS, key="key", value=b"1", expected_version=7)))

    assert_conflict(refused, key="key", expected=7, current=0)
    assert await stored(daemon) is None


@pytest.mark.parametrize("gone", ["deleted", "deleted and created"])
async def test_a_version_from_before_a_delete_never_matches(daemon: RunningDaemon, gone: str) -> None:
    old = (await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"1"))).version
    await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="key"))
    current = 0
    if gone == "deleted and created":
        current = (await daemon.state.CAS(pb.CASRequest(namespace=NS, key="key", value=b"1"))).version

    refused = await refusal(daemon.state.CAS(pb.CASRequest(namespace=NS, key="key", value=b"2", expected_version=old)))

    assert_conflict(refused, key="key", expected=old, current=current)


async def test_of_many_who_create_a_key_at_once_one_does(daemon: RunningDaemon) -> None:
    requests = [pb.CASRequest(namespace=NS, key="key", value=b"%d" % number) for number in range(32)]

    replies = await asyncio.gather(*(daemon.state.CAS(request) for request in requests), return_exceptions=True)

    winners = [number for number, reply in enumerate(replies) if isinstance(reply, pb.CASResponse)]
    codes = {reply.code() for reply in replies if isinstance(reply, grpc.aio.AioRpcError)}
    assert len(winners) == 1
    assert codes == {grpc.StatusCode.ABORTED}
    assert (await stored(daemon)).value == b"%d" % winners[0]  # type: ignore[union-attr]  # it is there


async def test_concurrent_compare_and_set_loses_no_increment(daemon: RunningDaemon) -> None:
    async def increment() -> None:
        for _ in range(5):
            while True:
                entry = await stored(daemon)
                value, version = (int(entry.value), entry.version) if entry else (0, 0)
                request = pb.CASRequest(namespace=NS, key="key", value=b"%d" % (value + 1), expected_version=version)
                try:
                    await daemon.state.CAS(request)
                    break
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.ABORTED:
                        raise

    await asyncio.gather(*(increment() for _ in range(8)))

    assert (await stored(daemon)).value == b"40"  # type: ignore[union-attr]  # it is there


async def test_a_value_of_exactly_4_mib_is_stored_and_read(daemon: RunningDaemon) -> None:
    value = b"\x00\xff" * (2 * 1024 * 1024)
    await daemon.state.Set(pb.SetRequest(namespace=NS, key="key", value=value))

    cached = await daemon.state.Get(pb.GetRequest(namespace=NS, key="key"))
    strong = await stored(daemon)

    assert cached.entry.value == value
    assert strong is not None
    assert strong.value == value


@pytest.mark.parametrize("key", ["k" * 1024, "é" * 512, "🧀" * 256, "\x00", " ", "a\nb", "\U0010ffff"])
async def test_any_key_of_utf8_up_to_1024_bytes_is_a_key(daemon: RunningDaemon, key: str) -> None:
    await daemon.state.Set(pb.SetRequest(namespace=NS, key=key, value=b"value"))

    entry = await stored(daemon, key)
    listed = await daemon.state.List(pb.ListRequest(namespace=NS))

    assert entry is not None
    assert [found.key for found in listed.entries] == [key]
