"""Hostile names through every adapter's: no two pairs of namespace and key meet, and what can be read back comes back.

`STATE_SIDECAR_HOSTILE_KEYS` says how many pairs; the suite takes 100,000.
"""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from random import Random

import pytest

from sidecar.core.ledger import index_of, request_key
from sidecar.stores.apps import prefix_of
from sidecar.stores.dynamodb.items import Names as DynamoNames
from sidecar.stores.dynamodb.items import at
from sidecar.stores.files import FileBlobs
from sidecar.stores.memcached.items import Keys
from sidecar.stores.redis.codec import Names
from sidecar.stores.redis.store_rows import field_of, names_of
from sidecar.stores.s3.keys import key_of, name_of
from tests.security.hostile import pairs

COUNT = int(os.environ.get("STATE_SIDECAR_HOSTILE_KEYS", "100000"))
pytestmark = pytest.mark.timeout(60 + COUNT // 2000)


@pytest.fixture(scope="module")
def hostile() -> list[tuple[str, str]]:
    return list(pairs(COUNT))


def digests(names: Iterator[bytes]) -> int:
    """How many different names there are."""
    return len({blake2b(name, digest_size=16).digest() for name in names})


def test_they_are_what_requests_may_name(hostile: list[tuple[str, str]]) -> None:
    assert len(hostile) == len(set(hostile)) == COUNT
    joined = {namespace + key for namespace, key in hostile}
    assert len(joined) < COUNT / 3, "most of them are equal once they are joined"


REDIS = Names(prefix_of("a") + "0123456789ab/")
MEMCACHED = Keys(prefix_of("a"))
DYNAMO = DynamoNames("@a")


def dynamo(namespace: str, key: str) -> bytes:
    partition, place = at(DYNAMO.entry(namespace, key))
    return len(partition.encode()).to_bytes(2, "big") + partition.encode() + place


CODECS: dict[str, Callable[[str, str], bytes]] = {
    "redis cache": lambda namespace, key: REDIS.space(namespace) + key.encode(),
    "redis store": field_of,
    "memcached": MEMCACHED.of,
    "dynamodb": dynamo,
}


@pytest.mark.parametrize("adapter", CODECS)
def test_no_two_meet(adapter: str, hostile: list[tuple[str, str]]) -> None:
    codec = CODECS[adapter]
    assert digests(codec(namespace, key) for namespace, key in hostile) == COUNT


def test_names_in_redis_are_read_back(hostile: list[tuple[str, str]]) -> None:
    begin = REDIS.space("n").removesuffix(b"1:n:")
    for namespace, key in hostile:
        assert names_of(field_of(namespace, key)) == (namespace, key)
        rest = (REDIS.space(namespace) + key.encode()).removeprefix(begin)
        size, _, rest = rest.partition(b":")
        assert (rest[: int(size)], rest[int(size) + 1 :]) == (namespace.encode(), key.encode())


def test_names_in_dynamodb_are_read_back_and_are_none_of_its_own(hostile: list[tuple[str, str]]) -> None:
    own = {at(item) for item in (DYNAMO.meta(), DYNAMO.change(1), DYNAMO.payload("1"), DYNAMO.part("1", 1))}
    for namespace, key in hostile:
        item = DYNAMO.entry(namespace, key)
        assert (DYNAMO.namespace_of(item), item["k"]["B"].decode()) == (namespace, key)
        assert at(item) not in own
        assert at(DYNAMO.request(namespace, key)) != at(item)


def test_items_of_memcached_are_words_of_its_protocol(hostile: list[tuple[str, str]]) -> None:
    words = set((string.ascii_letters + string.digits + "+/").encode())
    others = {MEMCACHED.marker, *(MEMCACHED.turn(generation) for generation in range(1000))}
    for namespace, key in hostile:
        item = MEMCACHED.of(namespace, key)
        assert len(item) == 24
        assert words.issuperset(item)
        assert item not in others


def test_names_of_rows_that_the_daemon_keeps_for_keys(hostile: list[tuple[str, str]]) -> None:
    indexes = digests(index_of(namespace, key, None).encode() for namespace, key in hostile)
    requests = digests(request_key(namespace, key).encode() for namespace, key in hostile)
    assert indexes == requests == COUNT


def blob_names(count: int) -> set[str]:
    """Names of blobs, short and long, whose parts end and begin with what marks folders."""
    random = Random(2)
    parts = ("a", "b", ".", "-", "_", "..a", "a.", "-a", "A", "x" * 199, "x" * 200, "x" * 201, "0")
    names: set[str] = set()
    while len(names) < count:
        joined = "".join(random.choice((*parts, "/")) for _ in range(random.randint(1, 7)))
        pieces = [piece for piece in joined.split("/") if piece not in ("", ".", "..")]
        # What follows 200 characters of a part may well be dots.
        pieces[-1:] = [pieces[-1] + random.choice(("", "", ".", ".."))] if pieces else []
        name = "/".join(pieces)
        if 0 < len(name) <= 512:
            names.add(name)
    return names


async def test_the_rest_of_a_long_name_is_no_step_in_the_file_system(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    names = sorted("x" * 200 + rest for rest in ("", ".", "..", "-", ".-", "../a", "a", "..."))
    for name in names:
        assert await blobs.put(name, name.encode())
    assert [name async for name in blobs.names()] == names
    assert [await blobs.get(name) for name in names] == [name.encode() for name in names]


def test_blobs_have_keys_and_files_of_their_own() -> None:
    names = blob_names(COUNT // 4)
    files = FileBlobs(Path("/root"))
    keys, paths = ({key_of(name) for name in names}, {str(files._path(name)) for name in names})
    assert len(keys) == len(paths) == len(names)
    assert all(name_of(key_of(name)) == name for name in names)
    # No name's file is another's folder, and none is an app's: those begin with an @.
    assert not {str(Path(path).parent) for path in paths} & paths
    assert not any("@" in key for key in keys)
    assert name_of("@shop/" + key_of("a/b")) is None
