"""Directories of keys: which files are keys, what is said of others, and how a change comes through."""

from __future__ import annotations

import base64
import logging
import os
from pathlib import Path

import pytest

from sidecar.stores.sealed.files import LOOK_S, FileKeys, KeyFilesInvalid
from sidecar.stores.sealed.source import KeyMissing, KeyRefused, Owner
from tests.security.keyrings import replace, write_key
from tests.support.clock import ManualClock

OWNER = Owner("shop", "session")
KEY = bytes(range(200, 232))


async def opens(keys: FileKeys, one: tuple[str, bytes, bytes]) -> bool:
    name, wrapped, secret = one
    return await keys.unwrap(name, wrapped, OWNER) == secret


@pytest.mark.parametrize(
    "content",
    [
        KEY,
        KEY.hex().encode(),
        KEY.hex().upper().encode() + b"\n",
        base64.b64encode(KEY),
        b" " + base64.b64encode(KEY) + b"\r\n",
    ],
)
async def test_a_key_is_bytes_or_hexadecimal_or_base64(tmp_path: Path, content: bytes) -> None:
    write_key(tmp_path, "main", content)
    one = await FileKeys(tmp_path, ManualClock()).new(OWNER)
    assert one[0] == "main"
    assert KEY not in one[1]
    write_key(tmp_path, "main", KEY)
    assert await opens(FileKeys(tmp_path, ManualClock()), one)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        KEY[:-1],
        KEY + b"\n",
        KEY.hex().encode()[:-1],
        b"g" * 64,
        KEY[:16].hex().encode(),
        b"correct horse battery staple 123",
        base64.b64encode(KEY[:24]),
        base64.b64encode(KEY)[:-2],
        b"\xff" * 64,
        b"A" * 100_000,
    ],
)
def test_anything_else_is_refused_by_the_name_of_its_file(tmp_path: Path, content: bytes) -> None:
    write_key(tmp_path, "main", content)
    with pytest.raises(KeyFilesInvalid, match=r"main\.key: it ") as refused:
        FileKeys(tmp_path, ManualClock())
    assert len(content) < 9 or content.decode("latin-1")[:9] not in str(refused.value)


def test_a_directory_says_which_key_seals(tmp_path: Path) -> None:
    with pytest.raises(KeyFilesInvalid, match="No such file"):
        FileKeys(tmp_path / "absent", ManualClock())
    with pytest.raises(KeyFilesInvalid, match="there are 0 files"):
        FileKeys(tmp_path, ManualClock())
    write_key(tmp_path, "one")
    assert FileKeys(tmp_path, ManualClock()).active == "one"
    write_key(tmp_path, "two")
    with pytest.raises(KeyFilesInvalid, match="active: with more than one key"):
        FileKeys(tmp_path, ManualClock())
    replace(tmp_path / "active", b"two\n")
    assert FileKeys(tmp_path, ManualClock()).active == "two"
    replace(tmp_path / "active", b"three")
    with pytest.raises(KeyFilesInvalid, match="no file"):
        FileKeys(tmp_path, ManualClock())
    write_key(tmp_path, "bad name", active=True)
    with pytest.raises(KeyFilesInvalid, match="letters, digits"):
        FileKeys(tmp_path, ManualClock())


async def test_a_wrapped_key_is_of_its_app_and_namespace_and_key(tmp_path: Path) -> None:
    write_key(tmp_path, "one", KEY, active=True)
    write_key(tmp_path, "two", KEY)
    keys = FileKeys(tmp_path, ManualClock())
    name, wrapped, secret = await keys.new(OWNER)
    assert await keys.unwrap(name, wrapped, OWNER) == secret
    for other in (Owner("shop", "process"), Owner("", "session"), Owner("shopsession", ""), Owner("sho", "psession")):
        with pytest.raises(KeyRefused):
            await keys.unwrap(name, wrapped, other)
    with pytest.raises(KeyRefused):
        await keys.unwrap("two", wrapped, OWNER)
    for changed in (b"", wrapped[:5], wrapped[:-1], wrapped + b"\0", bytes(60)):
        with pytest.raises(KeyRefused):
            await keys.unwrap(name, changed, OWNER)
    with pytest.raises(KeyMissing, match="three"):
        await keys.unwrap("three", wrapped, OWNER)


async def test_a_change_comes_through_within_a_second_and_a_new_key_at_once(tmp_path: Path) -> None:
    clock = ManualClock()
    write_key(tmp_path, "one", active=True)
    keys, others = FileKeys(tmp_path, clock), FileKeys(tmp_path, clock)
    old = await keys.new(OWNER)
    write_key(tmp_path, "two", active=True)
    assert keys.active == "one"
    clock.advance(int(LOOK_S * 1000))
    assert keys.active == "two"
    # The other process has not looked yet; a value that it can't open makes it.
    write_key(tmp_path, "three", active=True)
    clock.advance(int(LOOK_S * 1000))
    new = await keys.new(OWNER)
    assert new[0] == "three"
    assert await opens(others, new)
    assert await opens(others, old)
    (tmp_path / "one.key").unlink()
    clock.advance(int(LOOK_S * 1000))
    assert others.active == "three"
    with pytest.raises(KeyMissing):
        await opens(others, old)


async def test_a_mounted_secret_is_swapped_by_one_link(tmp_path: Path) -> None:
    clock = ManualClock()
    for version, names in (("v1", ["one"]), ("v2", ["one", "two"])):
        (tmp_path / version).mkdir()
        for name in names:
            write_key(tmp_path / version, name, KEY if name == "one" else None, active=True)
    (tmp_path / "..data").symlink_to("v1")
    for name in ("one.key", "active"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    keys = FileKeys(tmp_path, clock)
    old = await keys.new(OWNER)
    (tmp_path / "two.key").symlink_to("..data/two.key")  # dangling, as it can be for a moment
    clock.advance(int(LOOK_S * 1000))
    assert keys.active == "one"
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    clock.advance(int(LOOK_S * 1000))
    assert keys.active == "two"
    assert await opens(keys, old)


async def test_a_file_that_is_half_written_leaves_what_was_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    write_key(tmp_path, "one", active=True)
    keys = FileKeys(tmp_path, clock)
    old = await keys.new(OWNER)
    secret = os.urandom(32)
    (tmp_path / "two.key").write_bytes(secret[:7])
    (tmp_path / "active").unlink()
    (tmp_path / "active").write_bytes(b"two")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            clock.advance(int(LOOK_S * 1000))
            assert keys.active == "one"
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1
    assert "two.key" in said[0]
    assert await opens(keys, old)
    (tmp_path / "two.key").write_bytes(secret)
    clock.advance(int(LOOK_S * 1000))
    assert keys.active == "two"
    assert await opens(keys, old)


def test_a_key_that_others_can_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_key(tmp_path, "one")
    for mode, said in ((0o400, False), (0o640, False), (0o644, True), (0o660, True)):
        caplog.clear()
        (tmp_path / "one.key").chmod(mode)
        FileKeys(tmp_path, ManualClock())
        assert (f"one.key has mode {mode:04o}" in caplog.text) == said
