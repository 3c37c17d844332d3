"""Each contract test takes one of these subjects, and runs once for every harness. tests/conftest.py counts what ran."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.adapters import (
    BLOBS,
    BOUNDED_CACHES,
    CACHES,
    COUNTING_QUIET_STORES,
    COUNTING_STORES,
    DURABLE_STORES,
    FEED_STORES,
    QUIET_STORES,
    SPOILABLE_STORES,
    STORES,
)
from tests.contract.harnesses import BlobsUnderTest, CacheUnderTest, StoreUnderTest


async def _opened(kind: str, request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[Any]:
    request.node.user_properties.append(("adapter", f"{kind} {request.param.name}"))
    async with request.param.opened(directory) as subject:
        yield subject


@pytest.fixture(params=STORES, ids=lambda harness: harness.name)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    async for subject in _opened("store", request, tmp_path):
        yield subject


@pytest.fixture(params=DURABLE_STORES, ids=lambda harness: harness.name)
async def durable_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    async for subject in _opened("store", request, tmp_path):
        yield subject


@pytest.fixture(params=FEED_STORES, ids=lambda harness: harness.name)
async def feed_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    async for subject in _opened("store", request, tmp_path):
        yield subject


@pytest.fixture(params=QUIET_STORES, ids=lambda harness: harness.name)
async def quiet_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    async for subject in _opened("store", request, tmp_path):
        yield subject


@pytest.fixture(params=COUNTING_STORES, ids=lambda harness: harness.name)
async def counting_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    async for subject in _opened("store", request, tmp_path):
        yield subject


@pytest.fixture(params=COUNTING_QUIET_STORES, ids=lambda harness: harness.name)
async def counting_quiet_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    async for subject in _opened("store", request, tmp_path):
        yield subject


@pytest.fixture(params=SPOILABLE_STORES, ids=lambda harness: harness.name)
async def spoilable_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    async for subject in _opened("store", request, tmp_path):
        yield subject


@pytest.fixture(params=CACHES, ids=lambda harness: harness.name)
async def cache(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CacheUnderTest]:
    async for subject in _opened("cache", request, tmp_path):
        yield subject


@pytest.fixture(params=BOUNDED_CACHES, ids=lambda harness: harness.name)
async def bounded_cache(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CacheUnderTest]:
    async for subject in _opened("cache", request, tmp_path):
        yield subject


@pytest.fixture(params=BLOBS, ids=lambda harness: harness.name)
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobsUnderTest]:
    async for subject in _opened("blobs", request, tmp_path):
        yield subject
