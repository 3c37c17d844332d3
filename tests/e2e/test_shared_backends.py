"""Several daemons on one Redis and one PostgreSQL: exact totals, own writes read through another daemon, deaths healed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from statesidecar import AsyncStateClient, Consistency, Durability, ServingMode, StateClient
from tests.e2e.increments import run
from tests.support.backends import shared_tiers
from tests.support.process import DaemonProcess, daemon_process

CLIENTS, INCREMENTS = 64, 6
HEALED_S = 10.0


@pytest.fixture
def tiers() -> Iterator[dict[str, str]]:
    with shared_tiers() as settings:
        yield settings


@pytest.fixture
def three(tmp_path: Path, tiers: dict[str, str]) -> Iterator[list[DaemonProcess]]:
    with ExitStack() as stack:
        yield [stack.enter_context(daemon_process(tmp_path / f"{n}", **tiers)) for n in range(3)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("daemons", "drop"), [(2, 0.0), (3, 0.05)])
async def test_totals_are_exact(tmp_path: Path, tiers: dict[str, str], daemons: int, drop: float) -> None:
    figures = await run(tmp_path, clients=CLIENTS, increments=INCREMENTS, drop=drop, seed=1, daemons=daemons, **tiers)

    assert figures.exact(), figures
    assert figures.conflicts > 0
    assert bool(figures.replies_dropped) == bool(drop)


async def test_own_writes_are_read_through_another_daemon(three: list[DaemonProcess]) -> None:
    """The client sends back the newest version that it has seen; a copy below it is passed over."""
    async with AsyncStateClient(three[0].target) as writer, AsyncStateClient(three[1].target) as reader:
        for n in range(300):
            written = await writer.set("model", "key", b"%d" % n)
            found = await reader.get("model", "key", min_version=written.version)
            assert found.entry is not None
            assert found.entry.value == b"%d" % n


async def test_what_one_daemon_wrote_another_serves_from_the_shared_cache(three: list[DaemonProcess]) -> None:
    with StateClient(three[0].target) as writer, StateClient(three[1].target) as reader:
        writer.set("session", "key", b"value")
        tiers = {reader.get("session", "key").served_by.name for _ in range(3)}

    assert "HOT" in tiers


async def test_a_hot_authority_is_one_for_all(three: list[DaemonProcess]) -> None:
    async def add(daemon: DaemonProcess) -> None:
        async with AsyncStateClient(daemon.target) as client:
            for _ in range(50):
                await client.increment("system", "count")

    await asyncio.gather(*[add(daemon) for daemon in three])

    with StateClient(three[0].target) as client:
        found = client.get("system", "count", consistency=Consistency.STRONG)
        written = client.set("system", "other", b"value")
    assert found.entry is not None
    assert json.loads(found.entry.value) == 150
    assert written.durability is Durability.VOLATILE


async def test_a_near_copy_ends_with_the_write_of_another_daemon(three: list[DaemonProcess]) -> None:
    async with AsyncStateClient(three[0].target) as writer, AsyncStateClient(three[1].target) as reader:
        await writer.set("model", "key", b"old")
        await eventually(lambda: served_by(reader, "model", "key"), "NEAR")
        await writer.set("model", "key", b"new")
        start = time.monotonic()
        while (found := await reader.get("model", "key", min_version=0)).entry is None or found.entry.value != b"new":
            assert time.monotonic() - start < HEALED_S

    # Far below the copy's greatest age, 5 s: the channel told it.
    assert time.monotonic() - start < 3.0


async def test_a_copy_is_right_10_s_after_its_writer_died(three: list[DaemonProcess]) -> None:
    """Killed at random moments while it writes: between commit and telling the cache, too."""
    async with AsyncStateClient(three[1].target) as reader:
        for n in range(3):
            await write_until_killed(three[0], reader, f"key {n}")
            await eventually(lambda: agrees(reader, [f"key {m}" for m in range(n + 1)]), expected=True)  # noqa: B023
            three[0].restart()


async def write_until_killed(daemon: DaemonProcess, reader: AsyncStateClient, key: str) -> None:
    async with AsyncStateClient(daemon.target, timeout_s=1.0) as writer:

        async def write() -> None:
            for n in range(100_000):
                await writer.set("session", key, b"%d" % n)
                await reader.get("session", key)

        writing = asyncio.create_task(write())
        for _ in range(200):
            await reader.get("session", key)
        daemon.kill()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def agrees(reader: AsyncStateClient, keys: list[str]) -> bool:
    """Whether a CACHED read of each key shows what the authority has."""
    for key in keys:
        cached = await reader.get("session", key, min_version=0)
        strong = await reader.get("session", key, consistency=Consistency.STRONG)
        if cached.entry != strong.entry or cached.mode is not ServingMode.NORMAL:
            return False
    return True


async def served_by(reader: AsyncStateClient, namespace: str, key: str) -> str:
    return (await reader.get(namespace, key)).served_by.name


async def eventually(ask: object, expected: object) -> None:
    """Ask until the answer is the expected one, at most HEALED_S."""
    start = time.monotonic()
    while await ask() != expected:  # type: ignore[operator]
        assert time.monotonic() - start < HEALED_S, f"never {expected}"
