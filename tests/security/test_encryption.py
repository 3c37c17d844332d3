"""A daemon with keys: nothing that callers wrote is at rest in the clear, and what was moved from its place does not open."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core import marks
from sidecar.core.entry import Entry
from sidecar.core.ledger import CONTENTS, LEDGER, SECRET
from sidecar.core.operations import Put, Write
from sidecar.core.sealing import MAGIC
from sidecar.stores.sealed.store import SealedStore
from statesidecar.v1 import admin_service_pb2 as admin_pb
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.types_pb2 import DURABILITY_BUFFERED, TIER_HOT
from tests.security.sealing import CANARY, LARGE, consumed, embedded, files_with, read_everything, write_everything
from tests.support.backends import shared_tiers
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.keys import keyring, write_key
from tests.support.statuses import refusal

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    async with running_daemon(tmp_path, **embedded(tmp_path), audit={"file": f"{tmp_path}/audit.log"}) as running:
        yield running


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Settings of daemons that share Redis, PostgreSQL and keys."""
    write_key(tmp_path / "keys", "first")
    with shared_tiers() as given:
        tiers = {name.removeprefix("tiers."): url for name, url in given.items() if name.startswith("tiers.")}
        yield {
            "app": given["app"],
            "tiers": tiers | {"cold": f"file://{tmp_path}/cold"},
            "encryption": {"keys": tmp_path / "keys"},
        }


def raw(daemon: RunningDaemon) -> Any:
    """The store beneath, as whoever may write to it has it."""
    assert isinstance(daemon.warm.authority, SealedStore)
    return daemon.warm.authority.store


async def stored(daemon: RunningDaemon, namespace: str, key: str) -> Entry:
    [copy] = await raw(daemon).get(namespace, [key])
    assert isinstance(copy, Entry)
    return copy


async def plant(daemon: RunningDaemon, namespace: str, key: str, row: Entry, **changed: Any) -> None:
    """Put a stored row in another place, by the store's own means: checksums and all are right."""
    put = Put(
        key=key,
        value=row.value,
        content_type=row.content_type,
        schema_version=changed.get("schema_version", row.schema_version),
        labels={},
        marks={name: text for name, text in row.labels.items() if name.startswith(marks.MARK)},
    )
    await raw(daemon).commit(Write(namespace=namespace, operations=(put,), value_bytes_max=1 << 30))


async def strong(daemon: RunningDaemon, namespace: str, key: str) -> bytes:
    request = pb.GetRequest(namespace=namespace, key=key, consistency="CONSISTENCY_STRONG")
    return bytes((await daemon.state.Get(request)).entry.value)


async def refused(daemon: RunningDaemon, namespace: str, key: str) -> None:
    told = await refusal(strong(daemon, namespace, key))
    assert told.told == (grpc.StatusCode.DATA_LOSS, "ENTRY_CORRUPT")
    assert CANARY.decode() not in str(told)


# ---- at rest


@pytest.mark.parametrize("encrypted", [True, False], ids=["sealed", "in the clear"])
async def test_nothing_that_was_written_is_on_the_disk(tmp_path: Path, *, encrypted: bool) -> None:
    """Without keys the same is found, so the search can fail."""
    given = embedded(tmp_path)
    if not encrypted:
        del given["encryption"]
    async with running_daemon(tmp_path, **given) as daemon:
        checkpoint = await write_everything(daemon)
        await read_everything(daemon, checkpoint)
        switched = daemon.switch()
        switched.away()
        buffered = pb.SetRequest(namespace="buffered", key="key", value=CANARY)
        async with asyncio.timeout(30):
            while (await daemon.state.Set(buffered)).durability != DURABILITY_BUFFERED:
                pass
        found = {path.relative_to(tmp_path).parts[0].partition("-")[0] for path in files_with(tmp_path, CANARY)}

    assert found == (set() if encrypted else {"state.db", "cold", "journal"})


async def test_what_one_daemon_sealed_the_next_opens(tmp_path: Path) -> None:
    async with running_daemon(tmp_path, **embedded(tmp_path)) as daemon:
        checkpoint = await write_everything(daemon)
        payload = await consumed(daemon)
        assert payload == CANARY
    async with running_daemon(tmp_path, **embedded_again(tmp_path)) as daemon:
        await read_everything(daemon, checkpoint)


def embedded_again(directory: Path) -> dict[str, Any]:
    """The same settings without another key."""
    kept = directory / "kept"
    shutil.copytree(directory / "keys", kept)
    given = embedded(directory)
    shutil.rmtree(directory / "keys")
    kept.rename(directory / "keys")
    return given


async def test_what_is_buffered_is_opened_and_replayed(tmp_path: Path) -> None:
    async with running_daemon(tmp_path, **embedded(tmp_path)) as daemon:
        daemon.switch().away()
        async with asyncio.timeout(30):
            while (
                await daemon.state.Set(pb.SetRequest(namespace="buffered", key="key", value=CANARY))
            ).durability != DURABILITY_BUFFERED:
                pass
    async with running_daemon(tmp_path, **embedded_again(tmp_path)) as daemon, asyncio.timeout(30):
        while await strong(daemon, "buffered", "key") != CANARY:
            pass


async def test_contents_of_checkpoints_are_sealed(daemon: RunningDaemon) -> None:
    """They are compressed, so a search for what callers wrote says nothing."""
    await write_everything(daemon)
    async for _ in daemon.admin.CollectGarbage(admin_pb.CollectGarbageRequest()):
        pass  # those that wait are stored

    page = await raw(daemon).scan(LEDGER, "", after=None, limit=1000, bytes_max=1 << 30, keys_only=False)
    values = {row.key: row.value for row in page.entries if row.key.startswith(CONTENTS) or row.key == SECRET}
    assert len(values) > 2
    assert all(value.startswith(MAGIC) for value in values.values())


# ---- out of its place


async def test_a_value_opens_only_under_its_own_key_namespace_and_schema(daemon: RunningDaemon) -> None:
    await daemon.state.Set(pb.SetRequest(namespace="shop", key="a", value=CANARY))
    await daemon.state.Set(pb.SetRequest(namespace="shop", key="b", value=b"b"))
    row = await stored(daemon, "shop", "a")

    await plant(daemon, "shop", "b", row)
    await plant(daemon, "other", "a", row)
    await refused(daemon, "shop", "b")
    await refused(daemon, "other", "a")
    await plant(daemon, "shop", "a", row)
    assert await strong(daemon, "shop", "a") == CANARY, "in its own place it is a value"
    await plant(daemon, "shop", "a", row, schema_version=7)
    await refused(daemon, "shop", "a")
    await plant(daemon, "shop", "a", row._replace(value=b"in the clear"))
    await refused(daemon, "shop", "a")
    with pytest.raises(grpc.aio.AioRpcError, match="does not open"):
        await daemon.state.Update(pb.UpdateRequest(namespace="shop", key="a", increment=pb.Increment(delta=1)))


async def test_a_value_of_another_app_does_not_open(tmp_path: Path) -> None:
    """Under the same wrapping key."""
    async with running_daemon(tmp_path / "1", **embedded(tmp_path), app="one") as daemon:
        await daemon.state.Set(pb.SetRequest(namespace="shop", key="a", value=CANARY))
        row = await stored(daemon, "shop", "a")
    other = keyring(tmp_path / "keys", app="two")
    same = keyring(tmp_path / "keys", app="one")
    place = SealedStore(raw_of(row), same)
    [opened] = await place.get("shop", ["a"])
    assert isinstance(opened, Entry)
    assert opened.value == CANARY
    with pytest.raises(Exception, match="does not open"):
        await SealedStore(raw_of(row), other).get("shop", ["a"])


def raw_of(row: Entry) -> Any:
    """A store that has this row."""

    class One:
        async def get(self, namespace: str, keys: list[str], *, deadline: float | None = None) -> list[Entry]:
            assert (namespace, keys, deadline) == (row.namespace, [row.key], None)
            return [row]

    return One()


async def test_a_large_value_opens_only_under_its_own_key(daemon: RunningDaemon) -> None:
    for key in ("a", "b"):
        await daemon.state.Set(pb.SetRequest(namespace="plans", key=key, value=LARGE + key.encode()))
    row = await stored(daemon, "plans", "a")
    assert marks.BLOB in row.labels, "it is in cold"

    await plant(daemon, "plans", "b", row)

    await refused(daemon, "plans", "b")
    assert await strong(daemon, "plans", "a") == LARGE + b"a"


async def test_refusals_are_audited_without_the_value(daemon: RunningDaemon, tmp_path: Path) -> None:
    await daemon.state.Set(pb.SetRequest(namespace="shop", key="a", value=CANARY))
    await plant(daemon, "shop", "b", await stored(daemon, "shop", "a"))
    await refused(daemon, "shop", "b")

    async with asyncio.timeout(30):
        while not (lines := [line for line in log_lines(tmp_path) if '"tampering"' in line]):  # noqa: ASYNC110  # a file
            await asyncio.sleep(0)

    assert '"shop"' in lines[0]
    assert CANARY.decode() not in "".join(lines)


def log_lines(directory: Path) -> list[str]:
    path = directory / "audit.log"
    return path.read_text().splitlines() if path.exists() else []


async def test_a_cached_copy_out_of_its_place_is_never_told(tmp_path: Path, shared: dict[str, Any]) -> None:
    async with running_daemon(tmp_path / "1", **shared) as daemon:
        for key in ("a", "b"):
            await daemon.state.Set(pb.SetRequest(namespace="shop", key=key, value=CANARY + key.encode()))
            async with asyncio.timeout(30):  # until the generation of the cache is known, and it has a copy
                while (await daemon.state.Get(pb.GetRequest(namespace="shop", key=key))).served_by != TIER_HOT:
                    pass
        cache: Any = daemon.warm.cache.backend
        hot, generation = cache.cache, daemon.warm.cache.generation
        (held,) = await hot.get("shop", ["a"], generation=generation, now=daemon.warm.authority.now())
        newer = held.copy._replace(key="b", version=held.copy.version + (1 << 20))
        await hot.apply("shop", [newer], generation=generation)
        (planted,) = await hot.get("shop", ["b"], generation=generation, now=daemon.warm.authority.now())
        assert planted.copy.value == held.copy.value, "it is planted"

        values = [
            bytes((await daemon.state.Get(pb.GetRequest(namespace="shop", key="b"))).entry.value) for _ in range(5)
        ]

    assert values == [CANARY + b"b"] * 5


async def test_plaintext_is_believed_only_where_that_is_said(tmp_path: Path) -> None:
    given = embedded(tmp_path)
    keys = given.pop("encryption")
    async with running_daemon(tmp_path, **given) as daemon:
        await daemon.state.Set(pb.SetRequest(namespace="shop", key="old", value=CANARY))
    async with running_daemon(tmp_path, **given, encryption=keys) as daemon:
        await refused(daemon, "shop", "old")
    async with running_daemon(tmp_path, **given, encryption=keys | {"accept_plaintext": True}) as daemon:
        assert await strong(daemon, "shop", "old") == CANARY
