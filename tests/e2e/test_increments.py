"""64 clients of three processes on 8 counters: exact totals by Update and by compare-and-set, also when replies are lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from statesidecar import AsyncStateClient, VersionConflict, WriteOutcomeUnknown
from tests.e2e.increments import run
from tests.support.daemon import running_daemon
from tests.support.proxy import running_proxy

CLIENTS = 64
INCREMENTS = 10


@pytest.mark.timeout(300)
async def test_totals_are_exact(tmp_path: Path) -> None:
    figures = await run(tmp_path, clients=CLIENTS, increments=INCREMENTS, drop=0.0, seed=1)

    assert figures.exact(), figures
    assert figures.increments == CLIENTS * INCREMENTS
    assert figures.conflicts > 0


@pytest.mark.timeout(300)
async def test_totals_are_exact_when_5_percent_of_the_replies_are_lost(tmp_path: Path) -> None:
    figures = await run(tmp_path, clients=CLIENTS, increments=INCREMENTS, drop=0.05, seed=1)

    assert figures.exact(), figures
    assert figures.replies_dropped >= CLIENTS * INCREMENTS * 2 * 0.05 / 2


async def test_a_lost_reply_is_found_out_by_repeating_with_the_request_id(tmp_path: Path) -> None:
    """The proxy is what it says: the write lands, the reply doesn't come, and the client still tells the truth."""
    lost = 0

    def first_reply(burst: bytes) -> bool:
        nonlocal lost
        lost += len(burst) > 64
        return lost == 1 and len(burst) > 64

    async with (
        running_daemon(tmp_path) as daemon,
        running_proxy(daemon.daemon.addresses[0], drop=first_reply) as proxy,
        AsyncStateClient(proxy.target) as client,
    ):
        store = daemon.switch()
        written = await client.cas("shop", "key", b"value", expected_version=0)
        found = await client.get("shop", "key")
        with pytest.raises(VersionConflict):
            await client.cas("shop", "key", b"other", expected_version=0)

    assert proxy.dropped == 1
    assert proxy.connections == 2
    assert store.calls["commit"] == 3
    assert found.version == written.version


async def test_a_write_without_a_request_id_whose_reply_is_lost_is_unknown(tmp_path: Path) -> None:
    async with (
        running_daemon(tmp_path) as daemon,
        running_proxy(daemon.daemon.addresses[0], drop=lambda burst: len(burst) > 64) as proxy,
        AsyncStateClient(proxy.target) as client,
    ):
        with pytest.raises(WriteOutcomeUnknown):
            await client.set("shop", "key", b"value", request_id="")
        stored = await daemon.warm.authority.get("shop", ["key"])

    assert stored != [None]


async def test_a_cut_connection_costs_no_write(tmp_path: Path) -> None:
    async with (
        running_daemon(tmp_path) as daemon,
        running_proxy(daemon.daemon.addresses[0]) as proxy,
        AsyncStateClient(proxy.target) as client,
    ):
        hold = daemon.switch().hold("commit")
        writing = asyncio.create_task(client.increment("shop", "count"))
        await hold.reached.wait()
        proxy.cut()
        hold.release()
        await writing
        total = await client.increment("shop", "count")

    assert total.count == 2
