"""List: key order by bytes, pages that go on where the last ended, and nothing that has ended. DeletePrefix of the same."""

from __future__ import annotations

import grpc
import pytest

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon
from tests.support.statuses import refusal

NS = "shop"
KEYS = ["a", "a/1", "a/10", "a/2", "a0", "b", "z", "é", "ﬀ", "🧀"]


async def fill(daemon: RunningDaemon, keys: list[str]) -> None:
    for key in keys:
        await daemon.state.Set(pb.SetRequest(namespace=NS, key=key, value=b"value of " + key.encode()))


async def pages(daemon: RunningDaemon, **fields: object) -> list[list[types.Entry]]:
    found: list[list[types.Entry]] = []
    token = ""
    while True:
        reply = await daemon.state.List(pb.ListRequest(**{"namespace": NS, "page_token": token} | fields))  # type: ignore[arg-type]  # fields of the request
        assert reply.mode == types.SERVING_MODE_NORMAL
        found.append(list(reply.entries))
        token = reply.next_page_token
        if not token:
            return found


async def keys_of(daemon: RunningDaemon, **fields: object) -> list[str]:
    return [entry.key for page in await pages(daemon, **fields) for entry in page]


async def test_keys_come_in_the_order_of_their_bytes(daemon: RunningDaemon) -> None:
    await fill(daemon, KEYS[::-1])

    listed = await keys_of(daemon)

    assert listed == sorted(KEYS, key=str.encode)


@pytest.mark.parametrize("page_size", [1, 2, 3, 10, 1000])
async def test_pages_of_any_size_hold_every_key_once(daemon: RunningDaemon, page_size: int) -> None:
    await fill(daemon, KEYS)

    found = await pages(daemon, page_size=page_size)

    assert [entry.key for page in found for entry in page] == sorted(KEYS, key=str.encode)
    assert max(len(page) for page in found) <= page_size


async def test_a_page_holds_100_entries_unless_told_otherwise(daemon: RunningDaemon) -> None:
    await fill(daemon, [f"{number:04}" for number in range(101)])

    found = await pages(daemon)

    assert [len(page) for page in found] == [100, 1]


@pytest.mark.parametrize(("prefix", "keys"), [("a/", ["a/1", "a/10", "a/2"]), ("🧀", ["🧀"]), ("none", [])])
async def test_a_prefix_is_exact(daemon: RunningDaemon, prefix: str, keys: list[str]) -> None:
    await fill(daemon, KEYS)

    assert await keys_of(daemon, key_prefix=prefix) == keys
    assert await keys_of(daemon, key_prefix=prefix, page_size=1) == keys


async def test_keys_only_leaves_out_the_values_and_nothing_else(daemon: RunningDaemon) -> None:
    await fill(daemon, ["a"])

    [[whole]] = await pages(daemon)
    [[bare]] = await pages(daemon, keys_only=True)

    assert (whole.value, bare.value) == (b"value of a", b"")
    whole.ClearField("value")
    assert bare == whole


async def test_a_page_ends_at_1_mib_of_values_and_the_next_goes_on(daemon: RunningDaemon) -> None:
    for number in range(6):
        await daemon.state.Set(pb.SetRequest(namespace=NS, key=f"{number}", value=b"x" * 400_000))

    found = await pages(daemon)
    bare = await pages(daemon, keys_only=True)

    assert [entry.key for page in found for entry in page] == [f"{number}" for number in range(6)]
    assert all(sum(len(entry.value) for entry in page) <= 1024 * 1024 for page in found)
    assert [len(page) for page in bare] == [6]


async def test_a_listing_sees_no_deleted_key_and_no_other_namespace(daemon: RunningDaemon) -> None:
    await fill(daemon, ["a", "b", "c"])
    await daemon.state.Set(pb.SetRequest(namespace="bank", key="b2"))
    await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="b"))

    assert await keys_of(daemon) == ["a", "c"]


async def test_keys_written_while_paging_appear_only_behind_the_page(daemon: RunningDaemon) -> None:
    await fill(daemon, ["b", "d"])
    first = await daemon.state.List(pb.ListRequest(namespace=NS, page_size=1))
    await fill(daemon, ["a", "c", "e"])
    await daemon.state.Delete(pb.DeleteRequest(namespace=NS, key="b"))

    rest = await daemon.state.List(pb.ListRequest(namespace=NS, page_token=first.next_page_token))

    assert [entry.key for entry in rest.entries] == ["c", "d", "e"]


async def test_a_page_token_holds_for_its_namespace_and_prefix_only(daemon: RunningDaemon) -> None:
    await fill(daemon, ["a/1", "a/2"])
    token = (await daemon.state.List(pb.ListRequest(namespace=NS, key_prefix="a/", page_size=1))).next_page_token

    for other in (
        pb.ListRequest(namespace=NS, page_token=token),
        pb.ListRequest(namespace=NS, key_prefix="a", page_token=token),
        pb.ListRequest(namespace="bank", key_prefix="a/", page_token=token),
    ):
        refused = await refusal(daemon.state.List(other))
        assert refused.told == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_delete_prefix_deletes_what_begins_with_it(daemon: RunningDaemon) -> None:
    await fill(daemon, KEYS)

    reply = await daemon.state.DeletePrefix(pb.DeletePrefixRequest(namespace=NS, key_prefix="a/"))

    assert (reply.deleted_count, reply.mode) == (3, types.SERVING_MODE_NORMAL)
    assert await keys_of(daemon) == [key for key in sorted(KEYS, key=str.encode) if not key.startswith("a/")]
    assert not (await daemon.state.Get(pb.GetRequest(namespace=NS, key="a/1"))).HasField("entry")


async def test_all_deletes_a_namespace_whole_and_no_other(daemon: RunningDaemon) -> None:
    keys = [f"{number:04}" for number in range(1200)]
    sets = [pb.TransactOperation(set=pb.SetRequest(key=key)) for key in keys]
    for begin in range(0, len(sets), 100):
        await daemon.state.Transact(pb.TransactRequest(namespace=NS, operations=sets[begin : begin + 100]))
    await daemon.state.Set(pb.SetRequest(namespace="bank", key="key"))

    reply = await daemon.state.DeletePrefix(pb.DeletePrefixRequest(namespace=NS, all=True))

    assert reply.deleted_count == 1200
    assert await keys_of(daemon) == []
    assert (await daemon.state.Get(pb.GetRequest(namespace="bank", key="key"))).HasField("entry")


async def test_an_empty_prefix_without_all_deletes_nothing(daemon: RunningDaemon) -> None:
    await fill(daemon, ["a"])

    refused = await refusal(daemon.state.DeletePrefix(pb.DeletePrefixRequest(namespace=NS)))

    assert refused.told == (grpc.StatusCode.INVALID_ARGUMENT, "PREFIX_EMPTY")
    assert await keys_of(daemon) == ["a"]


async def test_delete_prefix_of_nothing_is_ok(daemon: RunningDaemon) -> None:
    reply = await daemon.state.DeletePrefix(pb.DeletePrefixRequest(namespace=NS, key_prefix="none"))

    assert reply.deleted_count == 0
