"""The adapters that the contract suite runs. A new one adds its harness here, and nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sidecar.stores.files import FileBlobs
from sidecar.stores.memory import MemoryCache, MemoryStore
from sidecar.stores.sqlite import SqliteStore
from tests.contract.adapters_dynamodb import DYNAMODB_STORE
from tests.contract.adapters_memcached import MEMCACHED_CACHE, MEMCACHED_RING_CACHE
from tests.contract.adapters_postgres import POSTGRES_STORE
from tests.contract.adapters_redis_cache import REDIS_CACHE, REDIS_CLUSTER_CACHE, VALKEY_CACHE
from tests.contract.adapters_redis_store import REDIS_CLUSTER_STORE, REDIS_STORE, VALKEY_STORE
from tests.contract.adapters_s3 import MINISTACK_BLOBS, SEAWEEDFS_BLOBS
from tests.contract.adapters_sealed import cache_sealer, sealed_cache, sealed_store
from tests.contract.harnesses import BlobsHarness, CacheHarness, StoreHarness, StoreUnderTest

LEASE_MS, NEGATIVE_MS = 3_000, 2_000
CHANGES_MAX = 1_000


async def _outnumber(store: StoreUnderTest) -> None:
    for _ in range(CHANGES_MAX):
        await store.put("one of many")


async def _sweep_all(store: StoreUnderTest) -> None:
    await store.store.sweep(store.sweep_order(tombstone_retention_ms=0))


async def _spoil_row(store: StoreUnderTest, key: str) -> None:
    await store.store.close()
    with closing(sqlite3.connect(store.directory / "state.db")) as connection, connection:
        (value,) = connection.execute("SELECT value FROM entries WHERE key = ?", (key.encode(),)).fetchone()
        spoilt = value[:-1] + bytes([value[-1] ^ 1])
        connection.execute("UPDATE entries SET value = ? WHERE key = ?", (spoilt, key.encode()))
    await store.reopen()


async def _delete_files(store: StoreUnderTest) -> None:
    for path in store.directory.iterdir():
        path.unlink()


def _spoil_file(directory: Path, name: str) -> None:
    *_, last = name.split("/")
    (path,) = (path for path in directory.rglob(last) if path.is_file())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


MEMORY_STORE = StoreHarness(
    name="memory",
    durable=False,
    make=lambda _, clock: MemoryStore(clock=clock, changes_max=CHANGES_MAX),
    forget_changes=_outnumber,
)
SQLITE_STORE = StoreHarness(
    name="sqlite",
    durable=True,
    make=lambda directory, clock: SqliteStore(directory / "state.db", clock=clock),
    forget_changes=_sweep_all,
    lose=_delete_files,
    spoil=_spoil_row,
)
MEMORY_CACHE = CacheHarness(
    name="memory",
    make=lambda bytes_max: MemoryCache(bytes_max=bytes_max, lease_ms=LEASE_MS, negative_ms=NEGATIVE_MS),
    lease_ms=LEASE_MS,
    negative_ms=NEGATIVE_MS,
)
FILE_BLOBS = BlobsHarness(name="files", make=FileBlobs, spoil=_spoil_file)
SEALED_STORES = [sealed_store(each) for each in (MEMORY_STORE, POSTGRES_STORE, REDIS_STORE)]
STORES = [
    MEMORY_STORE,
    SQLITE_STORE,
    POSTGRES_STORE,
    DYNAMODB_STORE,
    REDIS_STORE,
    VALKEY_STORE,
    REDIS_CLUSTER_STORE,
    *SEALED_STORES,
]
DURABLE_STORES = [harness for harness in STORES if harness.durable]
FEED_STORES = [harness for harness in STORES if harness.changes]
QUIET_STORES = [harness for harness in STORES if harness.quiet]
COUNTING_STORES = [harness for harness in STORES if harness.counts]
COUNTING_QUIET_STORES = [harness for harness in COUNTING_STORES if harness.quiet]
SPOILABLE_STORES = [harness for harness in STORES if harness.spoil]
CACHES = [
    MEMORY_CACHE,
    MEMCACHED_CACHE,
    MEMCACHED_RING_CACHE,
    REDIS_CACHE,
    VALKEY_CACHE,
    REDIS_CLUSTER_CACHE,
    *[sealed_cache(each, cache_sealer) for each in (MEMCACHED_CACHE, REDIS_CACHE)],
]
BOUNDED_CACHES = [harness for harness in CACHES if harness.bounded]
BLOBS = [FILE_BLOBS, SEAWEEDFS_BLOBS, MINISTACK_BLOBS]
