"""What opens, and that nothing else does: not from another place, not with any bit changed, not cut, not made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.errors import DataLoss, FailedPrecondition
from sidecar.core.sealing import MAGIC, blob_place, content_place, told_place, value_place
from sidecar.stores.sealed.envelope import DataKey, NotSealedHere, header_length, parsed, plain_size
from sidecar.stores.sealed.keyring import Keyring
from tests.security.keyrings import APP, AT, Events, keyring, write_key
from tests.support.clock import ManualClock

PLACES = [
    AT,
    value_place("session", "user/2", 2),
    value_place("session", "user/1", 3),
    value_place("sessio", "nuser/1", 2),
    value_place("session", "user/", 2),
    blob_place("session", "user/1", 2),
    told_place("session", "user/1"),
    content_place("user/1"),
    b"",
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_key(tmp_path, "first")
    return tmp_path


@pytest.fixture
def keys(directory: Path) -> Keyring:
    return keyring(directory, ManualClock())


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
async def test_what_was_sealed_opens_there(keys: Keyring, directory: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    sealed = await keys.seal("session", data, AT)
    assert sealed.startswith(MAGIC)
    assert plain_size(sealed) == len(data)
    assert not size or data not in sealed
    assert await keys.open(sealed, AT, namespace="session") == data
    # A process that has only the key file opens it too: there is no table of data keys.
    assert await keyring(directory, ManualClock()).open(sealed, AT, namespace="session") == data


async def test_places_are_all_different_and_open_only_their_own(keys: Keyring) -> None:
    sealed = [await keys.seal("session", b"value", at) for at in PLACES]
    for i, one in enumerate(sealed):
        for j, at in enumerate(PLACES):
            if i == j:
                assert await keys.open(one, at, namespace="session") == b"value"
            else:
                with pytest.raises(DataLoss):
                    await keys.open(one, at, namespace="session")


async def test_neither_another_namespace_nor_another_app_opens_it(directory: Path) -> None:
    # The same place in all three: the keyring itself has to tell them apart, with a warm cache of keys and a cold one.
    clock, events = ManualClock(), Events()
    for app, namespace in [(APP, "process"), ("shop2", "session"), ("", "session"), ("shopsession", "")]:
        mine, theirs = keyring(directory, clock), keyring(directory, clock, app=app, audit=events)
        sealed = await mine.seal("session", b"value", AT)
        await theirs.seal(namespace, b"other", AT)
        with pytest.raises(DataLoss) as refused:
            await theirs.open(sealed, AT, namespace=namespace, key="user/1")
        assert refused.value.reason == "ENTRY_CORRUPT"
        with pytest.raises(DataLoss):
            await mine.open(sealed, AT, namespace="process")
    assert {(event.kind, event.outcome, event.reason) for event in events} == {
        ("tampering", "data_loss", "ENTRY_CORRUPT")
    }
    assert len(events) == 4
    assert all(event.key_hash and "user/1" not in str(event) for event in events)


def test_a_data_key_itself_tells_apps_and_namespaces_apart() -> None:
    # Not only what wraps it: a fault there, or a key that two share, gives nothing of one to the other.
    owners = [("shop", "session"), ("shop", "process"), ("", "session"), ("shopsession", ""), ("sho", "psession")]
    keys = [DataKey("name", b"wrapped", bytes(32), app=app, namespace=namespace) for app, namespace in owners]
    assert len({key.header for key in keys}) == 1
    for one in keys:
        sealed = one.seal(b"value", AT, bytes(12))
        assert one.open(sealed, AT) == b"value"
        for other in keys:
            if other is not one:
                with pytest.raises(InvalidTag):
                    other.open(sealed, AT)


async def test_no_bit_can_be_changed_and_no_byte_cut_or_added(keys: Keyring) -> None:
    sealed = await keys.seal("session", b"approved", AT)
    changed = [
        sealed[:at] + bytes([sealed[at] ^ 1 << bit]) + sealed[at + 1 :] for at in range(len(sealed)) for bit in range(8)
    ]
    changed += [sealed[:length] for length in range(len(sealed))]
    changed += [sealed + b"\0", sealed + sealed, sealed[:-1] + sealed[-1:] * 2]
    for one in changed:
        with pytest.raises((DataLoss, FailedPrecondition)):
            await keys.open(one, AT, namespace="session")


async def test_the_data_key_of_another_value_is_not_taken(directory: Path) -> None:
    clock = ManualClock()
    one = await keyring(directory, clock).seal("session", b"one", AT)
    other = await keyring(directory, clock).seal("session", b"other", AT)
    end = header_length(one)
    assert end == header_length(other)
    mixed = [other[:end] + one[end:], one[: end - 16] + other[end - 16 : end] + one[end:]]
    for one_mixed in mixed:
        with pytest.raises(DataLoss):
            await keyring(directory, clock).open(one_mixed, AT, namespace="session")


async def test_a_header_commits_to_its_key(directory: Path) -> None:
    # Another data key that is wrapped properly, under the commitment of the first: only the commitment tells.
    clock = ManualClock()
    keys = keyring(directory, clock)
    one = await keys.seal("session", b"one", AT)
    other = await keyring(directory, clock).seal("session", b"other", AT)
    end = header_length(one)
    swapped = other[: end - 16] + one[end - 16 : end] + other[end:]
    events = Events()
    with pytest.raises(DataLoss, match="not the one that it was sealed with"):
        await keyring(directory, clock, audit=events).open(swapped, AT, namespace="session")
    assert len(events) == 1


async def test_what_has_no_seal_opens_only_where_that_is_allowed(keys: Keyring, directory: Path) -> None:
    with pytest.raises(DataLoss, match="in the clear"):
        await keys.open(b'{"n": 1}', AT, namespace="session")
    moving = keyring(directory, ManualClock(), accept_plaintext=True)
    for data in (b'{"n": 1}', b"", MAGIC[:3]):
        assert await moving.open(data, AT, namespace="session") == data
        assert not moving.is_current(data)
        assert plain_size(data) == len(data)
    # What begins as an envelope has to be one, also there.
    with pytest.raises(DataLoss):
        await moving.open(MAGIC + b"text", AT, namespace="session")
    # Sealed, such a value is like any other.
    sealed = await keys.seal("session", MAGIC + b"text", AT)
    assert await keys.open(sealed, AT, namespace="session") == MAGIC + b"text"


@given(data=st.binary(max_size=400), name=st.sampled_from([b"", b"first", b"arn:aws:kms:x:1:key/2", b"\xff" * 9]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_made_up_bytes_are_refused_in_the_declared_ways(keys: Keyring, data: bytes, name: bytes) -> None:
    for forged in (MAGIC + data, MAGIC + bytes([len(name)]) + name + data):
        with pytest.raises((DataLoss, FailedPrecondition)) as refused:
            await keys.open(forged, AT, namespace="session")
        assert refused.value.reason in ("ENTRY_CORRUPT", "ENCRYPTION_KEY_MISSING")
        assert keys.is_current(forged) in (True, False)
        assert 0 <= plain_size(forged) <= len(forged)


def test_lengths_in_a_header_are_believed_only_as_far_as_the_bytes_go() -> None:
    long = MAGIC + b"\x01n" + b"\xff\xff" + bytes(65_535 + 16 + 28)
    assert header_length(long) == len(long) - 28
    with pytest.raises(NotSealedHere, match="of no key"):
        parsed(long[:-28])
    for cut in (MAGIC, MAGIC + b"\xff", MAGIC + b"\x01n\xff", long[:-1]):
        with pytest.raises(NotSealedHere, match="cut short"):
            header_length(cut)


@pytest.mark.parametrize(
    ("name", "wrapped"), [("", b"w"), ("n" * 256, b"w"), ("a b", b"w"), ("ä", b"w"), ("n", b"w" * 513)]
)
def test_a_key_that_no_header_can_hold_is_not_used(name: str, wrapped: bytes) -> None:
    with pytest.raises(ValueError, match="can't name a key"):
        DataKey(name, wrapped, bytes(32), app="", namespace="")
