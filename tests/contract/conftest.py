"""Each contract test takes one of these subjects, and runs once for every harness."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.adapters import (
    BLOBS,
    BOUNDED_CACHES,
    CACHES,
    DURABLE_STORES,
    SPOILABLE_STORES,
    STORES,
)
from tests.contract.harnesses import (
    BlobsHarness,
    BlobsUnderTest,
    CacheHarness,
    CacheUnderTest,
    StoreHarness,
    StoreUnderTest,
)


@pytest.fixture(params=STORES, ids=lambda harness: harness.name)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    harness: StoreHarness = request.param
    async with harness.opened(tmp_path) as subject:
        yield subject


@pytest.fixture(params=DURABLE_STORES, ids=lambda harness: harness.name)
async def durable_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    harness: StoreHarness = request.param
    async with harness.opened(tmp_path) as subject:
        yield subject


@pytest.fixture(params=SPOILABLE_STORES, ids=lambda harness: harness.name)
async def spoilable_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    harness: StoreHarness = request.param
    async with harness.opened(tmp_path) as subject:
        yield subject


@pytest.fixture(params=CACHES, ids=lambda harness: harness.name)
async def cache(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CacheUnderTest]:
    harness: CacheHarness = request.param
    async with harness.opened(tmp_path) as subject:
        yield subject


@pytest.fixture(params=BOUNDED_CACHES, ids=lambda harness: harness.name)
async def bounded_cache(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CacheUnderTest]:
    harness: CacheHarness = request.param
    async with harness.opened(tmp_path) as subject:
        yield subject


@pytest.fixture(params=BLOBS, ids=lambda harness: harness.name)
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobsUnderTest]:
    harness: BlobsHarness = request.param
    async with harness.opened(tmp_path) as subject:
        yield subject
