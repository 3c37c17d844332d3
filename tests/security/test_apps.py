"""Apps that share every backend, each with the same names for all it keeps: none sees, changes or sweeps another's."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from servers.base import shared
from servers.memcached import Memcached
from servers.ministack import CREDENTIALS, Ministack
from servers.redis import Redis, Valkey
from servers.seaweedfs import BUCKET, Seaweedfs
from sidecar.core.blobs import Blobs
from sidecar.core.cache import Fill, Hit, Miss
from sidecar.core.entry import Entry
from sidecar.core.operations import Put
from sidecar.core.store import Store, SweepOrder
from sidecar.runtime import adapters
from sidecar.runtime.ports import SystemPorts
from sidecar.runtime.settings import Settings
from sidecar.stores.apps import folder_of, prefix_of, schema_of
from sidecar.stores.postgres.target import SCHEMA
from tests.contract.adapters_dynamodb import environment
from tests.security.places import database, table
from tests.support.factories import NAMESPACE, entry, request, write

APPS = ("", "shop", "sho", "shop/eu", "shop_eu", "shop-eu", "Shop", "shop*", "{shop}", "shop\u0435u", "@shop")
"""Prefixes of each other, and what a separator, a glob, a hash tag or a lower-casing file system would confuse."""
pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def opened(directory: Path, **tiers: str) -> AsyncIterator[dict[str, adapters.Backends]]:
    """Each app's backends, as a daemon of it has them; the tiers that are not named are none."""
    async with contextlib.AsyncExitStack() as stack:
        found = {}
        for app in APPS:
            urls = {"hot": "none://", "warm": "none://", "cold": "none://"} | tiers
            settings = Settings.model_validate({"app": app, "data_dir": directory, "tiers": urls})
            found[app] = adapters.backends(settings, SystemPorts())
            stack.push_async_callback(found[app].close)
            await found[app].open()
            async with asyncio.timeout(60):
                await asyncio.gather(*found[app]._opening)
            assert not found[app].away
        yield found


async def apart(stores: dict[str, Store]) -> None:
    """Everything that a store does, at every app's, in turn."""
    cursors = {app: (await store.changes(after=None, limit=1)).cursor for app, store in stores.items()}
    for app, store in stores.items():
        asked = request("same", body=app)
        await store.commit(write(Put(key="same", value=app.encode(), expected_version=0), request=asked))
        await store.commit(write(Put(key=f"own {app}", value=b"")))
    for app, store in stores.items():
        copies = await store.get(NAMESPACE, ["same", *(f"own {other}" for other in APPS)])
        found = [copy for copy in copies if isinstance(copy, Entry)]
        assert [(copy.key, copy.value) for copy in found] == [("same", app.encode()), (f"own {app}", b"")]
        page = await store.scan(NAMESPACE, "", after=None, limit=100, bytes_max=1 << 20, keys_only=False)
        assert {copy.key for copy in page.entries} == {"same", f"own {app}"}
        told = await store.changes(after=cursors[app], limit=100)
        assert {change.key for change in told.changes} == {"same", f"own {app}"}
    generations = {app: await store.cache_generation("first") for app, store in stores.items()}
    for (app, store), (other, untouched) in itertools.pairwise(stores.items()):
        await store.delete_prefix(NAMESPACE, "", limit=100, request=None, progress=None)
        await store.sweep(SweepOrder(limit=100, tombstone_retention_ms=0, request_retention_ms=0))
        assert await store.cache_generation("second") > generations[app]
        (copy,) = await untouched.get(NAMESPACE, ["same"])
        assert isinstance(copy, Entry)
        again = write(Put(key="same", value=other.encode(), expected_version=0), request=request("same", body=other))
        assert (await untouched.commit(again)).replayed
        assert await untouched.cache_generation("first") == generations[other]


async def test_stores_in_a_database_of_postgresql(tmp_path: Path) -> None:
    with database() as url:
        async with opened(tmp_path, warm=url) as found:
            await apart({app: backends.warm for app, backends in found.items() if backends.warm})


async def test_stores_in_a_table_of_dynamodb(tmp_path: Path) -> None:
    with table() as url:
        async with opened(tmp_path, warm=url) as found:
            await apart({app: backends.warm for app, backends in found.items() if backends.warm})


@pytest.mark.parametrize("kind", [Valkey, Redis])
async def test_stores_and_caches_in_a_database_of_redis(tmp_path: Path, kind: type[Valkey]) -> None:
    with kind() as server:
        async with opened(tmp_path, hot=server.url) as found:
            await caches_apart(found)
            await apart({app: backends.hot_store for app, backends in found.items() if backends.hot_store})
        stray = [key for key in server.ask("KEYS", "*") if not key.startswith(b"state-sidecar/")]
    assert not stray


async def test_caches_in_memcached(tmp_path: Path) -> None:
    async with opened(tmp_path, hot=f"memcached://{shared(Memcached).address}") as found:
        await caches_apart(found)


async def caches_apart(found: dict[str, adapters.Backends]) -> None:
    """Copies of one name in one cache, told and forgotten in turn; then what daemons tell each other."""
    caches = {app: backends.cache for app, backends in found.items() if backends.cache is not None}
    for app, cache in caches.items():
        (miss,) = await cache.get(NAMESPACE, ["same"], generation=1, now=1)
        assert isinstance(miss, Miss)
        assert miss.lease, f"another app's lease kept {app!r} from its own"
        copy = entry(key="same", value=app.encode())
        assert await cache.fill(NAMESPACE, [Fill("same", copy, miss.lease)], generation=1, now=1) == 1
    for (app, cache), (other, untouched) in itertools.pairwise(caches.items()):
        await cache.invalidate(NAMESPACE, ["same"])
        await cache.claim_repair(app or "none", generation=1, begin=5, now=1)
        (hit,) = await untouched.get(NAMESPACE, ["same"], generation=1, now=1)
        assert isinstance(hit, Hit)
        assert isinstance(hit.copy, Entry)
        assert hit.copy.value == other.encode()
        assert await untouched.claim_repair("me", generation=1, begin=5, now=1), "another app has the turn"


@pytest.mark.parametrize("kind", ["file", "seaweedfs", "ministack"])
async def test_blobs_in_a_folder_or_bucket(tmp_path: Path, kind: str) -> None:
    with environment(CREDENTIALS):
        if kind == "file":
            url = f"file://{tmp_path / 'cold'}"
        else:
            server = shared(Seaweedfs) if kind == "seaweedfs" else shared(Ministack)
            url = f"s3://{BUCKET}/t{uuid.uuid4().hex}?endpoint_url={server.endpoint_url}&create=true"
        async with opened(tmp_path, cold=url) as found:
            blobs = {app: backends.cold for app, backends in found.items() if backends.cold is not None}
            for app, each in blobs.items():
                assert await each.put("shop/same", app.encode()), f"another app's blob was taken for {app!r}'s"
            for (app, each), (other, untouched) in itertools.pairwise(blobs.items()):
                assert await names_of(each) == ["shop/same"]
                assert await each.get("shop/same") == app.encode()
                assert await each.delete("shop/same")
                assert await names_of(each) == []
                assert await untouched.get("shop/same") == other.encode()


async def names_of(blobs: Blobs) -> list[str]:
    return [name async for name in blobs.names()]


def test_no_two_apps_have_one_place() -> None:
    letters = (
        "a",
        "b",
        "-",
        "_",
        "__",
        ".",
        "/",
        "%2F",
        "*",
        "?",
        "[",
        "{",
        "}",
        ":",
        "A",
        "\u0430",
        "@",
        "~",
        " ",
        "\\",
    )
    apps = {"".join(parts) for size in range(4) for parts in itertools.product(letters, repeat=size)}
    apps |= {"x" * size for size in range(200)} | {f"{app}{suffix}" for app in APPS for suffix in ("", "/", "__0")}
    # Those that are called as another one's place is.
    apps |= {_schema(app).removeprefix(f"{SCHEMA}_") for app in apps} | {
        folder_of(app).removeprefix("@") for app in apps
    }
    folders, schemas, prefixes = ([place(app) for app in apps] for place in (folder_of, _schema, prefix_of))

    assert len(set(folders)) == len(set(schemas)) == len(set(prefixes)) == len(apps)
    assert max(map(len, schemas)) <= 63
    assert max(map(len, folders)) <= 49
    ordered = sorted(prefixes)
    assert not any(later.startswith(earlier) for earlier, later in itertools.pairwise(ordered))


def test_the_place_of_an_app_is_still_what_it_was() -> None:
    digest = "0e6944b8064649b6e39d3e57caf8f3f2"
    places = [place("Shop / EU") for place in (prefix_of, _schema, folder_of)]

    assert [place("shop") for place in (prefix_of, _schema, folder_of)] == [
        "state-sidecar/shop/",
        "state_sidecar_shop",
        "@shop",
    ]
    assert [place("") for place in (prefix_of, _schema, folder_of)] == ["state-sidecar//", "state_sidecar", ""]
    assert places == ["state-sidecar/Shop%20%2F%20EU/", f"state_sidecar_shop_eu__{digest}", f"@shop-eu@{digest}"]


def _schema(app: str) -> str:
    return schema_of(app, SCHEMA)
