"""A user that may run what the store's page lists, on the store's keys, can do everything; less is told at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from servers.redis import Redis, Valkey
from sidecar.core.errors import OutcomeUnknown, StoreUnavailable
from sidecar.core.operations import Append, Change, Increment, Put, Remove
from tests.stores.redis.store_support import daemon
from tests.support.clock import ManualClock
from tests.support.factories import request

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "adapters" / "redis-store.md"
SCRIPTS = ROOT / "sidecar" / "stores" / "redis"
GREETING = ["+hello", "+auth", "+client|setname"]


def documented() -> list[str]:
    """The commands of the page's ACL row."""
    found = re.search(r"\| ACL \| `~PREFIX:s:\*`, and `([a-z ]+)`", PAGE.read_text())
    assert found is not None
    return [f"+{command}" for command in found[1].split()]


def permit(server: Valkey, *rules: str, keys: str = "~app:s:*") -> str:
    """The URL of a user with these rights only."""
    server.ask("ACL", "SETUSER", "app", "reset", "on", ">secret", keys, *GREETING, *rules)
    return server.url.replace("redis://", "redis://app:secret@")


@pytest.mark.parametrize("kind", [Redis, Valkey])
async def test_what_is_documented_suffices(kind: type[Valkey]) -> None:
    clock = ManualClock()
    with kind() as server:
        async with daemon(permit(server, *documented()), prefix="app", server_clock=clock, changes_max=1) as store:
            cursor = await store.cursor()
            for n in range(200):
                await store.put(f"{n}", b"1", ttl_ms=1000)
            await store.commit(
                Put(key="new", value=b"1"),
                Change(key="0", change=Increment(delta=1)),
                Change(key="list", change=Append(items=(1,)), create=True),
                Remove(key="1"),
                request=request("r"),
            )
            await store.touch("2", ttl_ms=9000, announce=True)
            assert len(await store.keys()) == 201
            await store.delete_prefix("10", request=request("deletion"))
            clock.advance(2000)
            await store.store.sweep(store.sweep_order(tombstone_retention_ms=0, request_retention_ms=0))
            assert (await store.store.changes(after=cursor, limit=10)).gap
            assert await store.store.cache_generation("run") > 0
            assert await store.keys() == ["2", "list", "new"]


def test_nothing_documented_is_unneeded() -> None:
    source = "".join(path.read_text() for path in SCRIPTS.glob("store_*.lua"))
    called = {name.lower() for name in re.findall(r"call\('([A-Z]+)'", source)}

    assert {f"+{name}" for name in called | {"eval", "evalsha"}} == set(documented())


async def test_keys_that_are_not_permitted_are_told_when_the_store_is_opened() -> None:
    with Redis() as server:
        url = permit(server, *documented(), keys="~another:*")
        with pytest.raises(StoreUnavailable, match="does not permit"):
            async with daemon(url, prefix="app"):
                pass


async def test_a_command_that_is_not_permitted_within_a_script_leaves_the_outcome_open() -> None:
    with Redis() as server:
        async with daemon(permit(server, *documented(), "-zadd"), prefix="app") as store:
            with pytest.raises(OutcomeUnknown):
                await store.put("key")
