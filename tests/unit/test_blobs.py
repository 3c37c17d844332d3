"""Blobs of an authority: intent before blob before pointer, and a collection that takes nothing that is alive."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sidecar.core.blob_records import BlobRecord, BlobState, Owner, blob_name, named_time, store_id
from sidecar.core.errors import ColdUnavailable, DataLoss, OutcomeUnknown, StoreUnavailable, VersionConflict
from sidecar.core.ledger import CONTENTS, LEDGER, SECRET, blob_key, hold_key
from sidecar.core.limits import DAY_MS
from sidecar.core.marks import BLOB, Pointer
from sidecar.core.operations import Check, Put, Remove
from sidecar.tiers.blob_jobs import GRACE_MS, BlobCollection
from sidecar.tiers.blobs import secret_of
from sidecar.tiers.room import Room
from tests.support.clock import START_MS
from tests.support.factories import NAMESPACE, write
from tests.unit.cold_support import KEY, Deployment, Ports, done, large

OWNER = Owner(namespace=NAMESPACE, key=KEY)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "cold")


# ---- names and records


def test_a_name_tells_whose_it_is_and_when_it_was_made() -> None:
    name = blob_name(store_id(b"secret"), START_MS, "0123456789abcdef" * 4)

    assert name == f"{store_id(b'secret')}/{START_MS:012x}0123456789abcdef"
    assert named_time(name) == START_MS
    assert named_time(blob_name("0" * 16, 5, "1")) == 5


@pytest.mark.parametrize("name", ["", "a/b", "0" * 16 + "/" + "0" * 27, "0" * 16 + "/" + "0" * 27 + "g", "0" * 45])
def test_other_names_tell_nothing(name: str) -> None:
    assert named_time(name) is None


@pytest.mark.parametrize("owner", [OWNER, Owner(content="c0ffee"), Owner()])
@pytest.mark.parametrize("state", BlobState)
def test_a_record_is_read_as_it_was_written(owner: Owner, state: BlobState) -> None:
    record = BlobRecord(owner, state)

    assert BlobRecord.decode(record.encode()) == record


@pytest.mark.parametrize("stored", [b"", b"[]", b"{}", b'{"state": "kept", "x": 1}', b'{"state": "other"}', b"\xff"])
def test_what_is_no_record_is_a_loss(stored: bytes) -> None:
    with pytest.raises(DataLoss):
        BlobRecord.decode(stored)


# ---- storing


async def test_the_secret_is_made_once(deployment: Deployment) -> None:
    ledger, ports = deployment.placement.ledger, Ports(deployment.clock)

    secrets = await asyncio.gather(*[secret_of(ledger, ports) for _ in range(5)])

    assert len(set(secrets)) == 1
    assert len(secrets[0]) == 32
    [row] = await ledger.get([SECRET])
    assert row is not None
    assert row.value == secrets[0]


async def test_a_secret_whose_commit_is_not_answered_is_read(deployment: Deployment) -> None:
    ledger, ports = deployment.placement.ledger, Ports(deployment.clock)
    deployment.store.fail_next("commit", OutcomeUnknown("lost"))
    with pytest.raises(StoreUnavailable):
        await secret_of(ledger, ports)

    assert await secret_of(ledger, ports) == await secret_of(ledger, ports)


async def test_a_stored_blob_has_a_record_and_a_check(deployment: Deployment) -> None:
    blobs = deployment.ledger_blobs
    stored = await blobs.store(b"content", OWNER)

    assert await blobs.load(stored.blob) == b"content"
    assert await deployment.records() == {stored.blob: BlobRecord(OWNER)}
    assert stored.check.ledger
    assert stored.blob.startswith(await blobs.store_id() + "/")


async def test_the_record_is_there_before_the_object(deployment: Deployment) -> None:
    seen: list[int] = []

    async def look(verb: str) -> None:
        seen.append(len(await deployment.records()))

    deployment.blobs.before = look
    await deployment.ledger_blobs.store(b"content", OWNER)

    assert seen == [1]


async def test_a_fence_that_is_lost_stores_nothing(deployment: Deployment) -> None:
    with pytest.raises(VersionConflict):
        await deployment.ledger_blobs.store(b"", OWNER, fence=[Check(key="o/archive", expected_version=3)])

    assert await deployment.stored() == []


async def test_a_record_whose_commit_is_not_answered_stores_nothing(deployment: Deployment) -> None:
    await deployment.ledger_blobs.store_id()
    deployment.store.fail_next("commit", OutcomeUnknown("lost"))

    with pytest.raises(StoreUnavailable):
        await deployment.ledger_blobs.store(b"", OWNER)
    assert await deployment.stored() == []


async def test_cold_away_is_an_error_of_its_own(deployment: Deployment) -> None:
    stored = await deployment.ledger_blobs.store(b"", OWNER)
    deployment.blobs.away = True

    with pytest.raises(ColdUnavailable):
        await deployment.ledger_blobs.store(b"", OWNER)
    with pytest.raises(ColdUnavailable):
        await deployment.ledger_blobs.load(stored.blob)


async def test_while_it_is_known_to_be_away_no_record_is_made(deployment: Deployment) -> None:
    deployment.ledger_blobs.guard.trip(StoreUnavailable("away"))

    with pytest.raises(ColdUnavailable):
        await deployment.ledger_blobs.store(b"", OWNER)
    assert await deployment.records() == {}


async def test_a_put_that_comes_after_its_record_was_collected_is_undone(deployment: Deployment) -> None:
    async def late(verb: str) -> None:
        if verb == "put":
            deployment.blobs.before = None
            await deployment.collect(passes=2)

    deployment.blobs.before = late
    with pytest.raises(ColdUnavailable):
        await deployment.ledger_blobs.store(b"content", OWNER)

    assert await deployment.stored() == []
    assert await deployment.records() == {}


async def test_a_slow_put_that_nobody_overtook_is_good(deployment: Deployment) -> None:
    async def slow(_: str) -> None:
        deployment.clock.advance(GRACE_MS - 1)

    deployment.blobs.before = slow
    await deployment.put(large())
    deployment.blobs.before = None

    assert await deployment.value() == large()


async def test_bytes_under_way_are_bounded() -> None:
    room, under_way, most = Room(100, Ports(Deployment(Path("unused")).clock)), 0, 0

    async def use(size: int) -> None:
        nonlocal under_way, most
        async with room.taken(size):
            under_way += min(size, 100)
            most = max(most, under_way)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            under_way -= min(size, 100)

    tasks = [asyncio.create_task(use(size)) for size in (40, 40, 40, 500, 10, 100, 30, 30, 30, 30)]
    for task in tasks[3:5]:
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert most <= 100
    assert room.used == 0
    await use(100)


# ---- collection


async def test_what_is_pointed_to_stays(deployment: Deployment) -> None:
    for n in range(20):
        await deployment.put(large(n), f"{n}")

    assert await deployment.collect(passes=3) == {}
    assert len(await deployment.stored()) == 20
    assert [await deployment.value(f"{n}") for n in range(20)] == [large(n) for n in range(20)]


async def test_what_was_overwritten_or_deleted_or_never_pointed_to_goes(deployment: Deployment) -> None:
    for n in range(10):
        await deployment.put(large(n), "overwritten")
    await deployment.put(large(), "deleted")
    await deployment.commit(Remove(key="deleted"))
    await deployment.put(large(), "ended", ttl_ms=1_000)
    await deployment.put(large(), "small now")
    await deployment.put(b"", "small now")
    await deployment.ledger_blobs.store(b"", OWNER)
    await deployment.ledger_blobs.store(b"", Owner(content="never made"))

    assert await deployment.collect(dry_run=True) == {"blobs": 14}
    assert len(await deployment.stored()) == 15
    assert await deployment.collect(after_ms=0) == {"blobs": 14}

    assert await deployment.stored() == [await deployment.blob("overwritten")]
    assert list(await deployment.records()) == await deployment.stored()
    assert await deployment.collect(passes=2) == {}


async def test_the_young_are_left_alone(deployment: Deployment) -> None:
    await deployment.ledger_blobs.store(b"", OWNER)

    assert await deployment.collect(after_ms=GRACE_MS - 1) == {}
    assert await deployment.collect(after_ms=1) == {"blobs": 1}


async def test_no_writer_is_disturbed_within_the_grace(deployment: Deployment) -> None:
    """With a grace of 0, as a wrong collection has it, one is."""
    await _with_collection_before_the_pointer(deployment, deployment.collection)
    assert await deployment.value() == large()

    with pytest.raises(ColdUnavailable):
        await _with_collection_before_the_pointer(
            deployment, BlobCollection(deployment.ledger_blobs, deployment.placement.rows, grace_ms=0)
        )


async def _with_collection_before_the_pointer(deployment: Deployment, collection: BlobCollection) -> None:
    real = deployment.truth.commit

    async def commit(asked: object) -> object:
        if getattr(asked, "namespace", "") == NAMESPACE:
            deployment.truth.commit = real  # type: ignore[method-assign]
            await done(collection)
        return await real(asked)  # type: ignore[arg-type]

    deployment.truth.commit = commit  # type: ignore[method-assign, assignment]
    await deployment.put(large())


@pytest.mark.parametrize("owner", [OWNER, Owner(content="c0ffee")])
async def test_who_claims_a_blob_keeps_it(deployment: Deployment, owner: Owner) -> None:
    blobs, ledger = deployment.ledger_blobs, deployment.placement.ledger
    stored = await blobs.store(b"", owner)
    claim = hold_key(stored.blob, "0" * 28)
    await ledger.commit([Put(key=claim, value=b""), stored.check])

    assert await deployment.collect(passes=2) == {}
    await ledger.commit([Remove(key=claim)])
    assert await deployment.collect() == {"blobs": 1}
    assert await deployment.records() == {}


async def test_a_content_keeps_its_blob(deployment: Deployment) -> None:
    blobs, ledger = deployment.ledger_blobs, deployment.placement.ledger
    stored = await blobs.store(b"", Owner(content="c0ffee"))
    other = await blobs.store(b"", Owner(content="c0ffee"))
    row = f'{{"base":"","blob":"{stored.blob}"}}'.encode()
    await ledger.commit([Put(key=CONTENTS + "c0ffee", value=row), stored.check])

    assert await deployment.collect(passes=2) == {"blobs": 1}
    assert await deployment.stored() == [stored.blob]
    assert await blobs.load(other.blob) is None


async def test_a_pointer_committed_while_it_is_judged_saves_it(deployment: Deployment) -> None:
    """After the first look at the owner, before the record is condemned."""
    stored = await deployment.ledger_blobs.store(large(), OWNER)
    pointer = await _pointer(deployment, stored.blob)
    deployment.clock.advance(GRACE_MS + 1)
    hold = deployment.store.hold("commit")
    collecting = asyncio.create_task(done(deployment.collection))
    await hold.reached.wait()  # about to condemn
    await deployment.truth.commit(write(pointer, stored.check))
    hold.release()

    assert await collecting == {}
    assert await deployment.value() == large()
    assert await deployment.records() == {stored.blob: BlobRecord(OWNER)}
    with pytest.raises(VersionConflict):  # the record is another by now
        await deployment.truth.commit(write(pointer, stored.check))


async def test_no_pointer_is_committed_to_what_is_condemned(deployment: Deployment) -> None:
    stored = await deployment.ledger_blobs.store(large(), OWNER)
    pointer = await _pointer(deployment, stored.blob)
    asked: list[str] = []

    async def point(verb: str) -> None:
        if verb == "delete":
            asked.append(verb)
            with pytest.raises(VersionConflict):
                await deployment.truth.commit(write(pointer, stored.check))

    deployment.blobs.before = point
    assert await deployment.collect() == {"blobs": 1}
    assert asked == ["delete"]


async def test_two_collections_at_the_same_time(deployment: Deployment) -> None:
    for n in range(20):
        await deployment.put(large(n), f"{n % 5}")
    deployment.clock.advance(GRACE_MS + 1)
    other = BlobCollection(deployment.ledger_blobs, deployment.placement.rows)

    await asyncio.gather(*[done(one, limit=3) for one in (deployment.collection, other, deployment.collection)])

    assert len(await deployment.stored()) == len(await deployment.records()) == 5
    assert [await deployment.value(f"{n}") for n in range(5)] == [large(n) for n in range(15, 20)]


async def test_what_is_found_condemned_is_finished_or_saved(deployment: Deployment) -> None:
    dead = await deployment.ledger_blobs.store(b"", OWNER)
    await deployment.put(large())
    alive = await deployment.blob()
    for blob in (dead.blob, alive):
        await deployment.truth.commit(
            write(Put(key=blob_key(blob), value=BlobRecord(OWNER, BlobState.CONDEMNED).encode()), namespace=LEDGER)
        )

    assert await done(deployment.collection) == {"blobs": 1, "kept": 1}
    assert await deployment.records() == {alive: BlobRecord(OWNER)}
    assert await deployment.value() == large()


async def test_who_lost_the_job_changes_nothing(deployment: Deployment) -> None:
    await deployment.ledger_blobs.store(b"", OWNER)
    deployment.clock.advance(GRACE_MS + 1)

    with pytest.raises(VersionConflict):
        await done(deployment.collection, fence=[Check(key="o/blobs", expected_version=5)])

    assert len(await deployment.stored()) == 1
    assert set(await deployment.records()) == set(await deployment.stored())


async def test_a_record_that_does_not_verify_is_counted_and_left(deployment: Deployment) -> None:
    await deployment.put(large())
    await deployment.truth.commit(write(Put(key="i/nonsense", value=b"nonsense"), namespace=LEDGER))

    assert await deployment.collect() == {"corrupt": 1}


async def test_cold_away_stops_the_pass_and_the_next_goes_on(deployment: Deployment) -> None:
    await deployment.ledger_blobs.store(b"", OWNER)
    deployment.blobs.away = True
    with pytest.raises(ColdUnavailable):
        await deployment.collect()
    deployment.blobs.away = False

    [record] = (await deployment.records()).values()
    assert record.state is BlobState.CONDEMNED
    assert await deployment.collect(after_ms=0) == {"blobs": 1}


# ---- orphans


async def test_objects_without_a_record_are_found_by_listing(deployment: Deployment) -> None:
    await deployment.put(large())
    mine = await deployment.ledger_blobs.store_id()
    lost = [blob_name(mine, START_MS + n, f"{n:016x}") for n in range(20)]
    others = [blob_name("f" * 16, START_MS, "0"), f"{mine}/no blob's name".replace(" ", "-").replace("'", "")]
    for name in (*lost, *others):
        await deployment.blobs.files.put(name, b"")

    assert await done(deployment.orphans) == {}, "they are young"
    deployment.clock.advance(DAY_MS + 100)
    assert await done(deployment.orphans, dry_run=True) == {"orphans": 20}
    assert await done(deployment.orphans) == {"orphans": 20}
    assert await done(deployment.orphans) == {}
    assert await deployment.collect(after_ms=0) == {"blobs": 20}

    assert set(await deployment.stored()) == {await deployment.blob(), *others}
    assert list(await deployment.records()) == [await deployment.blob()]


async def test_a_listing_that_was_left_begins_again(deployment: Deployment) -> None:
    mine = await deployment.ledger_blobs.store_id()
    for n in range(9):
        await deployment.blobs.files.put(blob_name(mine, START_MS + n, "0"), b"")
    deployment.clock.advance(DAY_MS + 100)
    orphans = deployment.orphans

    first = await orphans.step("", limit=4, fence=(), dry_run=True)
    again = await orphans.step("", limit=4, fence=(), dry_run=True)
    second = await orphans.step(first.cursor, limit=4, fence=(), dry_run=True)
    deployment.blobs.away = True
    with pytest.raises(ColdUnavailable):
        await orphans.step("", limit=4, fence=(), dry_run=True)
    deployment.blobs.away = False
    third = await orphans.step(second.cursor, limit=4, fence=(), dry_run=True)

    assert again == first
    assert [step.counts["orphans"] for step in (first, second, third)] == [4, 4, 1]
    assert third.cursor == ""


async def _pointer(deployment: Deployment, blob: str) -> Put:
    """A write of a pointer to a blob that is there, as `Cold.commit` makes it."""
    pointer = Pointer(blob, len(large()), await deployment.cold.digest(large()), archived=False)
    return Put(key=KEY, value=b"", marks={BLOB: pointer.text})
