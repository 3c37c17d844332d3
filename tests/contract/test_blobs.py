"""Blobs are written once, come back exactly or not at all, and are found by name."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.core.errors import DataLoss
from tests.contract.harnesses import BlobsUnderTest

CONTENTS = {
    "empty": b"",
    "zeros": b"\0" * 100,
    "every byte": bytes(range(256)),
    "line ends": b"\r\n\n",
    "5 MiB": bytes(range(256)) * (20 << 10),
}
BAD_NAMES = ["", ".", "..", "../x", "a/../b", "a/./b", "a/..", "/a", "a//b", "a/", "a b", "é", "a\0b", "a\n", "a\\b"]
BAD_NAMES += ["x" * 513, "~", "a:b", "a*"]


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
async def test_content_comes_back_exactly(blobs: BlobsUnderTest, content: bytes) -> None:
    assert await blobs.blobs.put("name", content)

    assert await blobs.blobs.get("name") == content


async def test_a_missing_object_is_none(blobs: BlobsUnderTest) -> None:
    assert await blobs.blobs.get("name") is None
    assert await blobs.blobs.get("no/such/name") is None


async def test_an_object_is_written_once(blobs: BlobsUnderTest) -> None:
    assert await blobs.blobs.put("name", b"first")

    assert not await blobs.blobs.put("name", b"second")
    assert not await blobs.blobs.put("name", b"first")

    assert await blobs.blobs.get("name") == b"first"


async def test_of_concurrent_writers_of_a_name_exactly_one_wins(blobs: BlobsUnderTest) -> None:
    answers = await asyncio.gather(*[blobs.blobs.put("name", b"%d" % n) for n in range(16)])

    assert sum(answers) == 1
    assert await blobs.blobs.get("name") == b"%d" % answers.index(True)


async def test_concurrent_writers_of_different_names_all_win(blobs: BlobsUnderTest) -> None:
    assert all(await asyncio.gather(*[blobs.blobs.put(f"a/{n}", b"%d" % n) for n in range(16)]))

    assert [await blobs.blobs.get(f"a/{n}") for n in range(16)] == [b"%d" % n for n in range(16)]


@pytest.mark.parametrize(
    "name", ["a", "A-Z_0.9", "a/b/c", "x" * 512, "/".join(["x" * 50] * 10), ".hidden", "a..b", "-"]
)
async def test_names_of_the_alphabet_are_good(blobs: BlobsUnderTest, name: str) -> None:
    assert await blobs.blobs.put(name, name.encode())

    assert await blobs.blobs.get(name) == name.encode()
    assert await blobs.names() == [name]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
async def test_other_names_are_refused_by_every_call(blobs: BlobsUnderTest, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        await blobs.blobs.put(name, b"")
    with pytest.raises(ValueError, match="name"):
        await blobs.blobs.get(name)
    with pytest.raises(ValueError, match="name"):
        await blobs.blobs.delete(name)

    assert await blobs.names() == []


async def test_a_deleted_object_is_gone_and_its_name_free(blobs: BlobsUnderTest) -> None:
    await blobs.blobs.put("a/b", b"first")

    assert await blobs.blobs.delete("a/b")
    assert await blobs.blobs.get("a/b") is None
    assert not await blobs.blobs.delete("a/b")
    assert await blobs.names() == []
    assert await blobs.blobs.put("a/b", b"second")
    assert await blobs.blobs.get("a/b") == b"second"


async def test_deleting_one_object_leaves_its_neighbours(blobs: BlobsUnderTest) -> None:
    for name in ("a/b", "a/c", "ab"):
        await blobs.blobs.put(name, name.encode())
    await blobs.blobs.delete("a/b")

    assert await blobs.names() == ["a/c", "ab"]


async def test_a_name_can_be_the_beginning_of_others(blobs: BlobsUnderTest) -> None:
    names = ["a", "a/b", "a/b/c"]
    for name in names:
        assert await blobs.blobs.put(name, name.encode())

    assert [await blobs.blobs.get(name) for name in names] == [b"a", b"a/b", b"a/b/c"]
    assert await blobs.blobs.delete("a/b")
    assert await blobs.names() == ["a", "a/b/c"]


async def test_names_come_in_order(blobs: BlobsUnderTest) -> None:
    names = ["b", "a/c", "a-b", "a.b", "a/b/c", "a0", "B", "a/b-c", "a/b.c", "Z/z"]
    for name in names:
        await blobs.blobs.put(name, b"")

    assert await blobs.names() == sorted(names)


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("", ["a/b", "a/bc", "ab", "b/a"]),
        ("a", ["a/b", "a/bc", "ab"]),
        ("a/", ["a/b", "a/bc"]),
        ("a/b", ["a/b", "a/bc"]),
        ("a/bc", ["a/bc"]),
        ("c", []),
        ("a/b/", []),
    ],
)
async def test_a_prefix_selects_names(blobs: BlobsUnderTest, prefix: str, found: list[str]) -> None:
    for name in ("b/a", "ab", "a/bc", "a/b"):
        await blobs.blobs.put(name, b"")

    assert await blobs.names(prefix) == found


async def test_objects_are_kept_over_reopening(blobs: BlobsUnderTest) -> None:
    for name, content in CONTENTS.items():
        await blobs.blobs.put(name.replace(" ", "/"), content)

    await blobs.reopen()

    assert [await blobs.blobs.get(name.replace(" ", "/")) for name in CONTENTS] == list(CONTENTS.values())
    assert not await blobs.blobs.put("empty", b"x")


async def test_spoilt_bytes_are_data_loss_and_never_content(blobs: BlobsUnderTest) -> None:
    await blobs.blobs.put("a/spoilt", bytes(range(256)))
    await blobs.blobs.put("a/whole", b"whole")
    blobs.harness.spoil(blobs.directory, "a/spoilt")

    with pytest.raises(DataLoss):
        await blobs.blobs.get("a/spoilt")

    assert await blobs.blobs.get("a/whole") == b"whole"


async def test_closing_twice_is_harmless(blobs: BlobsUnderTest) -> None:
    await blobs.blobs.close()
    await blobs.blobs.close()
