"""Delete is a change with a version of its own; Touch moves an end and no version."""

from __future__ import annotations

import grpc

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon
from tests.support.statuses import refusal

NS = "shop"


async def put(daemon: RunningDaemon, key: str = "key", *, ttl_s: int = 0) -> pb.SetResponse:
    request = pb.SetRequest(namespace=NS, key=key, value=b"value")
    if ttl_s:
        request.ttl.FromSeconds(ttl_s)
    reply: pb.SetResponse = await daemon.state.Set(request)
    return reply


async def get(daemon: RunningDaemon, key: str = "key") -> pb.GetResponse:
    reply: pb.GetResponse = await daemon.state.Get(pb.GetRequest(namespace=NS, key=key))
    return reply


async def test_a_delete_is_found_and_has_a_later_version(daemon: RunningDaemon) -> None:
    written = await put(daemon)

    deleted = await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="key"))

    assert deleted.found
    assert deleted.version > written.version
    assert deleted.mode == types.SERVING_MODE_NORMAL
    assert not (await get(daemon)).HasField("entry")


async def test_a_delete_of_an_absent_key_is_ok_and_finds_nothing(daemon: RunningDaemon) -> None:
    deleted = await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="key"))

    assert not deleted.found
    assert deleted.version == 0
    assert deleted.durability == types.DURABILITY_UNSPECIFIED


async def test_a_guarded_delete_of_the_expected_version_deletes(daemon: RunningDaemon) -> None:
    version = (await put(daemon)).version

    deleted = await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="key", expected_version=version))

    assert deleted.found


async def test_a_guarded_delete_that_lost_is_a_conflict(daemon: RunningDaemon) -> None:
    old = (await put(daemon)).version
    current = (await put(daemon)).version

    refused = await refusal(daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="key", expected_version=old)))

    assert refused.told == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert refused.conflict == types.ConflictInfo(key="key", expected_version=old, current_version=current)
    assert (await get(daemon)).HasField("entry")


async def test_a_guarded_delete_of_an_absent_key_is_a_conflict(daemon: RunningDaemon) -> None:
    refused = await refusal(daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="key", expected_version=3)))

    assert refused.conflict == types.ConflictInfo(key="key", expected_version=3, current_version=0)


async def test_a_delete_that_expects_nothing_holds_of_an_absent_key_only(daemon: RunningDaemon) -> None:
    absent = await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="key", expected_version=0))
    version = (await put(daemon)).version
    refused = await refusal(daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="key", expected_version=0)))

    assert not absent.found
    assert refused.conflict == types.ConflictInfo(key="key", expected_version=0, current_version=version)


async def test_touch_gives_an_entry_an_end_without_a_new_version(daemon: RunningDaemon) -> None:
    version = (await put(daemon)).version
    request = pb.TouchRequest(namespace=NS, key="key")
    request.ttl.FromSeconds(60)

    touched = await daemon.state.Touch(request)

    reply = await get(daemon)
    assert touched.found
    assert touched.mode == types.SERVING_MODE_NORMAL
    assert reply.entry.expire_time == touched.expire_time
    assert reply.entry.version == version
    assert 0 <= touched.expire_time.ToMilliseconds() - reply.entry.update_time.ToMilliseconds() - 60_000 < 30_000


async def test_touch_may_bring_the_end_nearer(daemon: RunningDaemon) -> None:
    before = (await put(daemon, ttl_s=3600)).expire_time
    request = pb.TouchRequest(namespace=NS, key="key")
    request.ttl.FromSeconds(60)

    touched = await daemon.state.Touch(request)

    assert touched.expire_time.ToMilliseconds() < before.ToMilliseconds() - 3_000_000
    assert (await get(daemon)).entry.expire_time == touched.expire_time


async def test_touch_without_a_ttl_renews_the_last_one(daemon: RunningDaemon) -> None:
    before = (await put(daemon, ttl_s=60)).expire_time

    touched = await daemon.state.Touch(pb.TouchRequest(namespace=NS, key="key"))

    assert 0 <= touched.expire_time.ToMilliseconds() - before.ToMilliseconds() < 30_000


async def test_touch_without_a_ttl_of_an_entry_without_end_changes_nothing(daemon: RunningDaemon) -> None:
    await put(daemon)

    touched = await daemon.state.Touch(pb.TouchRequest(namespace=NS, key="key"))

    assert touched.found
    assert not touched.HasField("expire_time")


async def test_touch_of_an_absent_key_finds_nothing(daemon: RunningDaemon) -> None:
    touched = await daemon.state.Touch(pb.TouchRequest(namespace=NS, key="key"))

    assert not touched.found
    assert touched.mode == types.SERVING_MODE_NORMAL
