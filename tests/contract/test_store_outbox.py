"""Messages are rows of the ledger that are committed with their write: in its commit, under its version, told to nobody."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidecar.core.errors import Unsupported, VersionConflict
from sidecar.core.ledger import LEDGER
from sidecar.core.operations import Change, Check, Increment, Put, Remove
from sidecar.core.outbox import MESSAGES_MAX, PAYLOAD_BYTES_MAX, Message, Pending, message_id, messages_of, order_of
from sidecar.core.store import Store
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import NAMESPACE, request, write

COUNT = Change(key="key", change=Increment(delta=1), create=True)
PUT = Put(key="key", value=b"value")


def message(operation: int | None = None, payload: bytes = b"", **fields: Any) -> Message:
    return Message(**{"topic": "topic"} | fields, operation=operation, payload=payload)


async def waiting(store: Store, *, limit: int = 1_000) -> list[Pending]:
    """All messages, page by page, as they are read by whoever delivers them."""
    found: list[Pending] = []
    after = None
    while True:
        page = await store.scan(
            LEDGER, messages_of(NAMESPACE), after=after, limit=limit, bytes_max=4 << 20, keys_only=False
        )
        found += [Pending.decode(row) for row in page.entries]
        if not page.more:
            return found
        after = page.entries[-1].key


async def ids(store: StoreUnderTest) -> list[str]:
    return sorted(one.id for one in await waiting(store.store))


async def test_messages_are_committed_with_their_write(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    await store.advance(1_000)
    whole = message(payload=bytes(range(256)), content_type="text/x", attributes={"trace": "ü"}, topic="other")

    outcome = await store.commit(PUT, outbox=(message(0, b"first"), message(0), whole))

    rows = (await store.scan(namespace=LEDGER)).entries
    first, second, third = [Pending.decode(row) for row in rows]
    assert [one.id for one in (first, second, third)] == [message_id(outcome.version, n) for n in range(3)]
    assert first == Pending(
        id=message_id(outcome.version, 0),
        namespace=NAMESPACE,
        order=order_of("key"),
        key="key",
        version=outcome.version,
        commit_time=store.now(),
        topic="topic",
        payload=b"first",
    )
    assert (third.topic, third.payload, third.content_type) == ("other", whole.payload, "text/x")
    assert (third.key, dict(third.attributes)) == ("key", {"trace": "ü"})
    assert [row.key for row in rows] == [one.row for one in (first, second, third)]
    assert {(row.version, row.create_time, row.expire_time) for row in rows} == {(outcome.version, store.now(), None)}


async def test_nobody_is_told_of_messages(quiet_store: StoreUnderTest) -> None:
    store, cursor = quiet_store, await quiet_store.cursor()

    outcome = await store.commit(PUT, Put(key="other", value=b""), outbox=(message(0), message(1), message()))

    assert [(row.namespace, row.key) for row in await store.changes_since(cursor)] == [
        (NAMESPACE, "key"),
        (NAMESPACE, "other"),
    ]
    assert [copy.key for copy in outcome.copies] == ["key", "other"]
    assert await store.keys() == ["key", "other"]
    assert len(await ids(store)) == 3


async def test_a_refused_write_leaves_no_message(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    for _ in range(2):
        with pytest.raises(VersionConflict):
            await store.commit(PUT, Check(key="other", expected_version=9), outbox=(message(0), message()))
        with pytest.raises(VersionConflict):
            await store.commit(
                Put(key="key", value=b"", expected_version=7), outbox=(message(0),), request=request("refused")
            )

    assert await ids(store) == []


async def test_a_repeated_write_leaves_its_messages_once(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    writes = [store.commit(COUNT, outbox=(message(0), message()), request=request("r")) for _ in range(5)]

    outcomes = await asyncio.gather(*writes)
    again = await store.commit(COUNT, outbox=(message(0), message()), request=request("r"))

    assert again.replayed
    assert {outcome.version for outcome in outcomes} == {again.version}
    assert await ids(store) == [message_id(again.version, 0), message_id(again.version, 1)]
    assert await store.value("key") == b"1"


async def test_an_operation_that_did_nothing_has_no_message(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    nothing = await store.commit(Remove(key="absent"), outbox=(message(0),))
    assert (nothing.version, await ids(store)) == (0, [])

    outcome = await store.commit(
        Remove(key="absent"), PUT, outbox=(message(0, b"of nothing"), message(1, b"of key"), message(payload=b"whole"))
    )

    told = sorted(await waiting(store.store), key=lambda one: one.id)
    assert [(one.id, one.payload, one.key) for one in told] == [
        (message_id(outcome.version, 1), b"of key", "key"),
        (message_id(outcome.version, 2), b"whole", ""),
    ]
    # The whole write's is among those of the first key that it changed.
    assert {one.order for one in told} == {order_of("key")}


async def test_the_messages_of_each_operation_are_ordered_by_its_key(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    await store.commit(Put(key="a", value=b""), Put(key="b", value=b""), outbox=(message(1), message(0)))

    assert {(one.key, one.order) for one in await waiting(store.store)} == {
        ("a", order_of("a")),
        ("b", order_of("b")),
    }


@pytest.mark.parametrize("under_id", [False, True])
async def test_messages_of_a_write_that_only_checks_have_a_version(
    quiet_store: StoreUnderTest, *, under_id: bool
) -> None:
    store = quiet_store
    version, cursor = await store.put("key"), await store.cursor()
    checks = [Check(key="key", expected_version=version), Check(key="absent", expected_version=0)]
    options = {"request": request("r")} if under_id else {}

    first = await store.commit(*checks, outbox=(message(),), **options)
    second = await store.commit(checks[0], outbox=(message(),))

    assert version < first.version < second.version < await store.put("other")
    told = sorted(await waiting(store.store), key=lambda one: one.id)
    assert [(one.version, one.key, one.order) for one in told] == [
        (first.version, "", order_of("key")),
        (second.version, "key", order_of("key")),
    ]
    assert (first.copies, [result.version for result in first.results]) == ((), [0, 0])
    assert [row.key for row in await store.changes_since(cursor)] == ["other"]
    entry = await store.entry("key")
    assert entry is not None
    assert entry.version == version
    with pytest.raises(VersionConflict):
        await store.commit(Check(key="key", expected_version=version + 1), outbox=(message(),))
    assert len(await ids(store)) == 2


async def test_as_many_and_as_large_messages_as_are_allowed_land(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    payloads = [bytes([n]) * PAYLOAD_BYTES_MAX for n in range(MESSAGES_MAX)]

    outcome = await store.commit(PUT, outbox=tuple(message(0, payload) for payload in payloads), request=request("r"))

    told = await waiting(store.store)
    assert [one.id for one in told] == [message_id(outcome.version, n) for n in range(MESSAGES_MAX)]
    assert [one.payload for one in told] == payloads


async def test_messages_are_kept_over_reopening(durable_store: StoreUnderTest) -> None:
    store = durable_store
    outcome = await store.commit(PUT, outbox=(message(0, b"kept"),))
    await store.reopen()

    (kept,) = await waiting(store.store)
    assert (kept.id, kept.payload) == (message_id(outcome.version, 0), b"kept")


@asynccontextmanager
async def two_stores(store: StoreUnderTest) -> AsyncIterator[list[Store]]:
    """Of two daemons, where a backend can be shared; else one is all there is."""
    stores = [store.store]
    if store.store.capabilities.shared:
        stores.append(store.harness.make(store.directory, store.clock))
        await stores[1].open()
    try:
        yield stores
    finally:
        for other in stores[1:]:
            await other.close()


async def test_no_message_is_seen_before_an_earlier_one_of_its_key(quiet_store: StoreUnderTest) -> None:
    """Whoever reads on from where a key's messages began misses none: they come in the order of versions."""
    store = quiet_store
    keys, workers, rounds = ("a", "b", "c"), 8, 4
    seen: list[list[Pending]] = []
    async with two_stores(store) as stores:

        async def work(worker: int) -> None:
            at = stores[worker % len(stores)]
            for n in range(rounds):
                key = keys[(worker + n) % len(keys)]
                count = Change(key=key, change=Increment(delta=1), create=True)
                await at.commit(write(count, outbox=(message(0),)))
                await asyncio.sleep(0)

        writers = asyncio.gather(*[work(worker) for worker in range(workers)])
        while not writers.done():
            seen.append(await waiting(stores[-1], limit=3))
            await asyncio.sleep(0)
        await writers
    final = in_order(await waiting(store.store))

    for told in seen:
        for key, versions in in_order(told).items():
            assert versions == final[key][: len(versions)], "a later message was seen without an earlier one"
    for versions in final.values():
        assert versions == sorted(set(versions))
    assert sum(map(len, final.values())) == workers * rounds


def in_order(told: list[Pending]) -> dict[str, list[int]]:
    """Versions by key, as they were read."""
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for one in told:
        versions[one.key].append(one.version)
    return versions


async def test_a_store_that_keeps_no_quiet_rows_refuses_messages(store: StoreUnderTest) -> None:
    if store.store.capabilities.quiet:
        await store.commit(PUT, outbox=(message(0),))
        assert len(await ids(store)) == 1
    else:
        with pytest.raises(Unsupported):
            await store.commit(PUT, outbox=(message(0),))
        assert await store.entry("key") is None
