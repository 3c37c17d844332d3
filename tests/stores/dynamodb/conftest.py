"""Stores on a table of the test's own: straight at the emulator, or through a proxy that goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from servers.base import shared
from servers.ministack import CREDENTIALS, Ministack
from sidecar.core.entry import Entry
from sidecar.core.operations import Change, Increment, Put
from sidecar.core.ports import Clock
from sidecar.core.store import Outcome
from sidecar.runtime.ports import SystemClock
from sidecar.stores.dynamodb import DynamoStore, DynamoTarget
from tests.contract.adapters_dynamodb import PATIENCE_S, library
from tests.contract.adapters_dynamodb import target as target_in
from tests.stores.dynamodb.faults import FaultProxy
from tests.support.factories import NAMESPACE, request, write

ADD_ONE = Change(key="n", change=Increment(delta=1), create=True, return_value=True)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@dataclass(frozen=True)
class Table:
    """The test's table, behind the store's back."""

    target: DynamoTarget
    client: Any

    def items(self) -> list[dict[str, Any]]:
        """All of them."""
        pages = self.client.get_paginator("scan").paginate(TableName=self.target.table, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]

    def places(self, kind: str) -> list[str]:
        """The partitions of a kind of item."""
        return sorted(item["p"]["S"] for item in self.items() if item["p"]["S"].startswith(f"{kind}#"))

    def item(self, partition: str, place: bytes = b"-") -> dict[str, Any]:
        """One of them."""
        found: dict[str, Any] = self.client.get_item(
            TableName=self.target.table, Key={"p": {"S": partition}, "k": {"B": place}}, ConsistentRead=True
        )["Item"]
        return found

    def put(self, item: dict[str, Any]) -> None:
        """Over what is there."""
        self.client.put_item(TableName=self.target.table, Item=item)

    def restored(self) -> None:
        """Another table under the same name with the same items, as after a restore."""
        before = self.items()
        described = self.client.describe_table(TableName=self.target.table)["Table"]
        index = described["GlobalSecondaryIndexes"][0]
        self.client.delete_table(TableName=self.target.table)
        self.client.create_table(
            TableName=self.target.table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=described["AttributeDefinitions"],
            KeySchema=described["KeySchema"],
            GlobalSecondaryIndexes=[{name: index[name] for name in ("IndexName", "KeySchema", "Projection")}],
        )
        for item in before:
            self.put(item)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    """Made by the first store that is opened; gone after the test."""
    target = target_in(tmp_path)
    client = library(target.endpoint_url or "")
    yield Table(target, client)
    if target.table in client.list_tables()["TableNames"]:
        client.delete_table(TableName=target.table)


Opener = Callable[..., Awaitable[DynamoStore]]


@pytest.fixture
async def opener(table: Table) -> AsyncIterator[Opener]:
    """Opens stores on the test's table, closed after the test; fields are those of the target."""
    async with AsyncExitStack() as stack:

        async def open_store(
            clock: Clock | None = None, timeout_s: float = PATIENCE_S, opened: bool = True, **fields: Any
        ) -> DynamoStore:
            store = DynamoStore(replace(table.target, **fields), clock=clock or SystemClock(), timeout_s=timeout_s)
            stack.push_async_callback(store.close)
            if opened:
                await store.open()
            return store

        yield open_store


@pytest.fixture
async def store(opener: Opener) -> DynamoStore:
    return await opener()


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """Before the emulator that all share."""
    with FaultProxy(shared(Ministack).endpoint_url) as proxy:
        yield proxy


@pytest.fixture
async def faulty(opener: Opener, proxy: FaultProxy) -> DynamoStore:
    """A store whose calls go through the proxy, which has seen none yet."""
    store = await opener(endpoint_url=proxy.endpoint_url, timeout_s=4.0)
    proxy.clear()
    return store


async def put(store: DynamoStore, key: str, value: bytes = b"value", **fields: Any) -> int:
    """Write one value; its version."""
    return (await store.commit(write(Put(key=key, value=value, **fields)))).version


async def add_one(store: DynamoStore, request_id: str) -> Outcome:
    """Count under a request id."""
    return await store.commit(write(ADD_ONE, request=request(request_id)))


async def value(store: DynamoStore, key: str, namespace: str = NAMESPACE) -> bytes | None:
    """What a reader sees."""
    (copy,) = await store.get(namespace, [key])
    return copy.value if isinstance(copy, Entry) else None
