"""The engine over a cold tier: pages, batches, outages and buffered writes know nothing of where a value is kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.core.entry import Entry
from sidecar.core.errors import ColdUnavailable, InvalidRequest
from sidecar.core.journal import Settlement
from sidecar.core.limits import Limits
from sidecar.core.modes import Durability, ServingMode, Tier
from sidecar.core.operations import Append, Change, Put, WriteId
from sidecar.core.policy import OnOutage, Policy, PolicyTable, Reconcile
from sidecar.engine import followups
from sidecar.engine.buffering import Buffer
from sidecar.engine.engine import Engine
from sidecar.engine.followups import Rehydrate
from sidecar.engine.replies import Listed, Read, Written
from sidecar.stores.journal import FileJournal
from tests.support.factories import write
from tests.unit.buffering_support import Known
from tests.unit.cold_support import LARGE, Deployment, Ports, done, large

PAGE_BYTES = 10_000
POLICIES = PolicyTable(
    {
        "reject": Policy(on_outage=OnOutage.REJECT),
        "passthrough": Policy(),
        "buffer": Policy(on_outage=OnOutage.BUFFER, reconcile=Reconcile.MERGE, value_bytes_max=64 << 20),
    }
)
LIMITS = Limits(page_bytes_max=PAGE_BYTES, message_bytes_max=5 * PAGE_BYTES)


class Engined(Deployment):
    """With an engine, and a journal of its own."""

    async def begun(self, directory: Path) -> Engined:
        self.journal = FileJournal(directory, bytes_max=256 << 20)
        await self.journal.open()
        buffer = Buffer(self.journal, Known(), Ports(self.clock))
        buffer.load()
        self.engine = Engine(policies=POLICIES, limits=LIMITS, hot=None, warm=self.placement, buffer=buffer)
        return self

    async def list(self, token: str = "", *, keys_only: bool = False) -> Listed:
        return await self.engine.reads.list(
            "reject", "", page_size=0, page_token=token, keys_only=keys_only, deadline=None
        )

    async def set(self, namespace: str, value: bytes, key: str = "key") -> Written:
        return await self.engine.writes.write(namespace, (Put(key=key, value=value),), needs_authority=False)

    async def get(self, namespace: str, *keys: str, strong: bool = False) -> Read:
        asked = keys or ("key",)
        return await self.engine.reads.get(namespace, asked, floors=[0] * len(asked), strong=strong, deadline=None)

    async def shown(self, namespace: str) -> bytes | None:
        [lookup] = (await self.get(namespace)).lookups
        return None if lookup.entry is None else lookup.entry.value


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Engined]:
    made = await Engined(tmp_path / "cold").begun(tmp_path / "journal")
    yield made
    await made.journal.close()


# ---- pages and batches


async def test_pages_have_full_values_and_are_bounded_by_them(deployment: Engined) -> None:
    sizes = [3_000, 100, 4_000, 12_000, 10, 9_000, 3_000, 3_000, 3_000, 3_000]
    for n, size in enumerate(sizes):
        await deployment.set("reject", large(n, size), f"{n}")

    pages: list[list[tuple[str, bytes]]] = []
    token = ""
    while not pages or token:
        listed = await deployment.list(token=token)
        pages.append([(entry.key, entry.value) for entry in listed.entries])
        token = listed.next_page_token

    assert [pair for page in pages for pair in page] == [(f"{n}", large(n, size)) for n, size in enumerate(sizes)]
    assert [len(page) for page in pages] == [3, 1, 2, 3, 1]
    assert all(len(page) == 1 or sum(len(value) for _, value in page) <= PAGE_BYTES for page in pages)


async def test_a_page_of_keys_loads_nothing(deployment: Engined) -> None:
    for n in range(5):
        await deployment.set("reject", large(n, 9_000), f"{n}")
    deployment.blobs.away = True

    listed = await deployment.list(keys_only=True)

    assert [(entry.key, entry.value) for entry in listed.entries] == [(f"{n}", b"") for n in range(5)]
    assert listed.next_page_token == ""
    with pytest.raises(ColdUnavailable):
        await deployment.list()


async def test_a_batch_is_bounded_before_it_is_loaded(deployment: Engined) -> None:
    for n in range(6):
        await deployment.set("reject", large(n, PAGE_BYTES), f"{n}")

    for strong in (False, True):
        with pytest.raises(InvalidRequest) as caught:
            await deployment.get("reject", *"012345", strong=strong)
        assert caught.value.reason == "RESPONSE_TOO_LARGE"
    assert deployment.blobs.gets == 0
    assert len((await deployment.get("reject", *"01234")).lookups) == 5


# ---- archive


async def test_a_read_of_an_archived_value_owes_its_way_back(deployment: Engined) -> None:
    archive = type(deployment.archive)(deployment.placement, deployment.cold, lambda: {"reject": 0})
    await deployment.set("reject", large(size=LARGE))
    deployment.clock.advance(1)
    assert await done(archive) == {"archived": 1}
    assert [entry.value for entry in (await deployment.list()).entries] == [large(size=LARGE)]

    read = await deployment.get("reject", strong=True)
    assert (read.lookups[0].tier, [type(owed) for owed in read.followups]) == (Tier.COLD, [Rehydrate])
    await followups.run(read.followups)

    assert (await deployment.get("reject", strong=True)).lookups[0].tier is Tier.WARM


# ---- outages


async def test_cold_away_in_a_namespace_that_rejects(deployment: Engined) -> None:
    await deployment.set("reject", large())
    deployment.blobs.away = True

    for strong in (False, True):
        with pytest.raises(ColdUnavailable):
            await deployment.get("reject", strong=strong)


async def test_cold_away_in_a_namespace_that_passes_through(deployment: Engined) -> None:
    """What is elsewhere is answered; of what is in cold it is said that nobody could be asked. It is never a miss."""
    await deployment.set("passthrough", large(), "large")
    await deployment.set("passthrough", b"small", "small")
    deployment.blobs.away = True

    lookups = (await deployment.get("passthrough", "large", "small", "none")).lookups

    assert [lookup.entry and lookup.entry.value for lookup in lookups] == [None, b"small", None]
    assert [lookup.mode for lookup in lookups] == [ServingMode.PASSTHROUGH, ServingMode.NORMAL, ServingMode.NORMAL]
    with pytest.raises(ColdUnavailable):
        await deployment.get("passthrough", "large", strong=True)


@pytest.mark.parametrize("namespace", ["reject", "passthrough", "buffer"])
async def test_a_large_write_with_cold_away_is_kept_by_the_authority_or_refused(
    deployment: Engined, namespace: str
) -> None:
    deployment.blobs.away = True
    assert (await deployment.set(namespace, large())).durability is deployment.placement.durability
    with pytest.raises(ColdUnavailable) as caught:
        await deployment.engine.writes.write(
            "buffer", (Put(key="key", value=bytes((4 << 20) + 1)),), needs_authority=False
        )

    assert caught.value.metadata == {"tier": "cold"}
    deployment.blobs.away = False
    assert await deployment.shown(namespace) == large()


# ---- buffered writes


async def test_a_large_value_waits_in_the_journal_and_goes_to_cold(deployment: Engined) -> None:
    value = large(size=9 << 20)
    deployment.store.away()
    assert (await deployment.set("buffer", value)).durability is Durability.BUFFERED
    assert await deployment.shown("buffer") == value
    deployment.store.back()

    await settled(deployment)

    [row] = await deployment.truth.get("buffer", ["key"])
    assert isinstance(row, Entry)
    assert row.value == b""
    assert len(await deployment.stored()) == 1
    assert await deployment.shown("buffer") == value


async def test_a_large_value_that_was_known_is_the_base_of_what_waits(deployment: Engined) -> None:
    before = {"a": "x" * LARGE, "b": 1}
    await deployment.set("buffer", json.dumps(before).encode())
    deployment.store.away()
    await deployment.set("buffer", json.dumps(before | {"b": 2}).encode())
    await deployment.engine.writes.write(
        "buffer", (Change(key="list", change=Append(items=(1,)), create=True),), needs_authority=False
    )
    deployment.store.back()
    other = Engined(Path("unused"), store=deployment.truth, clock=deployment.clock, files=deployment.blobs.files)
    theirs = json.dumps(before | {"c": 3}).encode()
    await other.placement.commit(write(Put(key="key", value=theirs), namespace="buffer"))

    await settled(deployment)

    assert json.loads(await deployment.shown("buffer") or b"") == before | {"b": 2, "c": 3}
    assert deployment.engine.buffer is not None
    assert deployment.engine.buffer.settled[Settlement.MERGED] == 1


async def test_a_change_of_a_large_value_waits_too(deployment: Engined) -> None:
    value = b"[" + b"1," * LARGE + b"1]"
    await deployment.set("buffer", value)
    deployment.store.away()
    change = Change(key="key", change=Append(items=(2,)))
    request = WriteId(request_id="r", fingerprint=b"f")
    await deployment.engine.writes.write("buffer", (change,), request=request, needs_authority=False)
    assert await deployment.shown("buffer") == value[:-1] + b",2]"
    deployment.store.back()

    await settled(deployment)

    assert await deployment.shown("buffer") == value[:-1] + b",2]"


async def settled(deployment: Engined) -> None:
    """Everything that waits is with the authority."""
    replay = deployment.engine.buffer
    assert replay is not None
    deployment.clock.advance(60_000)
    for guard in deployment.placement.guards:
        await guard.probe()
    while replay.depth:
        assert await replay.one()
