"""Daemons that convert, keep or guard values of several schemas wrongly, and the test that has to catch each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sidecar.core import checkpoints, decide, marks, patches, schema
from sidecar.core.entry import Entry
from sidecar.core.operations import Put, Relocate, Write
from sidecar.core.schema import Forms, Schemas
from sidecar.engine.schemas import views, writing
from sidecar.tiers.placement import Placement
from tests.properties import test_schema_properties as properties
from tests.unit import test_schema_engine as engine
from tests.unit import test_schema_engine_stored as stored

Patch = Callable[[Any, str, Any], None]
"""`monkeypatch.setattr`."""


@dataclass(frozen=True)
class Wrong:
    """What is put wrong, and the test that has to fail."""

    plant: Callable[[Patch], None]
    caught_by: Callable[..., Any]

    @property
    def name(self) -> str:
        return self.plant.__name__


def old_writer_drops_what_it_does_not_know(patch: Patch) -> None:
    patch(writing._Work, "_kept", lambda self, row, level: None if row is None else Forms(level, {}, {}))


def what_a_newer_schema_drops_is_gone(patch: Patch) -> None:
    raised = schema._raised

    def wrong(schemas: Schemas, forms: Forms) -> Forms:
        made = raised(schemas, forms)
        return Forms(made.level, made.document, {at: rest for at, rest in made.rests.items() if at > made.level})

    patch(schema, "_raised", wrong)


def elements_are_found_by_their_place(patch: Patch) -> None:
    def placed(base: list[Any], named: list[Any]) -> Iterator[tuple[int, Any]]:
        return ((each.at, each.patch) for each in named if each.at < len(base))

    patch(patches, "_placed", placed)


def elements_that_fell_off_the_front_come_back(patch: Patch) -> None:
    placed = patches._placed

    def wrong(base: list[Any], named: list[Any]) -> Iterator[tuple[int, Any]]:
        found = dict(placed(base, named))
        yield from found.items()
        rest = (place for place in range(len(base)) if place not in found)
        yield from zip(rest, (each.patch for each in named if each.patch not in found.values()), strict=False)

    patch(patches, "_placed", wrong)


def what_is_beyond_is_put_on_any_base(patch: Patch) -> None:
    patch(patches, "digest", lambda value: "same" if not isinstance(value, dict) else str(sorted(value)))


def one_is_true(patch: Patch) -> None:
    patch(patches, "same", lambda one, other: one == other)


def reader_gets_what_it_does_not_understand(patch: Patch) -> None:
    patch(schema, "wanted_level", lambda schemas, level, maximum: max(level, maximum))


def reader_gets_the_schema_of_the_row(patch: Patch) -> None:
    converted = schema._converted
    patch(schema, "_converted", lambda *asked: converted(*asked)._replace(schema_version=asked[1].schema_version))


def floor_is_ignored(patch: Patch) -> None:
    as_written = schema.as_written
    patch(schema, "as_written", lambda schemas, forms, floor: as_written(schemas, forms, schemas.version))


def the_usual_way_is_taken_whatever_is_there(patch: Patch) -> None:
    patch(decide, "_check_schema", lambda write, entry: None)


def upgrade_is_a_new_version(patch: Patch) -> None:
    async def relocate(self: Placement, write: Write) -> Any:
        [moved] = write.operations
        assert isinstance(moved, Relocate)
        put = Put(
            key=moved.key,
            value=moved.value,
            schema_version=moved.schema_version or 0,
            marks=moved.marks,
            expected_version=moved.expected_version,
        )
        return await self.commit(dataclasses.replace(write, operations=(put,)))

    patch(Placement, "relocate", relocate)


def upgrade_is_not_guarded_by_the_schema(patch: Patch) -> None:
    relocated = schema.relocated
    patch(schema, "relocated", lambda *asked: dataclasses.replace(relocated(*asked), expected_schema=None))


def upgrade_forgets_what_is_beyond(patch: Patch) -> None:
    relocated = schema.relocated
    patch(schema, "relocated", lambda *asked: dataclasses.replace(relocated(*asked), marks={}))


def upgrade_leaves_the_caches(patch: Patch) -> None:
    async def forget(*_: Any) -> None:
        """Nothing."""

    patch(Placement, "forget", forget)


def everybody_upgrades(patch: Patch) -> None:
    patch(views.Views, "_begin", lambda *_: True)


def our_guards_refusal_is_kept(patch: Patch) -> None:
    replace = dataclasses.replace

    def wrong(what: Any, **changes: Any) -> Any:
        return replace(what, **(changes | ({"tentative": False} if "tentative" in changes else {})))

    patch(writing, "replace", wrong)


def our_guards_refusal_is_the_callers(patch: Patch) -> None:
    patch(writing._Prepared, "lost", lambda *_: False)


def refusal_is_not_kept(patch: Patch) -> None:
    refuse = writing._refuse

    async def wrong(placement: Placement, write: Write, refusal: Any, **_: Any) -> Any:
        return await refuse(placement, write, refusal, keep=False)

    patch(writing, "_refuse", wrong)


def refusal_without_asking_what_the_id_did(patch: Patch) -> None:
    async def wrong(_: Any, __: Any, refusal: Any, **___: Any) -> None:
        raise refusal

    patch(writing, "_refuse", wrong)


def writes_are_not_guarded(patch: Patch) -> None:
    prepared = writing._Work.prepared

    def wrong(self: Any, rows: Any, now: int) -> Any:
        made = prepared(self, rows, now)
        free = [
            dataclasses.replace(one, expected_version=None) if isinstance(one, Put) and one.key in made.guards else one
            for one in made.operations
        ]
        return dataclasses.replace(made, operations=tuple(free))

    patch(writing._Work, "prepared", wrong)


def what_is_the_same_beyond_is_not_said_again(patch: Patch) -> None:
    make = writing._Work._stored

    def wrong(self: Any, put: Put, row: Entry | None, *rest: Any) -> Put:
        made: Put = make(self, put, row, *rest)
        before = "" if row is None else row.labels.get(marks.SCHEMA, "")
        return dataclasses.replace(made, marks={}) if made.marks.get(marks.SCHEMA) == before else made

    patch(writing._Work, "_stored", wrong)


def slow_update_is_a_new_ttl(patch: Patch) -> None:
    patch(decide, "_changed_end", lambda write, operation, entry, now: (None, None))


def told_value_is_the_stored_one(patch: Patch) -> None:
    make = writing._Work._stored

    def wrong(self: Any, *asked: Any) -> Put:
        made: Put = make(self, *asked)
        return dataclasses.replace(made, told=made.value)

    patch(writing._Work, "_stored", wrong)


def checkpoint_forgets_what_is_beyond(patch: Patch) -> None:
    document = checkpoints.document

    def wrong(entries: list[Entry]) -> bytes:
        return document([entry._replace(labels=marks.without(entry.labels, marks.SCHEMA)) for entry in entries])

    patch(checkpoints, "document", wrong)


KEEPS = engine.test_every_writer_keeps_what_it_does_not_know_and_every_reader_sees_its_own
APPENDS = engine.test_appends_and_drops_of_old_writers_leave_the_rest_of_each_element

WRONG = [
    Wrong(old_writer_drops_what_it_does_not_know, KEEPS),
    Wrong(what_a_newer_schema_drops_is_gone, KEEPS),
    Wrong(elements_are_found_by_their_place, APPENDS),
    Wrong(elements_that_fell_off_the_front_come_back, APPENDS),
    Wrong(what_is_beyond_is_put_on_any_base, KEEPS),
    Wrong(one_is_true, properties.test_a_patch_makes_one_value_of_the_other),
    Wrong(reader_gets_what_it_does_not_understand, KEEPS),
    Wrong(reader_gets_the_schema_of_the_row, KEEPS),
    Wrong(floor_is_ignored, engine.test_a_value_is_stored_in_what_all_know),
    Wrong(the_usual_way_is_taken_whatever_is_there, KEEPS),
    Wrong(
        upgrade_is_a_new_version, stored.test_a_value_that_is_read_follows_the_floor_and_nothing_has_changed_for_anybody
    ),
    Wrong(upgrade_is_not_guarded_by_the_schema, stored.test_an_upgrade_that_comes_too_late_changes_nothing),
    Wrong(
        upgrade_forgets_what_is_beyond,
        stored.test_a_value_that_is_read_follows_the_floor_and_nothing_has_changed_for_anybody,
    ),
    Wrong(upgrade_leaves_the_caches, stored.test_a_cached_copy_of_before_is_forgotten),
    Wrong(everybody_upgrades, stored.test_one_reader_at_a_time_upgrades_a_key),
    Wrong(our_guards_refusal_is_kept, stored.test_a_guard_of_ours_that_fails_is_nobodys_business),
    Wrong(our_guards_refusal_is_the_callers, stored.test_a_guard_of_ours_that_fails_is_nobodys_business),
    Wrong(refusal_is_not_kept, engine.test_a_refused_update_is_refused_again_under_its_request_id),
    Wrong(
        refusal_without_asking_what_the_id_did,
        stored.test_a_repeated_write_is_told_what_it_did_whatever_is_there_by_now,
    ),
    Wrong(writes_are_not_guarded, stored.test_a_guard_of_ours_that_fails_is_nobodys_business),
    Wrong(
        what_is_the_same_beyond_is_not_said_again, stored.test_a_value_that_moves_between_read_and_commit_loses_nothing
    ),
    Wrong(slow_update_is_a_new_ttl, engine.test_an_update_is_made_in_the_schema_that_it_is_meant_for),
    Wrong(told_value_is_the_stored_one, engine.test_an_update_that_was_made_tells_its_value_again),
    Wrong(checkpoint_forgets_what_is_beyond, stored.test_automatic_checkpoints_have_it_too),
]
