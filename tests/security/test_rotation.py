"""A new key under load: nobody's read fails, nothing is lost, and the old key can go once everything was sealed anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from statesidecar.v1 import admin_service_pb2 as admin_pb
from statesidecar.v1 import state_service_pb2 as pb
from tests.security.sealing import LARGE
from tests.support.backends import shared_tiers
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.keys import write_key
from tests.support.statuses import refusal

pytestmark = pytest.mark.timeout(240)

NAMESPACES: dict[str, Any] = {"plans": {"kind": "process", "checkpoint": {"every": 2}, "large_value_bytes": 1000}}
KEYS = [f"k{number:03}" for number in range(150)]
WORKERS = 6


@asynccontextmanager
async def daemons(directory: Path, count: int = 2) -> AsyncIterator[list[RunningDaemon]]:
    """They share Redis, PostgreSQL, the cold tier and the directory of keys."""
    write_key(directory / "keys", "first")
    with shared_tiers() as given:
        settings: dict[str, Any] = {
            "app": given["app"],
            "tiers": {
                "hot": given["tiers.hot"],
                "warm": given["tiers.warm"],
                "cold": f"file://{directory}/cold",
            },
            "encryption": {"keys": directory / "keys"},
            "namespaces": NAMESPACES,
        }
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(running_daemon(directory / f"{number}", **settings))
                for number in range(count)
            ]


async def reseal(daemon: RunningDaemon, namespace: str, *, dry_run: bool = False) -> admin_pb.ResealResponse:
    """How it ended."""
    told = await last(daemon, namespace, dry_run=dry_run)
    assert told.state == admin_pb.COLLECTION_STATE_DONE, told
    return told


async def last(daemon: RunningDaemon, namespace: str, *, dry_run: bool = False) -> admin_pb.ResealResponse:
    """The last that was told."""
    call = daemon.admin.Reseal(admin_pb.ResealRequest(namespace=namespace, dry_run=dry_run))
    replies: list[admin_pb.ResealResponse] = [reply async for reply in call]
    return replies[-1]


async def value(daemon: RunningDaemon, namespace: str, key: str) -> bytes:
    request = pb.GetRequest(namespace=namespace, key=key, consistency="CONSISTENCY_STRONG")
    return bytes((await daemon.state.Get(request)).entry.value)


class Load:
    """Reads and in-place changes through all daemons, until it is ended. An error of any call ends the test."""

    def __init__(self, daemons: list[RunningDaemon]) -> None:
        self._daemons = daemons
        self._ended = False
        self.reads = 0
        self.increments = 0

    async def work(self, number: int) -> None:
        turn = number
        while not self._ended:
            turn += WORKERS
            daemon, key = self._daemons[turn % len(self._daemons)], KEYS[turn % len(KEYS)]
            if turn % 3:
                reply = await daemon.state.Get(pb.GetRequest(namespace="shop", key=key))
                assert reply.entry.value.startswith(b"value"), reply
                assert (await value(daemon, "plans", key)).startswith(LARGE[:20])
                self.reads += 2
            else:
                increment = pb.UpdateRequest(
                    namespace="shop", key="count", increment=pb.Increment(delta=1), create=True
                )
                await daemon.state.Update(increment)
                self.increments += 1

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as workers:
            for number in range(WORKERS):
                workers.create_task(self.work(number))
            yield
            self._ended = True


async def test_a_rotation_under_load_fails_no_read(tmp_path: Path) -> None:
    async with daemons(tmp_path) as two:
        one = two[0]
        for key in KEYS:
            await one.state.Set(pb.SetRequest(namespace="shop", key=key, value=b"value of " + key.encode()))
            size = LARGE if key < KEYS[20] else LARGE[:100]
            await one.state.Set(pb.SetRequest(namespace="plans", key=key, value=size + key.encode()))
        kept = await one.state.Checkpoint(pb.CheckpointRequest(namespace="plans", key_prefix="k0"))
        versions = await all_versions(one)
        load = Load(two)
        async with load.under_way():
            write_key(tmp_path / "keys", "second", active=False)
            assert (await reseal(one, "shop", dry_run=True)).resealed_count == 0, "it is known, and does not seal yet"
            (tmp_path / "keys" / "active").write_text("second")
            async with asyncio.timeout(60):
                for daemon in two:
                    while not (await reseal(daemon, "shop", dry_run=True)).resealed_count:
                        pass  # until it has looked at its keys
                for namespace in ("shop", "plans", ""):
                    while (told := await reseal(two[1], namespace)).remaining_count:
                        assert not told.failed_count, told
            (tmp_path / "keys" / "first.key").unlink()

        assert load.reads > 100, "there was load"
        assert int(await value(one, "shop", "count")) == load.increments, "no update was lost"
        assert await all_versions(one) == versions, "nobody was told of another version"
        restored = await one.state.GetCheckpoint(
            pb.GetCheckpointRequest(namespace="plans", checkpoint_id=kept.checkpoint.checkpoint_id)
        )
        assert len(restored.entries) == 100
        async with running_daemon(tmp_path / "never knew the first key", **settings_of(one)) as fresh:
            for key in KEYS:
                assert await value(fresh, "shop", key) == b"value of " + key.encode()
                assert (await value(fresh, "plans", key)).endswith(key.encode())


async def all_versions(daemon: RunningDaemon) -> dict[str, int]:
    page = await daemon.state.List(pb.ListRequest(namespace="plans", page_size=1000, keys_only=True))
    return {entry.key: entry.version for entry in page.entries}


async def test_a_daemon_without_the_old_key_says_which_is_missing(tmp_path: Path) -> None:
    async with daemons(tmp_path, 1) as (one,):
        await one.state.Set(pb.SetRequest(namespace="plans", key="key", value=b"value"))
        write_key(tmp_path / "keys", "second")
        (tmp_path / "keys" / "first.key").rename(tmp_path / "kept")
        async with running_daemon(tmp_path / "2", **settings_of(one)) as other:
            told = await refusal(value(other, "plans", "key"))
            assert told.told == (grpc.StatusCode.FAILED_PRECONDITION, "ENCRYPTION_KEY_MISSING")
            assert told.info.metadata["encryption_key"] == "first"
            assert (await reseal(other, "plans")).failed_count == 1
            (tmp_path / "kept").rename(tmp_path / "keys" / "first.key")
            assert await value(other, "plans", "key") == b"value", "no restart is needed"
            assert (await reseal(other, "plans")).resealed_count == 1
            (tmp_path / "keys" / "first.key").unlink()
        async with running_daemon(tmp_path / "3", **settings_of(one)) as third:
            assert await value(third, "plans", "key") == b"value"


def settings_of(daemon: RunningDaemon) -> dict[str, Any]:
    """To start another like it."""
    own = daemon.daemon.settings
    return {
        "app": own.app,
        "tiers": own.tiers,
        "encryption": own.encryption,
        "namespaces": NAMESPACES,
    }


async def test_what_is_sealed_anew_goes_on_where_it_was(tmp_path: Path) -> None:
    async with daemons(tmp_path) as two:
        for number in range(250):
            await two[0].state.Set(pb.SetRequest(namespace="shop", key=f"{number:03}", value=b"value"))
        write_key(tmp_path / "keys", "second")
        async with asyncio.timeout(30):
            while (await reseal(two[0], "shop", dry_run=True)).resealed_count < 250:
                pass
        given_up = two[0].admin.Reseal(admin_pb.ResealRequest(namespace="shop"))
        first = await given_up.read()
        given_up.cancel()

        assert first.resealed_count == 100
        async with asyncio.timeout(30):
            while (told := await last(two[1], "shop")).state != admin_pb.COLLECTION_STATE_DONE:
                pass
        assert told.resealed_count <= 150, "what was done is not done again"
        assert told.remaining_count == 0


async def test_without_keys_there_is_nothing_to_seal(tmp_path: Path) -> None:
    async with running_daemon(tmp_path) as daemon:
        told = await refusal(reseal(daemon, "shop"))
    assert told.told == (grpc.StatusCode.FAILED_PRECONDITION, "ENCRYPTION_OFF")
