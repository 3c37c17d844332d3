"""`export` into buckets: of a real server, and of another that speaks the same protocol."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from servers.base import shared
from servers.ministack import CREDENTIALS, Ministack
from servers.seaweedfs import BUCKET, READER, Seaweedfs
from tests.cli.conftest import Ran, runner
from tests.cli.export_support import Lake, fill, lake, read_parquet
from tests.support.proxy import Drop, running_proxy

NS = "carts/of all"


@pytest.fixture(scope="module")
def filled() -> Iterator[Lake]:
    with lake() as running:
        fill(running, NS, 1_000, days=3, large=4)
        yield running


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def folder(tmp_path: Path) -> str:
    """A test's own place in a server that all share."""
    return f"{BUCKET}/exports/{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16]}"


def files(endpoint_url: str) -> Any:
    """As a reader has them."""
    address = endpoint_url.removeprefix("http://")
    return fs.S3FileSystem(scheme="http", endpoint_override=address, region="us-east-1")


def url(endpoint_url: str, tmp_path: Path) -> str:
    return f"s3://{folder(tmp_path)}?endpoint_url={endpoint_url}&region=us-east-1"


@pytest.mark.parametrize(
    "endpoint", [lambda: shared(Seaweedfs).endpoint_url, lambda: shared(Ministack).endpoint_url], ids=["weed", "mini"]
)
def test_what_is_read_back_from_a_bucket_is_the_state(
    filled: Lake, tmp_path: Path, endpoint: Callable[[], str]
) -> None:
    """Twice: the second takes the place of the first."""
    to = f"{url(endpoint(), tmp_path)}&create=true"
    run = runner(filled.target)
    filled.client.set(NS, "gone", b"")
    assert run("export", NS, "--to", to).code == 0
    filled.client.delete(NS, "gone")

    ran = run("export", NS, "--to", to, "--part-rows", "200")

    assert (ran.code, ran.err) == (0, "")
    assert ran.text.endswith(f" · s3://{folder(tmp_path)}/namespace=carts%2Fof%20all\n")
    assert read_parquet(folder(tmp_path), files(endpoint())) == filled.rows(NS)


async def exported_through(drop: Drop, filled: Lake, tmp_path: Path) -> Ran:
    """What became of an export whose connection to the bucket loses answers; the server has done what was asked."""
    address = shared(Seaweedfs).endpoint_url.removeprefix("http://")
    async with running_proxy(address, drop=drop) as proxy:
        command = ("export", NS, "--buffer-bytes", "300KiB", "--timeout", "30s")
        to = url(f"http://{proxy.target}", tmp_path)
        return await asyncio.to_thread(runner(filled.target), *command, "--to", to, "--json")


async def test_an_export_whose_bucket_went_away_goes_on(filled: Lake, tmp_path: Path) -> None:
    answers = count()
    ended = await exported_through(lambda _: next(answers) > 20, filled, tmp_path)

    ran = await exported_through(lambda _: False, filled, tmp_path)

    error = json.loads(ended.err)["error"]
    assert (ended.code, ended.out, error["exit_code"]) == (5, b"", 5)
    assert f"at s3://{folder(tmp_path)}: " in error["message"]
    assert "Run the same command again" in error["advice"]
    assert (ran.code, ran.json["resumed"]) == (0, True)
    assert read_parquet(folder(tmp_path), files(shared(Seaweedfs).endpoint_url)) == filled.rows(NS)


async def test_an_answer_that_is_lost_now_and_then_is_asked_for_again(filled: Lake, tmp_path: Path) -> None:
    answers = count(1)
    ran = await exported_through(lambda _: next(answers) % 9 == 0, filled, tmp_path)

    assert (ran.code, ran.err) == (0, "")
    assert next(answers) > 18
    assert read_parquet(folder(tmp_path), files(shared(Seaweedfs).endpoint_url)) == filled.rows(NS)


def test_a_bucket_that_is_not_there_is_told(filled: Lake) -> None:
    ran = runner(filled.target)("export", NS, "--to", f"s3://nowhere/x?endpoint_url={shared(Seaweedfs).endpoint_url}")

    assert (ran.code, ran.out) == (4, b"")
    assert "cannot write _state/carts%2Fof%20all.json at s3://nowhere/x: " in ran.err


@pytest.mark.parametrize("credentials", [READER, ("test", "wrong")])
def test_who_may_not_write_is_told(
    filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials: tuple[str, str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials[1])

    ran = runner(filled.target)("export", NS, "--to", url(shared(Seaweedfs).endpoint_url, tmp_path))

    assert (ran.code, ran.out) == (4, b"")
    assert f"at s3://{folder(tmp_path)}: " in ran.err
    assert credentials[1] not in ran.err


def test_no_server_is_unavailable(filled: Lake, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ran = runner(filled.target)(
            "export", NS, "--to", url(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path), "--json"
        )

    assert (ran.code, ran.out) == (5, b"")
    assert '"exit_code": 5' in ran.err
