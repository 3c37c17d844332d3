"""Data keys: one for a namespace and period, replaced in time, asked for once, kept while their service is away."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from sidecar.core.errors import DataLoss, FailedPrecondition, KeyAway, StoreUnavailable
from sidecar.stores.sealed import keyring as module
from sidecar.stores.sealed.envelope import header_length
from sidecar.stores.sealed.files import LOOK_S, FileKeys
from sidecar.stores.sealed.source import Owner
from tests.security.keyrings import AT, PERIOD_S, keyring, replace, write_key
from tests.support.clock import ManualClock


class Service(FileKeys):
    """Key files, behind a line that can be cut or slow."""

    def __init__(self, directory: Path, clock: ManualClock) -> None:
        super().__init__(directory, clock)
        self.away = False
        self.made: list[str] = []
        self.unwrapped = 0
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def new(self, owner: Owner) -> tuple[str, bytes, bytes]:
        self.made.append(owner.namespace)
        await self.answers.wait()
        if self.away:
            raise StoreUnavailable("away")
        return await super().new(owner)

    async def unwrap(self, name: str, wrapped: bytes, owner: Owner) -> bytes:
        self.unwrapped += 1
        self.asked.set()
        await self.answers.wait()
        if self.away:
            raise StoreUnavailable("away")
        return await super().unwrap(name, wrapped, owner)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_key(tmp_path, "first", active=True)
    return tmp_path


@pytest.fixture
def service(directory: Path, clock: ManualClock) -> Service:
    return Service(directory, clock)


def header(sealed: bytes) -> bytes:
    return sealed[: header_length(sealed)]


async def test_a_namespace_has_one_data_key_for_a_period(service: Service, clock: ManualClock) -> None:
    keys = keyring(service, clock)
    session = {header(await keys.seal("session", b"v", AT)) for _ in range(50)}
    process = {header(await keys.seal("process", b"v", AT)) for _ in range(50)}
    assert len(session) == len(process) == 1
    assert session != process
    clock.advance(int(PERIOD_S * 1000) - 1)
    assert {header(await keys.seal("session", b"v", AT))} == session
    clock.advance(1)
    assert {header(await keys.seal("session", b"v", AT))} != session
    assert service.made == ["session", "process", "session"]


async def test_a_data_key_is_replaced_before_its_nonces_can_meet(
    service: Service, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.SEALS_SOFT == 2**30
    assert module.SEALS_HARD == 2**32
    monkeypatch.setattr(module, "SEALS_SOFT", 3)
    monkeypatch.setattr(module, "SEALS_HARD", 5)
    keys = keyring(service, clock)
    headers = [header(await keys.seal("session", b"v", AT)) for _ in range(7)]
    assert [headers.count(one) for one in dict.fromkeys(headers)] == [3, 3, 1]
    service.away = True
    assert {header(await keys.seal("session", b"v", AT)) for _ in range(4)} == {headers[-1]}
    with pytest.raises(StoreUnavailable):
        await keys.seal("session", b"v", AT)


async def test_no_nonce_is_used_twice(service: Service, clock: ManualClock) -> None:
    keys = keyring(service, clock)
    nonces = set()
    for _ in range(20_000):
        sealed = await keys.seal("session", b"", AT)
        nonces.add(sealed[header_length(sealed) :][:12])
    assert len(nonces) == 20_000
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    counted = keyring(service, clock, random=random)
    for _ in range(3):
        await counted.seal("session", b"", AT)
        (await counted.codec("session")).seal(b"", AT)
    assert asked == [12] * 6


async def test_many_who_want_a_key_ask_for_it_once(service: Service, clock: ManualClock) -> None:
    keys = keyring(service, clock)
    sealed = await asyncio.gather(*(keys.seal("session", b"v", AT) for _ in range(100)))
    assert service.made == ["session"]
    cold = keyring(service, clock)
    service.answers.clear()
    wanted = [asyncio.create_task(cold.open(one, AT, namespace="session")) for one in sealed]
    await service.asked.wait()
    for one in wanted[::2]:
        one.cancel()  # also the one who asked
    service.answers.set()
    opened = await asyncio.gather(*wanted, return_exceptions=True)
    assert [one for one in opened if not isinstance(one, asyncio.CancelledError)] == [b"v"] * 50
    assert service.unwrapped == 1


async def test_sealing_goes_on_with_the_key_it_has_while_the_service_is_away(
    service: Service, clock: ManualClock
) -> None:
    keys = keyring(service, clock)
    sealed = await keys.seal("session", b"v", AT)
    service.away = True
    clock.advance(int(PERIOD_S * 1000))
    for _ in range(10):
        assert header(await keys.seal("session", b"v", AT)) == header(sealed)
    assert len(service.made) == 2, "it is not asked at every seal"
    assert await keys.open(sealed, AT, namespace="session") == b"v"
    with pytest.raises(StoreUnavailable):
        await keys.seal("process", b"v", AT)
    with pytest.raises(StoreUnavailable):
        await keyring(service, clock).open(sealed, AT, namespace="session")
    clock.advance(int(PERIOD_S * 1000 * (module.PERIODS_HARD - 1)))
    with pytest.raises(StoreUnavailable):
        await keys.seal("session", b"v", AT)
    service.away = False
    assert header(await keys.seal("session", b"v", AT)) != header(sealed)


async def test_a_codec_seals_with_the_latest_key_and_opens_what_is_at_hand(
    service: Service, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = keyring(service, clock)
    codec = await keys.codec("session")
    first = codec.seal(b"value", AT)
    clock.advance(int(PERIOD_S * 1000))
    newer = await keys.seal("session", b"value", AT)
    sealed = codec.seal(b"value", AT)
    assert header(first) != header(sealed) == header(newer)
    # Also where the keyring has let the key go for those of other namespaces.
    monkeypatch.setattr(module, "KEPT_MAX", 1)
    for namespace in ("a", "b", "c"):
        await keys.seal(namespace, b"v", AT)
    assert header(codec.seal(b"value", AT)) == header(sealed)
    await keys.fetch("session", sealed)
    assert codec.open(sealed, AT, namespace="session") == b"value"
    assert codec.plain_size(sealed) == 5
    cold = keyring(service, clock)
    codec = await cold.codec("session")
    with pytest.raises(KeyAway):
        codec.open(sealed, AT, namespace="session")
    await cold.fetch("session", sealed)
    assert codec.open(sealed, AT, namespace="session") == b"value"
    for forged in (sealed[:-1], b"clear"):
        with pytest.raises(DataLoss):
            codec.open(forged, AT, namespace="session")


async def test_a_key_that_is_not_here_is_said_by_name(service: Service, directory: Path, clock: ManualClock) -> None:
    sealed = await keyring(service, clock).seal("session", b"v", AT)
    write_key(directory, "second", active=True)
    (directory / "first.key").unlink()
    keys = keyring(directory, clock)
    for asked in (keys.open(sealed, AT, namespace="session"), keys.fetch("session", sealed)):
        with pytest.raises(FailedPrecondition, match="key first, which is not configured here") as missing:
            await asked
        assert missing.value.reason == "ENCRYPTION_KEY_MISSING"
        assert missing.value.metadata["encryption_key"] == "first"


async def test_another_key_of_the_same_name_opens_nothing(
    service: Service, directory: Path, clock: ManualClock
) -> None:
    sealed = await keyring(service, clock).seal("session", b"v", AT)
    write_key(directory, "first")
    with pytest.raises(DataLoss, match="key first"):
        await keyring(directory, clock).open(sealed, AT, namespace="session")


async def test_what_is_kept_is_bounded(service: Service, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 8)
    keys = keyring(service, clock)
    sealed = [(f"n{i}", await keys.seal(f"n{i}", b"v", AT)) for i in range(40)]
    assert len(keys._sealing) == len(keys._opening) == 8
    for namespace, one in sealed:
        assert await keys.open(one, AT, namespace=namespace) == b"v"
    assert len(keys._opening) == 8
    assert service.unwrapped >= 32
    # The latest used stay.
    before = service.unwrapped
    await keys.open(sealed[32][1], AT, namespace="n32")
    await keys.open(sealed[0][1], AT, namespace="n0")
    await keys.open(sealed[32][1], AT, namespace="n32")
    assert service.unwrapped == before + 1


async def test_keys_are_rotated_while_many_seal_and_open(directory: Path, clock: ManualClock) -> None:
    keys = keyring(directory, clock)
    sealed = [await keys.seal("session", b"0", AT)]
    turned, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        while not done.is_set():
            value = b"%d" % len(sealed)
            one = await keys.seal("session", value, AT)
            assert await keys.open(one, AT, namespace="session") == value
            sealed.append(one)
            if keys.is_current(one):
                turned.set()
            await asyncio.sleep(0)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(work())
        for number in range(5):
            write_key(directory, f"key{number}", active=True)
            clock.advance(int(LOOK_S * 1000))
            turned.clear()
            await turned.wait()
        done.set()
    assert len({header(one) for one in sealed}) == 6
    assert [keys.is_current(one) for one in (sealed[0], sealed[-1])] == [False, True]
    cold = keyring(directory, clock)
    for one in sealed:
        await cold.open(one, AT, namespace="session")
    replace(directory / "active", b"first")
    clock.advance(int(LOOK_S * 1000))
    assert keys.is_current(sealed[0])
    await keys.close()
