"""Get: a miss is OK; a second read comes from the hot tier; a floor is kept; STRONG asks the authority."""

from __future__ import annotations

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon


async def test_a_miss_is_ok_without_an_entry(daemon: RunningDaemon) -> None:
    reply = await daemon.state.Get(pb.GetRequest(namespace="shop", key="nobody"))

    assert not reply.HasField("entry")
    assert reply.mode == types.SERVING_MODE_NORMAL
    assert not reply.stale_possible


async def test_an_entry_comes_back_as_it_was_written(daemon: RunningDaemon) -> None:
    value = bytes(range(256))
    written = await daemon.state.Set(
        pb.SetRequest(
            namespace="shop",
            key="käse/🧀 1",
            value=value,
            content_type="application/octet-stream",
            schema_version=3,
            labels={"owner": "bob", "empty": ""},
        )
    )

    reply = await daemon.state.Get(pb.GetRequest(namespace="shop", key="käse/🧀 1"))

    entry = reply.entry
    assert (entry.namespace, entry.key, entry.value) == ("shop", "käse/🧀 1", value)
    assert (entry.content_type, entry.schema_version) == ("application/octet-stream", 3)
    assert dict(entry.labels) == {"owner": "bob", "empty": ""}
    assert entry.version == written.version
    assert entry.create_time == entry.update_time
    assert not entry.HasField("expire_time")


async def test_an_empty_value_is_a_value(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace="shop", key="empty"))

    reply = await daemon.state.Get(pb.GetRequest(namespace="shop", key="empty"))

    assert reply.HasField("entry")
    assert reply.entry.value == b""


async def test_namespaces_do_not_share_keys(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace="shop", key="key", value=b"shop's"))

    reply = await daemon.state.Get(pb.GetRequest(namespace="bank", key="key"))

    assert not reply.HasField("entry")


async def test_create_time_stays_and_update_time_moves_on(daemon: RunningDaemon) -> None:
    async def write() -> types.Entry:
        await daemon.state.Set(pb.SetRequest(namespace="shop", key="key", value=b"value"))
        read = pb.GetRequest(namespace="shop", key="key", consistency=types.CONSISTENCY_STRONG)
        entry: types.Entry = (await daemon.state.Get(read)).entry
        return entry

    first, second = await write(), await write()

    assert second.create_time == first.create_time
    assert second.update_time.ToNanoseconds() >= first.update_time.ToNanoseconds()
    assert second.version > first.version


async def test_the_second_read_comes_from_the_hot_tier(daemon: RunningDaemon) -> None:
    missing = pb.GetRequest(namespace="shop", key="missing")
    first = await daemon.state.Get(missing)
    await daemon.followups_done()
    second = await daemon.state.Get(missing)

    assert (first.served_by, second.served_by) == (types.TIER_WARM, types.TIER_HOT)


async def test_what_was_just_written_is_hot(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace="shop", key="key", value=b"value"))

    reply = await daemon.state.Get(pb.GetRequest(namespace="shop", key="key"))

    assert (reply.served_by, reply.entry.value) == (types.TIER_HOT, b"value")


async def test_a_strong_read_is_served_by_the_authority(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace="shop", key="key", value=b"value"))

    reply = await daemon.state.Get(pb.GetRequest(namespace="shop", key="key", consistency=types.CONSISTENCY_STRONG))

    assert (reply.served_by, reply.entry.value) == (types.TIER_WARM, b"value")


async def test_a_copy_below_min_version_is_not_an_answer(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace="shop", key="key", value=b"old"))
    # Another daemon writes to the same authority, and this one's cache does not hear of it.
    newer = await daemon.write_behind_the_cache("shop", "key", b"new")

    stale = await daemon.state.Get(pb.GetRequest(namespace="shop", key="key"))
    fresh = await daemon.state.Get(pb.GetRequest(namespace="shop", key="key", min_version=newer))
    await daemon.followups_done()
    repaired = await daemon.state.Get(pb.GetRequest(namespace="shop", key="key"))

    assert (stale.served_by, stale.entry.value) == (types.TIER_HOT, b"old")
    assert (fresh.served_by, fresh.entry.value) == (types.TIER_WARM, b"new")
    assert (repaired.served_by, repaired.entry.value) == (types.TIER_HOT, b"new")


async def test_every_write_is_read_back_by_its_version(daemon: RunningDaemon) -> None:
    for number in range(20):
        value = b"%d" % number
        version = (await daemon.state.Set(pb.SetRequest(namespace="shop", key="key", value=value))).version

        reply = await daemon.state.Get(pb.GetRequest(namespace="shop", key="key", min_version=version))

        assert (reply.entry.version, reply.entry.value) == (version, value)


async def test_a_deleted_key_is_a_miss_also_when_it_was_hot(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace="shop", key="key", value=b"value"))
    await daemon.state.Get(pb.GetRequest(namespace="shop", key="key"))
    deleted = await daemon.state.Delete(pb.DeleteRequest(namespace="shop", key="key"))

    cached = await daemon.state.Get(pb.GetRequest(namespace="shop", key="key"))
    own = await daemon.state.Get(pb.GetRequest(namespace="shop", key="key", min_version=deleted.version))

    assert not cached.HasField("entry")
    assert not own.HasField("entry")
