"""Blobs over a real server, directly or through a proxy that goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers.base import shared
from servers.ministack import CREDENTIALS
from servers.seaweedfs import Seaweedfs
from sidecar.runtime.ports import SystemClock
from sidecar.stores.s3 import requests
from sidecar.stores.s3.blobs import S3Blobs
from sidecar.stores.s3.target import S3Target
from tests.contract.adapters_s3 import target as target_in
from tests.stores.s3.faults import FaultProxy


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def target(tmp_path: Path) -> S3Target:
    """A test's own place in a server that all share."""
    return target_in(shared(Seaweedfs).endpoint_url, tmp_path)


@pytest.fixture
async def blobs(target: S3Target) -> AsyncIterator[S3Blobs]:
    """Open, without anything between them and the server."""
    blobs = S3Blobs(target, clock=SystemClock(), timeout_s=20)
    await blobs.open()
    yield blobs
    await blobs.close()


@dataclass(kw_only=True)
class Faulty:
    """Blobs whose requests go through a proxy, which has counted none yet."""

    blobs: S3Blobs
    proxy: FaultProxy

    def asked(self, method: str) -> int:
        """How many requests of a method there were."""
        return sum(request.startswith(f"{method} ") for request in self.proxy.requests)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """Before the server that all share."""
    with FaultProxy(shared(Seaweedfs).endpoint_url) as proxy:
        yield proxy


@pytest.fixture
async def faulty(tmp_path: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Faulty]:
    """Open, and without patience between repetitions."""
    monkeypatch.setattr(requests, "PAUSE_S", 0.001)
    blobs = S3Blobs(target_in(proxy.endpoint_url, tmp_path), clock=SystemClock(), timeout_s=20)
    await blobs.open()
    proxy.requests.clear()
    yield Faulty(blobs=blobs, proxy=proxy)
    await blobs.close()
