"""S3 for the contract suite: two servers, in each a folder of one bucket for each test."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from servers.base import shared
from servers.ministack import CREDENTIALS, Ministack
from servers.seaweedfs import BUCKET, Seaweedfs
from sidecar.runtime.ports import SystemClock
from sidecar.stores.s3.blobs import S3Blobs
from sidecar.stores.s3.client import connect
from sidecar.stores.s3.objects import Objects
from sidecar.stores.s3.requests import Requests
from sidecar.stores.s3.target import S3Target
from tests.contract.harnesses import BlobsHarness

TIMEOUT_S = 20.0
"""The servers share a small machine with the tests, and SeaweedFS is slow where many write one name."""


@asynccontextmanager
async def environment(variables: Mapping[str, str]) -> AsyncIterator[None]:
    """These variables, as they were afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def credentials(_: Path) -> AbstractAsyncContextManager[None]:
    """What both servers accept."""
    return environment(CREDENTIALS)


def target(endpoint_url: str, directory: Path) -> S3Target:
    """A test's own place."""
    prefix = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    return S3Target(bucket=BUCKET, prefix=prefix, endpoint_url=endpoint_url, path_style=True, create=True)


def spoil(target: S3Target, name: str) -> None:
    """Another byte in an object, and all that is said of it as it was."""
    with_client: Any = connect(target, timeout_s=TIMEOUT_S, connections=1)
    at = {"Bucket": target.bucket, "Key": Objects(Requests(with_client, target)).key(name)}
    found = with_client.get_object(**at)
    content = bytearray(found["Body"].read())
    content[len(content) // 2] ^= 1
    with_client.put_object(**at, Body=bytes(content), Metadata=found["Metadata"])
    with_client.close()


def _harness(name: str, endpoint_url: Callable[[], str]) -> BlobsHarness:
    return BlobsHarness(
        name=name,
        make=lambda directory: S3Blobs(
            target(endpoint_url(), directory), clock=SystemClock(), timeout_s=TIMEOUT_S, threads=8
        ),
        spoil=lambda directory, blob: spoil(target(endpoint_url(), directory), blob),
        place=credentials,
    )


SEAWEEDFS_BLOBS = _harness("s3-seaweedfs", lambda: shared(Seaweedfs).endpoint_url)
MINISTACK_BLOBS = _harness("s3-ministack", lambda: shared(Ministack).endpoint_url)
