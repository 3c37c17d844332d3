"""Bytes that do not verify are told as data loss: never as a value, a miss, an outage or a conflict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from sidecar.core.errors import DataLoss
from sidecar.core.operations import Append, Change
from tests.contract.harnesses import StoreUnderTest

READS: dict[str, Callable[[StoreUnderTest], Awaitable[object]]] = {
    "get": lambda store: store.copy("spoilt"),
    "scan": lambda store: store.scan(),
    "update": lambda store: store.commit(Change(key="spoilt", change=Append(items=(1,)))),
}


async def spoil(store: StoreUnderTest) -> None:
    await store.put("spoilt", b"[1,2,3]")
    await store.put("whole", b"whole")
    assert store.harness.spoil is not None
    await store.harness.spoil(store, "spoilt")


@pytest.mark.parametrize("read", READS)
async def test_a_spoilt_value_is_data_loss(spoilable_store: StoreUnderTest, read: str) -> None:
    store = spoilable_store
    await spoil(store)

    with pytest.raises(DataLoss):
        await READS[read](store)


async def test_a_spoilt_value_leaves_its_neighbours_alone(spoilable_store: StoreUnderTest) -> None:
    store = spoilable_store
    await spoil(store)

    assert await store.value("whole") == b"whole"
    assert await store.put("whole", b"new") > 0


async def test_a_spoilt_value_can_be_written_over(spoilable_store: StoreUnderTest) -> None:
    store = spoilable_store
    await spoil(store)
    await store.put("spoilt", b"mended")

    assert await store.value("spoilt") == b"mended"
