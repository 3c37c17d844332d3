"""What an operator hears when the table can't be used: one line that says what to do."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from pathlib import Path

import pytest

import sidecar
from servers.ministack import CREDENTIALS
from sidecar.core.errors import SidecarError, StoreCorrupt, StoreUnavailable
from sidecar.runtime.ports import SystemClock
from sidecar.stores.dynamodb.table import definition
from tests.stores.dynamodb.conftest import Opener, Table, put, value
from tests.stores.dynamodb.faults import FaultProxy, answers, cuts
from tests.support.clock import ManualClock


async def refusal(opener: Opener, **fields: object) -> str:
    store = await opener(opened=False, timeout_s=4.0, **fields)
    with pytest.raises(SidecarError) as caught:
        await store.open()
    assert isinstance(caught.value, StoreUnavailable)
    assert "\n" not in caught.value.message
    return caught.value.message


async def test_a_missing_table_is_told_with_ways_out(opener: Opener, table: Table) -> None:
    told = await refusal(opener, create=False)

    assert f"the table '{table.target.table}' does not exist in eu-west-1" in told
    assert "create=true" in told


async def test_a_table_is_made_if_it_may_be_and_found_the_next_time(opener: Opener, table: Table) -> None:
    await put(await opener(), "key", b"kept")

    assert await value(await opener(create=False), "key") == b"kept"
    described = table.client.describe_table(TableName=table.target.table)["Table"]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


async def test_daemons_that_make_the_table_at_once_make_one(opener: Opener) -> None:
    stores = [await opener(opened=False) for _ in range(4)]
    await asyncio.gather(*[store.open() for store in stores])

    await put(stores[0], "key")
    assert [await value(store, "key") for store in stores] == [b"value"] * 4


async def test_a_table_of_another_shape_is_left_alone(opener: Opener, table: Table) -> None:
    shape = definition(table.target.table) | {"AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}]}
    del shape["GlobalSecondaryIndexes"]
    table.client.create_table(**shape | {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]})

    assert "has not the keys and the index 'sweep'" in await refusal(opener)
    assert table.items() == []


async def test_a_table_without_the_index_is_told(opener: Opener, table: Table) -> None:
    shape = definition(table.target.table)
    del shape["GlobalSecondaryIndexes"]
    shape["AttributeDefinitions"] = shape["AttributeDefinitions"][:2]
    table.client.create_table(**shape)

    assert "has not the keys and the index 'sweep'" in await refusal(opener)


async def test_a_table_of_a_newer_release_is_not_written(opener: Opener, table: Table) -> None:
    await (await opener()).close()
    table.put(table.item("meta") | {"schema_version": {"N": "9"}, "release": {"S": "7.0.0"}})

    told = await refusal(opener)

    assert f"made by release 7.0.0 (schema 9); this is release {sidecar.__version__}" in told


async def test_a_table_whose_own_item_is_spoilt_is_told(opener: Opener, table: Table) -> None:
    await (await opener()).close()
    table.put(table.item("meta") | {"epoch": {"S": "none"}})
    store = await opener(opened=False)

    with pytest.raises(StoreCorrupt):
        await store.open()


async def test_no_credentials_are_told_and_new_ones_taken(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    store = await opener(opened=False)

    with pytest.raises(StoreUnavailable, match="no AWS credentials were found"):
        await store.open()

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS["AWS_ACCESS_KEY_ID"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    await store.open()
    assert await put(store, "key") > 0


async def test_no_region_is_told(opener: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    assert "no AWS region: add region=" in await refusal(opener, region=None)


async def test_an_unknown_profile_is_told(opener: Opener) -> None:
    assert "check the profile" in await refusal(opener, profile="nobody")


async def test_a_wrong_port_is_told(opener: Opener) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        told = await refusal(opener, endpoint_url=url)

    assert told.startswith(f"can't connect to {url}: check endpoint_url")


async def test_an_unknown_host_is_told(opener: Opener) -> None:
    told = await refusal(opener, endpoint_url="http://dynamodb.invalid:8000")

    assert told.startswith("can't connect to http://dynamodb.invalid:8000")


async def test_an_endpoint_that_does_not_answer_is_told_in_time(opener: Opener) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = await opener(opened=False, endpoint_url=url, timeout_s=1.0)
        begin = time.monotonic()
        with pytest.raises(StoreUnavailable, match="does not answer in time"):
            await store.open()

    assert time.monotonic() - begin < 1.0


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("UnrecognizedClientException", "AWS refused the credentials (UnrecognizedClientException)"),
        ("InvalidSignatureException", "this machine's clock"),
        ("ExpiredTokenException", "AWS refused the credentials"),
        ("AccessDeniedException", "AWS denied access to the table"),
        ("ThrottlingException", "DynamoDB takes no more at the moment"),
        ("InternalServerError", "DynamoDB failed (InternalServerError)"),
    ],
)
async def test_what_the_service_refuses_is_told(opener: Opener, proxy: FaultProxy, code: str, told: str) -> None:
    proxy.add("DescribeTable", answers(code, message="a text\nof the service"), times=100)
    store = await opener(opened=False, endpoint_url=proxy.endpoint_url)

    with pytest.raises(SidecarError) as caught:
        await store.open()

    assert told in caught.value.message
    assert "\n" not in caught.value.message


async def test_a_table_that_is_not_active_yet_is_asked_again(opener: Opener, proxy: FaultProxy, table: Table) -> None:
    def creating(deliver: object) -> tuple[int, bytes]:
        status, body = deliver()  # type: ignore[operator]  # a Deliver
        return status, body.replace(b'"ACTIVE"', b'"CREATING"', 1)

    table.client.create_table(**definition(table.target.table))
    proxy.add("DescribeTable", creating)
    store = await opener(opened=False, endpoint_url=proxy.endpoint_url)

    with pytest.raises(StoreUnavailable, match="is creating; it is tried again"):
        await store.open()

    await store.open()


async def test_a_failed_opening_is_tried_again_by_other_calls_once_a_second(opener: Opener, proxy: FaultProxy) -> None:
    clock = ManualClock(SystemClock().now())
    proxy.add("DescribeTable", cuts)
    store = await opener(opened=False, clock=clock, endpoint_url=proxy.endpoint_url)
    with pytest.raises(StoreUnavailable):
        await store.open()

    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await value(store, "key")
    assert proxy.operations == ["DescribeTable"]
    clock.advance(1_000)

    assert await value(store, "key") is None


async def test_a_clock_that_is_wrong_is_logged(opener: Opener, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await opener()
        assert "clock" not in caplog.text

        await opener(clock=ManualClock(SystemClock().now() + 60_000))

    (record,) = [record for record in caplog.records if "clock" in record.message]
    assert 55 <= record.__dict__["skew_s"] <= 75


async def test_a_store_that_is_not_open_says_so(opener: Opener) -> None:
    store = await opener(opened=False)

    with pytest.raises(StoreUnavailable, match="not open"):
        await put(store, "key")
    with pytest.raises(StoreUnavailable, match="not open"):
        await value(store, "key")


async def test_stores_with_different_prefixes_do_not_see_each_other(opener: Opener) -> None:
    one, two, plain = await opener(prefix="one"), await opener(prefix="two"), await opener()
    cursor = (await two.changes(after=None, limit=1)).cursor
    await put(one, "key", b"1")

    assert await value(two, "key") is None
    assert await value(plain, "key") is None
    assert (await two.changes(after=cursor, limit=10)).changes == ()
    assert await value(await opener(prefix="one"), "key") == b"1"
