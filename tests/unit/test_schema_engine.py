"""Readers and writers of every schema share keys: each sees its own, and destroys nothing of the others'."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.core import marks
from sidecar.core.errors import DataLoss, FailedPrecondition, InvalidRequest, SchemaDiffers, VersionConflict
from sidecar.core.operations import Append, Change, Check, Increment, Put, Remove
from sidecar.core.policy import OnOutage, Policy
from sidecar.core.schema import Schemas, Step
from sidecar.core.store import Store
from sidecar.stores.memory import MemoryStore
from sidecar.stores.sqlite import SqliteStore
from tests.support.clock import ManualClock
from tests.support.evolving import STEPS, Conversation, changes, turn, turn_in
from tests.unit.evolving_support import JSON, PLAIN, Daemon, FakeFleet, dumped

NEW = Conversation(name="Ann", locale="fr", mood="glad", tags=["t"], turns=[turn("a", seen=True, rank=3, notes="n")])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = (
        MemoryStore(clock=clock) if request.param == "memory" else SqliteStore(tmp_path / "state.db", clock=clock)
    )
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def daemons(store: Store, clock: ManualClock, fleet: FakeFleet) -> dict[int, Daemon]:
    return {version: Daemon(store, clock, version, fleet) for version in range(1, 5)}


async def refused(awaitable: Any, reason: str) -> FailedPrecondition:
    with pytest.raises(FailedPrecondition) as caught:
        await awaitable
    assert caught.value.reason == reason
    return caught.value


# ---- the matrix


@pytest.mark.parametrize("seed", range(12))
async def test_every_writer_keeps_what_it_does_not_know_and_every_reader_sees_its_own(
    seed: int, daemons: dict[int, Daemon], fleet: FakeFleet
) -> None:
    """Floors move as they do in a rollout, and back; values follow by reads, and by writes."""
    chance = random.Random(seed)
    told = Conversation()
    await daemons[1].set(told.document(1), 1)
    for count in range(25):
        stored = (await daemons[1].row()).schema_version
        version = chance.randint(stored, 4)
        daemon, level = daemons[version], chance.randint(1, version)
        fleet.at = chance.randint(1, version)
        told.write(level, changes(chance, count))
        if chance.random() < 0.5:
            await daemon.set(told.document(level), level)
        else:
            seen = await daemon.entry(maximum=level)
            put = Put(
                key="key",
                value=dumped(told.document(level)),
                content_type=JSON,
                schema_version=level,
                expected_version=seen.version,
            )
            await daemon.write(put)
        assert (await daemon.row()).schema_version == fleet.at
        for reader in range(fleet.at, 5):
            for maximum in range(1, reader + 1):
                entry = await daemons[reader].entry(maximum=maximum)
                assert (json.loads(entry.value), entry.schema_version) == (told.document(maximum), maximum), count
        if chance.random() < 0.3:
            fleet.at = chance.randint(fleet.at, 4)
            await daemons[4].follow_up()


async def test_appends_and_drops_of_old_writers_leave_the_rest_of_each_element(
    daemons: dict[int, Daemon], fleet: FakeFleet
) -> None:
    """Updates, applied where the data is; `max_items` takes from the front."""
    chance = random.Random(1)
    turns: list[dict[str, Any]] = []
    await daemons[4].set([], 4)
    for count in range(60):
        version = chance.randint((await daemons[1].row()).schema_version, 4)
        level, most = chance.randint(1, version), chance.choice([0, 0, 0, 5])
        fleet.at = chance.randint(1, version)
        new = turn(f"turn {count}")
        if level >= 3:
            new |= {"rank": count}
        if level == 4:
            new |= {"notes": f"notes {count}"}
        turns = [*turns, new][-most:]
        change = Change(key="key", change=Append(items=(turn_in(new, level),), max_items=most), schema_version=level)
        await daemons[version].write(change)
        for maximum in range(1, 5):
            assert await daemons[4].document(maximum) == [turn_in(each, maximum) for each in turns], (count, maximum)


# ---- writers


async def test_a_value_is_stored_in_what_all_know(daemons: dict[int, Daemon], fleet: FakeFleet) -> None:
    await daemons[4].set(NEW.document(4), 4)

    row = await daemons[4].row()
    assert row.schema_version == 1
    assert set(json.loads(row.value)) == {"name", "log"}
    assert (await daemons[4].entry()).labels == {}
    assert await daemons[1].document() == {"name": "Ann", "log": [{"text": "a", "done": False}]}

    fleet.at = 4
    await daemons[4].set(NEW.document(4), 4)
    row = await daemons[4].row()
    assert (row.schema_version, json.loads(row.value)) == (4, NEW.document(4))
    assert marks.SCHEMA not in row.labels


async def test_what_is_stored_as_it_was_written_is_stored_bit_for_bit(
    daemons: dict[int, Daemon], fleet: FakeFleet
) -> None:
    fleet.at = 2
    written = b'{ "full_name":"Ann", "locale" : "en", "n": 1.00 }'
    await daemons[2].set(written, 2)
    assert (await daemons[2].entry()).value == written

    await daemons[3].set({"person": {"name": "Eve"}, "mood": "glad"}, 3)
    await daemons[2].set(written, 2)
    assert (await daemons[2].entry()).value == written
    assert await daemons[3].document() == {"person": {"name": "Ann"}, "locale": "en", "n": 1.0, "mood": "glad"}


async def test_the_usual_write_costs_no_read(daemons: dict[int, Daemon], fleet: FakeFleet) -> None:
    fleet.at = 4
    gets = 0
    get = daemons[4].store.get

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal gets
        gets += 1
        return await get(*args, **options)

    daemons[4].store.get = counted  # type: ignore[method-assign]  # it counts
    await daemons[4].set([], 4)
    await daemons[4].set([1], 4)
    await daemons[4].append(2)
    await daemons[4].write(Put(key="key", value=b"[]"), Put(key="other", value=b"1", schema_version=4))
    assert gets == 0


async def test_a_value_whose_schema_is_not_said_is_left_as_it_is(daemons: dict[int, Daemon]) -> None:
    before = {"name": "Ann", "full_name": 1}
    await daemons[4].set(before, 0)

    assert await daemons[4].document() == before
    assert (await daemons[4].entry(maximum=2)).schema_version == 0
    await daemons[4].patch({"a": 1}, 3)
    assert (await daemons[4].row()).schema_version == 0
    assert await daemons[4].document() == {**before, "a": 1}
    await daemons[4].set(NEW.document(4), 4)
    assert await daemons[4].document() == NEW.document(4)


async def test_where_steps_begin_with_nothing_said_that_is_a_schema(
    store: Store, clock: ManualClock, fleet: FakeFleet
) -> None:
    fleet.at = 0
    daemon = Daemon(store, clock, 1, fleet, known=Schemas(0, STEPS[:1]))
    await daemon.set({"name": "Ann"}, 0)
    assert await daemon.document() == {"full_name": "Ann", "locale": "en"}

    await daemon.set({"full_name": "Ann", "locale": "fr"}, 1)
    await daemon.set({"name": "Eve"}, 0)
    assert await daemon.document() == {"full_name": "Eve", "locale": "fr"}
    assert (await daemon.row()).schema_version == 0


async def test_a_writer_that_knows_more_than_the_daemon_is_refused(daemons: dict[int, Daemon]) -> None:
    for write in (daemons[2].set({}, 3), daemons[2].append(1, 3), daemons[2].set({}, 3, request_id="r")):
        error = await refused(write, "SCHEMA_TOO_NEW")
        assert error.metadata == {"schema_version": "3", "max_schema_version": "2"}
    # Another daemon may do it, under the same id.
    await daemons[3].set({}, 3, request_id="r")


async def test_who_would_destroy_what_it_does_not_know_is_refused(daemons: dict[int, Daemon], fleet: FakeFleet) -> None:
    """A daemon that comes late, or was set back: the value is in a schema that it has no step from."""
    fleet.at = 3
    await daemons[3].set(NEW.document(3), 3)
    before = await daemons[3].row()
    fleet.at = 1

    for write in (daemons[2].set({}, 1), daemons[2].set({}, 2), daemons[2].patch({}), daemons[2].append(1, 1)):
        error = await refused(write, "SCHEMA_TOO_NEW")
        assert error.metadata["schema_version"] == "3"
    assert await daemons[3].row() == before
    await daemons[2].write(Remove(key="key"))
    await daemons[2].set(NEW.document(2), 2)
    assert (await daemons[3].row()).schema_version == 1


async def test_without_a_way_back_a_value_is_stored_as_low_as_it_gets(
    store: Store, clock: ManualClock, fleet: FakeFleet
) -> None:
    one_way = Schemas(1, (STEPS[0], Step(STEPS[1].up), STEPS[2]))
    new, old = Daemon(store, clock, 4, fleet, known=one_way), Daemon(store, clock, 2, fleet)
    await new.set(NEW.document(4), 4)

    assert (await new.row()).schema_version == 3
    assert await new.document() == NEW.document(4)
    error = await refused(new.document(2), "SCHEMA_TOO_NEW")
    assert error.metadata == {"schema_version": "3", "max_schema_version": "2", "key": "key"}
    await refused(old.document(2), "SCHEMA_TOO_NEW")
    await refused(new.set(NEW.document(2), 2), "SCHEMA_TOO_NEW")
    assert (await old.entry()).schema_version == 3, "who doesn't say what it understands is given what there is"


async def test_a_step_that_fails_stores_nothing(store: Store, clock: ManualClock, fleet: FakeFleet) -> None:
    def fails(document: Any) -> Any:
        if document.get("bad"):
            raise KeyError("wrong")
        return document

    wrong = [
        Step(fails, fails),
        Step(lambda _: {1, 2}, lambda _: object()),
        Step(lambda _: float("nan"), lambda _: {1: 2}),
    ]
    for number, step in enumerate(wrong):
        daemon = Daemon(store, clock, 2, fleet, known=Schemas(1, (step,)))
        for _ in range(2):
            error = await refused(daemon.set({"bad": 1}, 2, request_id=f"{number}"), "SCHEMA_STEP_FAILED")
            assert error.metadata["step"] == "2->1"
        assert (await daemon.read("key")).lookups[0].entry is None
        await daemon.store_row({"bad": 1}, 1, key=f"{number}")
        error = await refused(daemon.entry(f"{number}"), "SCHEMA_STEP_FAILED")
        assert error.metadata == {"step": "1->2", "key": f"{number}"}
        await refused(daemon.set(b"no json", 2), "SCHEMA_STEP_FAILED")


async def test_bytes_go_through_the_steps_as_bytes(store: Store, clock: ManualClock, fleet: FakeFleet) -> None:
    known = Schemas(1, (Step(lambda raw: raw.upper(), lambda raw: raw.lower()),))
    daemon = Daemon(store, clock, 2, fleet, known=known)
    await daemon.set(b"Some Text", 2, content_type="text/plain")

    assert (await daemon.row()).value == b"some text"
    assert (await daemon.entry()).value == b"Some Text"
    assert (await daemon.entry(maximum=1)).value == b"some text"
    await daemon.set(b"other", 1, content_type="text/plain")
    assert (await daemon.entry()).value == b"OTHER"


# ---- updates


async def test_an_update_is_made_in_the_schema_that_it_is_meant_for(
    daemons: dict[int, Daemon], clock: ManualClock
) -> None:
    await daemons[4].set(NEW.document(4), 4, labels={"color": "red"}, ttl_ms=60_000)
    before = await daemons[4].row()
    clock.advance(10_000)

    written = await daemons[2].patch({"full_name": "Eve"}, return_value=True)

    row, [result] = await daemons[4].row(), written.results
    assert json.loads(result.value or b"") == {"full_name": "Eve", "locale": "fr", "log": NEW.log(2)}
    assert await daemons[4].document() == {**NEW.document(4), "person": {"name": "Eve"}}
    assert marks.callers_labels(row.labels) == {"color": "red"}
    assert (row.expire_time, row.ttl_ms, row.create_time) == (before.expire_time, 60_000, before.create_time)
    assert (row.version, result.expire_time) == (written.version, before.expire_time)
    await daemons[2].patch({}, 1, ttl_ms=5_000)
    assert (await daemons[4].row()).ttl_ms == 5_000


async def test_a_slow_update_slides_the_end_as_any_does(store: Store, clock: ManualClock, fleet: FakeFleet) -> None:
    daemon = Daemon(store, clock, 4, fleet, policy=Policy(ttl_ms=60_000, sliding=True))
    await daemon.set(NEW.document(4), 4)
    clock.advance(10_000)
    await daemon.patch({"a": 1})
    assert (await daemon.row()).expire_time == clock.now() + 60_000


async def test_an_update_that_creates_is_stored_in_what_all_know(daemons: dict[int, Daemon]) -> None:
    await daemons[4].append({"body": "a", "rank": 5}, create=True)

    row = await daemons[4].row()
    assert (row.schema_version, row.content_type, json.loads(row.value)) == (1, JSON, [{"text": "a"}])
    assert await daemons[4].document() == [{"body": "a", "rank": 5}]
    assert (await refused(daemons[4].append(1, key="other"), "KEY_NOT_FOUND")).metadata == {}


async def test_a_refused_update_is_refused_again_under_its_request_id(daemons: dict[int, Daemon]) -> None:
    await daemons[4].set({"a": 1}, 4)
    await refused(daemons[4].append(1, request_id="r"), "NOT_A_JSON_ARRAY")
    await daemons[4].set([], 4)
    await refused(daemons[4].append(1, request_id="r"), "NOT_A_JSON_ARRAY")
    assert await daemons[4].document() == []

    counter = Change(key="n", change=Increment(delta=1, maximum=1), create=True)
    await daemons[4].write(counter)
    error = await refused(daemons[4].write(counter, request_id="n"), "COUNTER_OUT_OF_BOUNDS")
    await daemons[4].set(b"0", 4, key="n")
    again = await refused(daemons[4].write(counter, request_id="n"), "COUNTER_OUT_OF_BOUNDS")
    assert again.metadata == error.metadata


async def test_an_update_that_was_made_tells_its_value_again(daemons: dict[int, Daemon]) -> None:
    await daemons[4].set([], 4)
    first = await daemons[4].append({"body": "a", "rank": 5}, return_value=True, request_id="r")
    again = await daemons[4].append({"body": "a", "rank": 5}, return_value=True, request_id="r")

    assert json.loads(first.results[0].value or b"") == [{"body": "a", "rank": 5}]
    assert (again.version, again.results) == (first.version, first.results)
    assert len(await daemons[4].document()) == 1


# ---- transactions


async def test_a_transaction_converts_each_operation_by_itself(daemons: dict[int, Daemon]) -> None:
    await daemons[4].set(NEW.document(4), 4, key="a")
    await daemons[4].set([turn_in(turn("x", rank=9), 4)], 4, key="b")
    version = await daemons[4].set(b"plain", 0, key="c")
    await daemons[4].set(b"{}", 1, key="d")

    written = await daemons[3].write(
        Put(key="a", value=dumped({"name": "Eve", "log": []}), schema_version=1),
        Change(key="b", change=Append(items=({"text": "y"},)), schema_version=2, return_value=True),
        Check(key="c", expected_version=version),
        Remove(key="d"),
        Put(key="e", value=b"as it is"),
    )

    assert len(written.results) == 5
    assert json.loads(written.results[1].value or b"") == [{"text": "x", "done": False, "seen": False}, {"text": "y"}]
    seen = await daemons[4].document(key="a")
    assert (seen["person"], seen["mood"], seen["tags"], seen["locale"]) == ({"name": "Eve"}, "glad", ["t"], "fr")
    assert [each["rank"] for each in await daemons[4].document(key="b")] == [9, 0]
    assert (await daemons[4].read("d")).lookups[0].entry is None
    assert (await daemons[4].row("e")).value == b"as it is"


async def test_a_guard_of_the_callers_own_is_refused_as_ever(daemons: dict[int, Daemon]) -> None:
    version = await daemons[4].set({"a": 1}, 4, key="a")
    put = Put(key="b", value=b"{}", schema_version=4)
    lost = Put(key="a", value=b"{}", schema_version=4, expected_version=version - 1)
    cases: dict[str, tuple[Put | Check, ...]] = {
        "check": (put, Check(key="a", expected_version=0)),
        "cas of two": (put, lost),
        "cas": (lost,),
    }
    for name, operations in cases.items():
        for _ in range(2):
            with pytest.raises(VersionConflict) as caught:
                await daemons[4].write(*operations, request_id=name)
            assert caught.value.current_version == version
            assert caught.value.metadata.get("operation") == (None if name == "cas" else "1")
    await daemons[4].write(Remove(key="a"))
    with pytest.raises(VersionConflict):  # it was refused under this id: a late duplicate is refused, too
        await daemons[4].write(*cases["check"], request_id="check")
    assert (await daemons[4].read("b")).lookups[0].entry is None
    created = Put(key="a", value=dumped(NEW.document(4)), schema_version=4, expected_version=0)
    await daemons[4].write(created)
    assert (await daemons[4].row("a")).schema_version == 1


# ---- without schemas


async def test_a_namespace_without_schemas_is_as_it_was(daemons: dict[int, Daemon]) -> None:
    daemon = daemons[2]
    await daemon.write(Put(key="key", value=b"no json", schema_version=7), namespace=PLAIN)
    await daemon.write(Change(key="n", change=Increment(delta=1), create=True, schema_version=9), namespace=PLAIN)

    [lookup] = (await daemon.read("key", namespace=PLAIN)).lookups
    assert lookup.entry is not None
    assert (lookup.entry.value, lookup.entry.schema_version) == (b"no json", 7)
    assert (await daemon.read("key", namespace=PLAIN, maximum=7)).lookups == (lookup,)
    error = await refused(daemon.read("n", "key", namespace=PLAIN, maximum=6), "SCHEMA_TOO_NEW")
    assert error.metadata == {"schema_version": "7", "max_schema_version": "6", "key": "key"}


async def test_what_is_kept_beside_a_value_must_be_what_was_kept(daemons: dict[int, Daemon]) -> None:
    await daemons[4].store_row({}, 1, marks={marks.SCHEMA: "no json"})
    with pytest.raises(DataLoss):
        await daemons[4].entry()


async def test_what_a_value_has_beside_it_is_bounded(store: Store, clock: ManualClock, fleet: FakeFleet) -> None:
    policy = Policy(on_outage=OnOutage.REJECT, value_bytes_max=200_000)
    daemon = Daemon(store, clock, 4, fleet, policy=policy)
    wide = "\u2028" * 60_000
    await daemon.set(json.dumps({"tags": [wide]}, ensure_ascii=False).encode(), 4)
    with pytest.raises(InvalidRequest) as caught:
        await daemon.set(json.dumps({"mood": wide}, ensure_ascii=False).encode(), 3)
    assert caught.value.reason == "VALUE_TOO_LARGE"


async def test_contended_keys_are_told_so(daemons: dict[int, Daemon]) -> None:
    daemon = daemons[4]
    await daemon.set({}, 1)
    rows = daemon.placement.rows

    async def overtaken(namespace: str, keys: list[str]) -> Any:
        found = await rows(namespace, keys)
        await daemons[1].store_row({}, 1)
        return found

    daemon.placement.rows = overtaken  # type: ignore[method-assign,assignment]  # somebody is always faster
    with pytest.raises(SchemaDiffers) as caught:
        await daemon.set({}, 4, request_id="r")
    assert caught.value.reason == "SCHEMA_CONTENDED"
    del daemon.placement.rows
    assert await daemon.set({}, 4, request_id="r"), "nothing was kept against the request"
