"""Statements, commands and patterns in every text that a caller chooses: they are data, in every backend, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from servers.base import shared
from servers.redis import Valkey
from sidecar.core.entry import Entry
from sidecar.core.operations import Append, Change, Put, Remove
from sidecar.core.store import Store
from sidecar.runtime import adapters
from sidecar.runtime.ports import SystemPorts
from sidecar.runtime.settings import Settings
from statesidecar.v1.state_service_pb2 import ListRequest, SetRequest, WatchRequest
from tests.security.places import database, table
from tests.support.daemon import running_daemon
from tests.support.factories import request, write

CORPUS = (
    "'; DROP TABLE entries; --",
    "'; DROP SCHEMA state_sidecar CASCADE; --",
    "' OR '1'='1",
    "x') ON CONFLICT DO NOTHING; DELETE FROM entries WHERE ('1'='1",
    "\\'; SELECT pg_sleep(10); --",
    "$$; TRUNCATE state_sidecar.entries; $$",
    "$1::text",
    "%s %(key)s {schema} ? :key @key",
    "\\x00",
    "%",
    "_",
    "%%",
    "a%",
    "*",
    "?",
    "[a-z]",
    "[^a]*",
    "^.*$",
    "\r\nFLUSHALL\r\n",
    "x\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "x 0 0 1\r\n1\r\nflush_all\r\nset y",
    "]] redis.call('FLUSHALL') --[[",
    "'..redis.call('FLUSHALL')..'",
    "__proto__",
    '"},"S":{"x":"',
    "attribute_exists(p)",
    "#p = :p",
    "../../etc/passwd",
    "$(touch injected)",
    "`touch injected`",
    "; touch injected",
    "\x00",
    "a\x00b",
    "\x1f",
    "\xff",
)
BYSTANDER = "bystander"
pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def opened(directory: Path, kind: str) -> AsyncIterator[Store]:
    """A store of each kind, where a daemon has it."""
    settings = {"app": directory.name, "data_dir": directory}

    @asynccontextmanager
    async def built(tier: str, url: str) -> AsyncIterator[Store]:
        tiers = {"hot": "none://", "warm": "none://", "cold": "none://", tier: url}
        backends = adapters.backends(Settings.model_validate(settings | {"tiers": tiers}), SystemPorts())
        store = backends.hot_store if tier == "hot" else backends.warm
        assert store is not None
        await store.open()
        try:
            yield store
        finally:
            await backends.close()

    if kind == "redis":
        async with built("hot", shared(Valkey).url) as store:
            yield store
    elif kind == "sqlite":
        async with built("warm", f"sqlite://{directory / 'state.db'}") as store:
            yield store
    else:
        with database() if kind == "postgresql" else table() as url:
            async with built("warm", url) as store:
                yield store


@pytest.mark.parametrize("kind", ["postgresql", "sqlite", "redis", "dynamodb"])
async def test_a_store_takes_all_of_it_as_names(tmp_path: Path, kind: str) -> None:
    async with opened(tmp_path, kind) as store:
        await store.commit(write(Put(key=BYSTANDER, value=b"untouched")))
        for text in CORPUS:
            namespace = "".join(letter for letter in text if letter.isprintable()) or "n"
            labels = {text: text}
            first = Put(key=text, value=text.encode(), content_type=text, labels=labels)
            await store.commit(write(first, namespace=namespace, request=request(text, body=text)))
            assert (await store.commit(write(first, namespace=namespace, request=request(text, body=text)))).replayed
            (copy,) = await store.get(namespace, [text])
            assert isinstance(copy, Entry)
            assert (copy.key, copy.value, copy.content_type, dict(copy.labels)) == (text, text.encode(), text, labels)
            await store.commit(
                write(
                    Put(key=text + "+", value=b""),
                    Change(key="list", change=Append(items=(text,)), create=True),
                    namespace=namespace,
                )
            )
            for after in (None, text):
                page = await store.scan(namespace, text, after=after, limit=9, bytes_max=1 << 20, keys_only=True)
                assert [entry.key for entry in page.entries] == [text, text + "+"][after is not None :]
            # What would be a pattern for others names nothing but itself.
            await store.commit(write(Put(key="other", value=b""), namespace=namespace))
            await store.delete_prefix(namespace, text, limit=100, request=None, progress=None)
            page = await store.scan(namespace, "", after=None, limit=9, bytes_max=1 << 20, keys_only=True)
            assert [entry.key for entry in page.entries] == ["list", "other"]
            await store.commit(write(Remove(key="list"), Remove(key="other"), namespace=namespace))
        (copy,) = await store.get("contract", [BYSTANDER])
        assert isinstance(copy, Entry)
        assert copy.value == b"untouched"
        assert not left_behind()


def left_behind() -> bool:
    """Whether a shell was at work."""
    return Path("injected").exists()


async def test_no_token_is_more_than_a_place_in_its_list(tmp_path: Path) -> None:
    """Tokens are the daemon's own, and a caller may send anything for one: it is refused, or leads nowhere else."""
    async with running_daemon(data_dir=tmp_path) as daemon:
        for namespace in ("mine", "theirs"):
            for key in ("a", "b", "c"):
                await daemon.state.Set(SetRequest(namespace=namespace, key=key, value=namespace.encode()))
        refused: set[grpc.StatusCode] = set()
        theirs = await daemon.state.List(ListRequest(namespace="theirs", page_size=1))
        for token in (*CORPUS, theirs.next_page_token, theirs.next_page_token[:-1], "A" * 10_000):
            try:
                page = await daemon.state.List(ListRequest(namespace="mine", page_token=token))
            except grpc.aio.AioRpcError as error:
                refused.add(error.code())
            else:
                assert {entry.namespace for entry in page.entries} <= {"mine"}
                assert {entry.value for entry in page.entries} <= {b"mine"}
            watch = daemon.state.Watch(WatchRequest(namespace="mine", key_prefix="", resume_token=token))
            try:
                async for answer in watch:
                    assert answer.event.entry.namespace in ("", "mine")
                    break
            except grpc.aio.AioRpcError as error:
                refused.add(error.code())
            finally:
                watch.cancel()
        assert refused <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE}
