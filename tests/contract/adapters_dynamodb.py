"""The harness of the DynamoDB store: each directory a table of its own on the emulator."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from servers.base import shared
from servers.ministack import CREDENTIALS, Ministack
from sidecar.stores.dynamodb import DynamoStore, DynamoTarget
from tests.contract.harnesses import StoreHarness, StoreUnderTest
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE

REGION = "eu-west-1"
PATIENCE_S = 20.0
"""For an emulator on a busy machine; what a backend that hangs costs is another test's matter."""


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables, as they were afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@cache
def library(endpoint_url: str) -> Any:
    """DynamoDB's API as the AWS library has it, to look behind the store's back."""
    import botocore.session  # type: ignore[import-untyped]  # it has no stubs

    with environment(CREDENTIALS):
        session = botocore.session.Session()
        return session.create_client("dynamodb", region_name=REGION, endpoint_url=endpoint_url)


def target(directory: Path) -> DynamoTarget:
    """The table of a directory."""
    table = "t" + hashlib.sha256(str(directory).encode()).hexdigest()[:20]
    return DynamoTarget(table=table, region=REGION, endpoint_url=shared(Ministack).endpoint_url, create=True)


def make_store(directory: Path, clock: ManualClock) -> DynamoStore:
    """A store on that table."""
    return DynamoStore(target(directory), clock=clock, timeout_s=PATIENCE_S)


@asynccontextmanager
async def table_of(directory: Path) -> AsyncIterator[None]:
    """The store makes the table when it is opened; gone after the block."""
    place = target(directory)
    with environment(CREDENTIALS):
        try:
            yield
        finally:
            library(place.endpoint_url or "").delete_table(TableName=place.table)


async def _sweep_all(store: StoreUnderTest) -> None:
    await store.store.sweep(store.sweep_order(tombstone_retention_ms=0))


async def _delete_table(store: StoreUnderTest) -> None:
    place = target(store.directory)
    library(place.endpoint_url or "").delete_table(TableName=place.table)


async def _spoil_item(store: StoreUnderTest, key: str) -> None:
    place = target(store.directory)
    client = library(place.endpoint_url or "")
    at = {"TableName": place.table, "Key": {"p": {"S": f"entry#{NAMESPACE}"}, "k": {"B": key.encode()}}}
    value = client.get_item(**at)["Item"]["b"]["B"]
    spoilt = value[:-1] + bytes([value[-1] ^ 1])
    client.update_item(**at, UpdateExpression="SET b = :b", ExpressionAttributeValues={":b": {"B": spoilt}})


DYNAMODB_STORE = StoreHarness(
    name="dynamodb",
    durable=True,
    counts=False,
    make=make_store,
    place=table_of,
    forget_changes=_sweep_all,
    lose=_delete_table,
    spoil=_spoil_item,
)
