"""What a store does for writes that were worked out elsewhere: values meant for one schema only, changes that are stored as
values, and refusals that are to be kept.
"""

from __future__ import annotations

import pytest

from sidecar.core.errors import FailedPrecondition, InvalidRequest, SchemaDiffers
from sidecar.core.marks import SCHEMA, UPDATES
from sidecar.core.operations import Check, Put
from tests.contract.harnesses import StoreUnderTest
from tests.support.factories import request

BEYOND = {SCHEMA: "what schema 3 has beyond it"}
TOO_NEW = FailedPrecondition("too new", reason="SCHEMA_TOO_NEW", metadata={"schema_version": "3"})


def put(key: str = "key", value: bytes = b"{}", schema_version: int = 2, **fields: object) -> Put:
    return Put(key=key, value=value, schema_version=schema_version, **fields)  # type: ignore[arg-type]  # given by name


async def test_a_value_of_another_schema_is_not_replaced_in_the_usual_way(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    for there in (put(schema_version=1), put(schema_version=3), put(schema_version=0), put(marks=BEYOND)):
        await store.commit(there)
        before = await store.entry("key")
        with pytest.raises(SchemaDiffers) as caught:
            await store.commit(put("other"), put(value=b"new"), schema=2, request=request("r"))
        assert caught.value.key == "key"
        assert (await store.entry("key"), await store.entry("other")) == (before, None)

    await store.commit(put(marks={SCHEMA: ""}))
    outcome = await store.commit(put("other"), put(value=b"new"), schema=2, request=request("r"))
    entry = await store.entry("key")
    assert entry is not None
    assert (entry.version, entry.value, entry.labels) == (outcome.version, b"new", {})


async def test_a_row_that_is_put_back_and_a_value_of_no_schema_are_stored_whatever_is_there(
    quiet_store: StoreUnderTest,
) -> None:
    store = quiet_store
    await store.commit(put(schema_version=5, marks=BEYOND))
    await store.commit(put(marks={SCHEMA: "another"}), schema=2)
    entry = await store.entry("key")
    assert entry is not None
    assert (entry.schema_version, entry.labels) == (2, {SCHEMA: "another"})
    await store.commit(put(schema_version=0), schema=2)
    entry = await store.entry("key")
    assert entry is not None
    assert (entry.schema_version, entry.labels) == (0, {SCHEMA: "another"})
    await store.commit(put(marks={SCHEMA: "", UPDATES: "3"}))
    entry = await store.entry("key")
    assert entry is not None
    assert entry.labels == {UPDATES: "3"}, "nothing beyond it is no mark"


@pytest.mark.parametrize("sliding", [False, True])
async def test_a_value_that_stands_for_a_change_keeps_the_end(quiet_store: StoreUnderTest, sliding: bool) -> None:
    store = quiet_store
    await store.commit(put(ttl_ms=60_000))
    before = await store.entry("key")
    assert before is not None
    assert before.expire_time is not None
    await store.advance(10_000)

    outcome = await store.commit(put(keeps_end=True), sliding=sliding, ttl_default_ms=5_000)

    entry = await store.entry("key")
    assert entry is not None
    assert entry.expire_time is not None
    assert (entry.create_time, entry.ttl_ms) == (before.create_time, 60_000)
    assert outcome.results[0].expire_time == entry.expire_time
    assert (entry.expire_time == before.expire_time) is not sliding
    assert entry.expire_time == (entry.update_time + 60_000 if sliding else before.expire_time)
    await store.commit(put(keeps_end=True, ttl_ms=7_000))
    entry = await store.entry("key")
    assert entry is not None
    assert (entry.ttl_ms, entry.expire_time) == (7_000, entry.update_time + 7_000)
    await store.commit(put("new", keeps_end=True), ttl_default_ms=5_000)
    entry = await store.entry("new")
    assert entry is not None
    assert entry.ttl_ms == 5_000


async def test_what_a_result_tells_is_told_again(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    first = await store.commit(put(value=b"stored", told=b"told"), request=request("r"))
    again = await store.commit(put(value=b"stored", told=b"told"), request=request("r"))

    assert [result.value for result in first.results] == [b"told"]
    assert (again.replayed, again.version, again.results) == (True, first.version, first.results)


async def test_a_refusal_that_was_found_elsewhere_is_kept(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    nothing = Check(key="key", expected_version=0)
    others = [InvalidRequest("too large", reason="VALUE_TOO_LARGE", field="value"), TOO_NEW]
    for number, refusal in enumerate(others):
        for _ in range(2):
            with pytest.raises(type(refusal)) as caught:
                await store.commit(nothing, request=request(f"{number}"), refusal=refusal)
        with pytest.raises(type(refusal)) as caught:
            await store.commit(put(), request=request(f"{number}"))
        assert (caught.value.reason, caught.value.metadata) == (refusal.reason, refusal.metadata)
    assert await store.entry("key") is None


async def test_a_refusal_that_is_not_to_be_kept_is_not(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    nothing = Check(key="key", expected_version=0)
    for fields in ({"request": request("r"), "tentative": True}, {}):
        with pytest.raises(FailedPrecondition):
            await store.commit(nothing, refusal=TOO_NEW, **fields)
    assert (await store.commit(put(), request=request("r"))).version


async def test_what_a_request_id_did_comes_before_a_refusal(quiet_store: StoreUnderTest) -> None:
    store = quiet_store
    first = await store.commit(put(), put("other"), request=request("r"))
    again = await store.commit(Check(key="key", expected_version=0), request=request("r"), refusal=TOO_NEW)

    assert again.replayed
    assert (again.version, again.results) == (first.version, first.results)
