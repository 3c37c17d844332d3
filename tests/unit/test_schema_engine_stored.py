"""Values follow the floor without a change for anybody; and what schemas mean for caches, cold values, pages, checkpoints and
repetitions.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.core import marks, schema
from sidecar.core.errors import FailedPrecondition, InvalidRequest, OutcomeUnknown, StoreUnavailable
from sidecar.core.modes import Tier
from sidecar.core.operations import Put, Write
from sidecar.core.policy import CheckpointPolicy, OnOutage, Policy
from sidecar.core.schema import Schemas, Step
from sidecar.core.store import Store
from sidecar.engine.schemas import views
from sidecar.stores.files import FileBlobs
from sidecar.stores.memory import MemoryCache, MemoryStore
from tests.support.clock import ManualClock
from tests.support.evolving import STEPS, Conversation, schemas, turn
from tests.support.switched import SwitchedStore
from tests.unit.evolving_support import SPACE, Daemon, FakeFleet, dumped

NEW = Conversation(name="Ann", locale="fr", mood="glad", tags=["t"], turns=[turn("a", seen=True, rank=3, notes="n")])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return MemoryStore(clock=clock)


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def daemon(store: Store, clock: ManualClock, fleet: FakeFleet) -> Daemon:
    return Daemon(store, clock, 4, fleet)


# ---- values follow


async def test_a_value_that_is_read_follows_the_floor_and_nothing_has_changed_for_anybody(
    daemon: Daemon, store: Store, fleet: FakeFleet
) -> None:
    await daemon.set(NEW.document(4), 4, labels={"color": "red"}, ttl_ms=60_000)
    before, told = await daemon.row(), await daemon.entry()
    cursor = (await store.changes(after=None, limit=1)).cursor
    fleet.at = 3

    await daemon.entry(maximum=1)
    [owed] = daemon.upgrades
    assert (owed.entry, owed.level) == (before, 3)
    await daemon.follow_up()

    row = await daemon.row()
    assert row.schema_version == 3
    assert row._replace(value=b"", labels={}, schema_version=0) == before._replace(
        value=b"", labels={}, schema_version=0
    )
    assert await daemon.entry() == told
    assert (await store.changes(after=cursor, limit=1)).changes == ()
    assert daemon.upgrades == [], "it is there"


async def test_one_reader_at_a_time_upgrades_a_key(
    daemon: Daemon, fleet: FakeFleet, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in "abc":
        await daemon.set({}, 1, key=key)
    fleet.at = 2
    await daemon.read("a", "b", "a")
    await daemon.read("a", "b")
    assert [owed.entry.key for owed in daemon.upgrades] == ["a", "b"]

    # Those that were dropped on the way are owed again after a while, and there is a bound.
    daemon.owed = []
    clock.advance(int(views.UNDER_WAY_S * 1000))
    monkeypatch.setattr(views, "UNDER_WAY_MAX", 2)
    await daemon.read("c", "b", "a")
    assert [owed.entry.key for owed in daemon.upgrades] == ["c", "b"]
    await daemon.follow_up()
    assert [(await daemon.row(key)).schema_version for key in "abc"] == [1, 2, 2]
    await daemon.read("a")
    await daemon.follow_up()
    assert (await daemon.row("a")).schema_version == 2


async def test_an_upgrade_that_comes_too_late_changes_nothing(
    daemon: Daemon, store: Store, clock: ManualClock, fleet: FakeFleet
) -> None:
    other = Daemon(store, clock, 4, fleet)
    await daemon.set(NEW.document(4), 4)
    fleet.at = 2
    await other.entry()
    fleet.at = 3
    await daemon.entry()
    await daemon.follow_up()
    upgraded = await daemon.row()
    await other.follow_up()
    assert await daemon.row() == upgraded, "another had done it, and more"

    fleet.at = 4
    await daemon.entry()
    await other.set(NEW.document(2), 2)
    written = await daemon.row()
    await daemon.follow_up()
    assert await daemon.row() == written, "somebody wrote meanwhile"


async def test_what_no_step_leads_from_stays(
    daemon: Daemon, store: Store, clock: ManualClock, fleet: FakeFleet
) -> None:
    fleet.at = 4
    later = Daemon(store, clock, 4, fleet, known=schemas(4, base=3))
    await daemon.store_row({"a": 1}, 0, key="unsaid")
    await daemon.store_row({"a": 1}, 1, key="older")
    await daemon.store_row({"a": 1}, 9, key="newer")
    for key, level in {"unsaid": 0, "older": 1, "newer": 9}.items():
        entry = await later.entry(key)
        assert (entry.schema_version, json.loads(entry.value)) == (level, {"a": 1})
    assert later.upgrades == []
    with pytest.raises(FailedPrecondition):
        await later.entry("newer", maximum=8)
    with pytest.raises(FailedPrecondition) as caught:
        await later.patch({"b": 2}, key="older")
    assert (caught.value.reason, caught.value.metadata) == ("SCHEMA_STEP_FAILED", {"step": "1->4"})
    await later.set({"b": 2}, 4, key="older")
    assert await later.document(key="older") == {"b": 2}


async def test_an_upgrade_that_fails_is_left_to_those_who_read(
    store: Store, clock: ManualClock, fleet: FakeFleet
) -> None:
    def fails(_: Any) -> Any:
        raise ValueError("no way back")

    daemon = Daemon(store, clock, 3, fleet, known=Schemas(1, (Step(STEPS[0].up, fails), STEPS[1])))
    await daemon.store_row({"name": "Ann"}, 1)
    fleet.at = 2
    assert (await daemon.entry()).schema_version == 3
    await daemon.follow_up()
    assert (await daemon.row()).schema_version == 1
    await daemon.entry()
    assert daemon.upgrades == [], "not at once again"


async def test_a_cached_copy_of_before_is_forgotten(store: Store, clock: ManualClock, fleet: FakeFleet) -> None:
    cache = MemoryCache(bytes_max=1 << 20)
    daemon = Daemon(store, clock, 4, fleet, cache=cache)
    await daemon.set(NEW.document(4), 4)
    fleet.at = 4
    [lookup] = (await daemon.read("key")).lookups
    await daemon.follow_up()
    assert lookup.tier is Tier.HOT
    for tier in (Tier.WARM, Tier.HOT, Tier.HOT):
        [lookup] = (await daemon.read("key")).lookups
        assert (lookup.tier, daemon.upgrades) == (tier, [])
        assert lookup.entry is not None
        assert json.loads(lookup.entry.value) == NEW.document(4)
        await daemon.follow_up()


async def test_a_reader_that_is_refused_keeps_no_lease(store: Store, clock: ManualClock, fleet: FakeFleet) -> None:
    cache = MemoryCache(bytes_max=1 << 20)
    daemon = Daemon(store, clock, 4, fleet, cache=cache)
    await daemon.store_row({}, 9)
    for _ in range(2):
        with pytest.raises(FailedPrecondition):
            await daemon.entry(maximum=4)
    await daemon.entry()
    await daemon.follow_up()
    assert (await daemon.read("key")).lookups[0].tier is Tier.HOT


# ---- values in cold


async def test_a_value_in_cold_is_seen_and_written_in_every_schema(
    store: Store, clock: ManualClock, fleet: FakeFleet, tmp_path: Path
) -> None:
    daemon = Daemon(store, clock, 4, fleet, cold=FileBlobs(tmp_path), large_bytes=lambda _: 500)
    told = Conversation(turns=[turn(f"{number}" * 30, rank=number, notes="n") for number in range(20)])
    await daemon.set(told.document(1), 1)
    await daemon.set(told.document(4), 4)
    assert marks.BLOB in (await daemon.row()).labels
    for level in range(1, 5):
        assert await daemon.document(level) == told.document(level)

    told.turns.append(turn("last"))
    await daemon.set(told.document(2), 2)
    del told.turns[0]
    await daemon.set(told.document(1), 1)
    fleet.at = 4
    await daemon.patch({"mood": "glad"})

    told.mood = "glad"
    assert await daemon.document() == told.document(4)
    assert (await daemon.row()).schema_version == 4
    fleet.at = 1
    await daemon.set(told.document(4), 4)
    fleet.at = 4
    daemon.owed = []
    await daemon.entry()
    assert daemon.upgrades == []


# ---- pages


async def test_a_page_is_in_the_readers_schema_and_fits_after_that(daemon: Daemon, fleet: FakeFleet) -> None:
    """A page is of 4,000 bytes here; in the newer schema, each value has a thousand more."""
    for key in "abcd":
        await daemon.set({"mood": "x" * 1_000}, 4, key=key)
    fleet.at = 1
    keys, token = [], ""
    while True:
        listed = await daemon.reads.list(
            SPACE, "", page_size=0, page_token=token, keys_only=False, deadline=None, max_schema_version=3
        )
        assert sum(len(entry.value) for entry in listed.entries) <= 4_000
        for entry in listed.entries:
            assert (entry.schema_version, json.loads(entry.value)) == (3, {"mood": "x" * 1_000})
            keys.append(entry.key)
        if not (token := listed.next_page_token):
            break
    assert "".join(keys) == "abcd"
    await daemon.store_row({}, 9, key="e")
    page: dict[str, Any] = {"page_size": 0, "page_token": "", "deadline": None}
    assert len((await daemon.reads.list(SPACE, "", keys_only=True, max_schema_version=3, **page)).entries) == 5
    with pytest.raises(FailedPrecondition) as caught:
        await daemon.reads.list(SPACE, "e", keys_only=False, max_schema_version=3, **page)
    assert caught.value.metadata["key"] == "e"


# ---- checkpoints


async def test_a_restore_brings_back_what_every_schema_had(daemon: Daemon, fleet: FakeFleet) -> None:
    await daemon.set(NEW.document(4), 4)
    before = await daemon.row()
    record = await daemon.checkpoints.take(SPACE, key="key")
    fleet.at = 4
    await daemon.set({"other": 1}, 4)

    [kept] = (await daemon.checkpoints.get(SPACE, record.checkpoint_id)).entries
    restored = await daemon.checkpoints.restore(SPACE, key="key")

    row = await daemon.row()
    assert (row.value, row.schema_version, row.labels[marks.SCHEMA]) == (before.value, 1, before.labels[marks.SCHEMA])
    for entry in (kept, *restored.entries, await daemon.entry()):
        assert (entry.schema_version, json.loads(entry.value)) == (4, NEW.document(4))
        assert marks.SCHEMA not in entry.labels


async def test_a_restore_of_a_plain_value_brings_nothing_of_what_is_there(daemon: Daemon, fleet: FakeFleet) -> None:
    await daemon.set({"name": "Ann"}, 1)
    await daemon.checkpoints.take(SPACE, key_prefix="k")
    await daemon.set({"locale": "fr", "mood": "glad"}, 4)
    await daemon.checkpoints.restore(SPACE, key_prefix="k")
    assert await daemon.document() == {"person": {"name": "Ann"}, "locale": "en", "mood": None, "tags": []}


async def test_automatic_checkpoints_have_it_too(store: Store, clock: ManualClock, fleet: FakeFleet) -> None:
    policy = Policy(on_outage=OnOutage.REJECT, checkpoint=CheckpointPolicy(every=2))
    daemon = Daemon(store, clock, 4, fleet, policy=policy)
    await daemon.set({}, 4)
    await daemon.set(NEW.document(4), 4)
    await daemon.set({"other": 1}, 4)
    await daemon.checkpoints.restore(SPACE, key="key")
    assert await daemon.document() == NEW.document(4)


# ---- races and repetitions


async def test_a_repeated_write_is_told_what_it_did_whatever_is_there_by_now(
    daemon: Daemon, store: Store, clock: ManualClock, fleet: FakeFleet
) -> None:
    old = Daemon(store, clock, 2, fleet)
    version = await old.set(NEW.document(2), 2, request_id="set")
    appended = await old.append({"text": "a"}, 1, key="log", request_id="append", create=True)
    guarded = Put(key="key", value=b"{}", schema_version=2, expected_version=version)
    won = await old.write(guarded, request_id="cas")
    for key in ("key", "log"):
        await daemon.store_row([], 4, key=key)

    assert await old.set(NEW.document(2), 2, request_id="set") == version
    again = await old.append({"text": "a"}, 1, key="log", request_id="append", create=True)
    assert again.version == appended.version
    assert (await old.write(guarded, request_id="cas")).version == won.version
    # By a daemon that knows less than was asked for, too.
    third = await daemon.set(NEW.document(3), 3, key="third", request_id="third")
    assert await old.set(NEW.document(3), 3, key="third", request_id="third") == third
    with pytest.raises(FailedPrecondition):
        await old.set({}, 2, request_id="another")
    with pytest.raises(InvalidRequest) as caught:
        await old.set({"a": 1}, 2, request_id="set")
    assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_a_guard_of_ours_that_fails_is_nobodys_business(daemon: Daemon, fleet: FakeFleet) -> None:
    """Another is faster between the read and the commit: once by a value, once by a move to another schema."""
    await daemon.set(NEW.document(4), 4)
    rows, meanwhile = (
        daemon.placement.rows,
        [Put(key="key", value=dumped({"name": "Eve", "log": []}), schema_version=1)],
    )

    async def overtaken(namespace: str, keys: list[str]) -> Any:
        found = await rows(namespace, keys)
        if meanwhile:
            before = await daemon.row()
            put = replace(meanwhile.pop(), marks={marks.SCHEMA: before.labels[marks.SCHEMA]})
            await daemon.store.commit(Write(namespace=SPACE, operations=(put,), value_bytes_max=1 << 30))
        return found

    daemon.placement.rows = overtaken  # type: ignore[method-assign,assignment]  # somebody is faster, once
    await daemon.patch({"locale": "de"}, 2, request_id="r")

    assert meanwhile == []
    told = {"person": {"name": "Eve"}, "locale": "de", "mood": "glad", "tags": ["t"], "log": []}
    assert await daemon.document() == told
    await daemon.patch({"locale": "de"}, 2, request_id="r")
    assert await daemon.document() == told


async def test_a_value_that_moves_between_read_and_commit_loses_nothing(daemon: Daemon, fleet: FakeFleet) -> None:
    """A move keeps the version, so the guard holds: the write says all that is to be kept."""
    await daemon.set(NEW.document(4), 4)
    rows = daemon.placement.rows

    async def moved(namespace: str, keys: list[str]) -> Any:
        found = await rows(namespace, keys)
        row = await daemon.row()
        relocate = schema.relocated(schemas(4), row, 4)
        await daemon.placement.relocate(Write(namespace=SPACE, operations=(relocate,), value_bytes_max=1 << 30))
        return found

    daemon.placement.rows = moved  # type: ignore[method-assign,assignment]  # a migration is at it
    await daemon.set({"name": "Eve", "log": NEW.log(1)}, 1)
    assert await daemon.document() == {**NEW.document(4), "person": {"name": "Eve"}}


async def test_a_write_whose_answer_was_lost_is_made_once(daemon: Daemon, store: Store) -> None:
    await daemon.set([], 4)
    commit = store.commit

    async def unanswered(write: Write) -> Any:
        await commit(write)
        store.commit = commit  # type: ignore[method-assign]
        raise OutcomeUnknown("the answer was lost")

    for request_id in ("r", ""):
        store.commit = unanswered  # type: ignore[method-assign]  # the connection breaks, once
        if request_id:
            await daemon.append({"body": "a"}, request_id=request_id)
        else:
            with pytest.raises(OutcomeUnknown):
                await daemon.append({"body": "b"})
    assert [each["body"] for each in await daemon.document()] == ["a", "b"]


async def test_while_the_authority_is_away_a_write_is_what_the_policy_says(
    clock: ManualClock, fleet: FakeFleet
) -> None:
    store = SwitchedStore(MemoryStore(clock=clock))
    daemon = Daemon(store, clock, 4, fleet)
    await daemon.set([], 4)
    store.away()
    with pytest.raises(StoreUnavailable):
        await daemon.set([], 4)
