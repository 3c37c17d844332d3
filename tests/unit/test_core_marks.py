"""Marks: hidden labels, and what a decision does with them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.core import marks
from sidecar.core.decide import Decided, decide
from sidecar.core.entry import Entry, version_of
from sidecar.core.errors import DataLoss, InvalidRequest, ValueAway, VersionConflict
from sidecar.core.limits import Limits, check_labels
from sidecar.core.marks import Pointer
from sidecar.core.operations import Append, Change, MergePatch, Operation, Put, Relocate
from tests.support.factories import entry, write

NOW = 5_000
VERSION = version_of(1, 10)
POINTER = Pointer("store/name", 7, "ab" * 32, archived=False)


def decided(operation: Operation, before: Entry | None, *, every: int = 0) -> Decided:
    """A decision about `key`."""
    asked = replace(write(operation), checkpoint_every=every)
    return decide(asked, {"key": before}, now=NOW, version=VERSION)


def made(operation: Operation, before: Entry | None, *, every: int = 0) -> Entry:
    """The entry that it makes."""
    (copy,) = decided(operation, before, every=every).copies
    assert isinstance(copy, Entry)
    return copy


@pytest.mark.parametrize("archived", [True, False])
def test_a_pointer_survives_being_a_mark(archived: bool) -> None:
    pointer = replace(POINTER, archived=archived)

    assert marks.pointer_of(entry(labels={marks.BLOB: pointer.text, "a": "b"})) == pointer


@pytest.mark.parametrize("text", ["", "large", "large x ab name", "other 7 ab name", "large 7 ab name more"])
def test_a_pointer_that_does_not_verify_is_data_loss(text: str) -> None:
    with pytest.raises(DataLoss):
        marks.pointer_of(entry(labels={marks.BLOB: text}))


def test_callers_can_neither_set_nor_see_marks() -> None:
    with pytest.raises(InvalidRequest, match="control character"):
        check_labels({marks.UPDATES: "1"}, Limits())
    assert marks.callers_labels({marks.UPDATES: "1", "a": "b"}) == {"a": "b"}


def test_an_entry_without_marks_has_the_labels_of_its_writer_alone() -> None:
    assert made(Put(key="key", value=b"v", labels={"a": "b"}), entry(labels={"c": "d"})).labels == {"a": "b"}


def test_updates_are_counted_over_every_kind_of_change_where_checkpoints_are_automatic() -> None:
    first = made(Put(key="key", value=b"[]"), None, every=5)
    second = made(Change(key="key", change=Append(items=(1,))), first, every=5)
    third = made(Put(key="key", value=b"{}", labels={"a": "b"}), second, every=5)
    fourth = made(Change(key="key", change=MergePatch(patch={"x": 1})), third, every=5)

    assert [marks.updates_of(each) for each in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert marks.callers_labels(fourth.labels) == {"a": "b"}


def test_updates_are_not_counted_elsewhere_and_not_forgotten() -> None:
    counted = entry(value=b"{}", labels={marks.UPDATES: "3"})

    assert marks.updates_of(made(Put(key="key", value=b"v"), None)) == 0
    assert marks.updates_of(made(Put(key="key", value=b"v"), counted)) == 3
    assert marks.updates_of(made(Change(key="key", change=MergePatch(patch={})), counted)) == 3


def test_where_an_entry_was_restored_from_is_inherited() -> None:
    restored = made(Put(key="key", value=b"v", marks={marks.RESTORED: "id 1"}), None)

    assert made(Put(key="key", value=b"w"), restored).labels == {marks.RESTORED: "id 1"}


def test_where_a_value_is_is_not_inherited() -> None:
    away = entry(value=b"", labels={marks.BLOB: POINTER.text, marks.WOKEN: "5"})

    assert made(Put(key="key", value=b"v"), away).labels == {}


def test_a_value_that_is_away_is_not_changed_in_place() -> None:
    with pytest.raises(ValueAway) as caught:
        decided(Change(key="key", change=Append(items=(1,))), entry(value=b"", labels={marks.BLOB: POINTER.text}))

    assert caught.value.key == "key"


def test_a_value_is_kept_elsewhere_under_the_same_version_and_nobody_is_told() -> None:
    before = entry(value=b"a value", labels={"a": "b", marks.UPDATES: "3", marks.WOKEN: "5"})
    away = Relocate(key="key", expected_version=before.version, value=b"", marks={marks.BLOB: POINTER.text})

    result = decided(away, before)
    (there,) = result.quiet
    back = decided(Relocate(key="key", expected_version=before.version, value=b"a value"), there)

    assert result.copies == ()
    assert back.copies == ()
    assert result.results[0].version == 0
    assert there == before._replace(value=b"", labels={"a": "b", marks.UPDATES: "3", marks.BLOB: POINTER.text})
    assert back.quiet == (before._replace(labels={"a": "b", marks.UPDATES: "3"}),)


@pytest.mark.parametrize("before", [None, entry(version=version_of(1, 9)), entry(version=1, expire_time=NOW)])
def test_what_has_changed_is_not_relocated(before: Entry | None) -> None:
    with pytest.raises(VersionConflict):
        decided(Relocate(key="key", expected_version=1, value=b""), before)


def test_nothing_that_is_absent_is_relocated() -> None:
    with pytest.raises(VersionConflict):
        decided(Relocate(key="key", expected_version=0, value=b""), None)


def test_a_value_that_came_back_is_as_it_was() -> None:
    away = entry(value=b"", labels={marks.BLOB: POINTER.text, "a": "b"})

    assert marks.with_value(away, b"a value") == entry(value=b"a value", labels={"a": "b"})
