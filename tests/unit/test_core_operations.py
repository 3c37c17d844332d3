"""`decide` alone: what can't be seen through a store."""

from __future__ import annotations

import pytest

from sidecar.core.decide import decide
from sidecar.core.entry import Tombstone, version_of
from sidecar.core.errors import VersionConflict
from sidecar.core.operations import JSON_CONTENT_TYPE, Append, Change, Check, Increment, OperationResult, Put, Remove
from sidecar.core.store import Swept
from tests.support.factories import NAMESPACE, entry, tombstone, write

NOW = 5_000
VERSION = version_of(1, 10)


def test_a_write_to_an_unknown_key_needs_no_row() -> None:
    decided = decide(write(Put(key="a", value=b"v")), {}, now=NOW, version=VERSION)

    (copy,) = decided.copies
    assert copy == entry(key="a", value=b"v", version=VERSION, create_time=NOW, update_time=NOW)
    assert decided.results == (OperationResult(found=False, version=VERSION),)


def test_what_changes_nothing_leaves_no_copy() -> None:
    decided = decide(write(Remove(key="a"), Check(key="b", expected_version=0)), {}, now=NOW, version=VERSION)

    assert decided.copies == ()
    assert [result.version for result in decided.results] == [0, 0]


def test_a_deletion_leaves_a_tombstone_of_the_time_and_version() -> None:
    decided = decide(write(Remove(key="key")), {"key": entry()}, now=NOW, version=VERSION)

    assert decided.copies == (Tombstone(namespace=NAMESPACE, key="key", version=VERSION, delete_time=NOW),)


def test_a_created_json_value_says_so() -> None:
    operation = Change(key="key", change=Append(items=(1,)), create=True)

    decided = decide(write(operation), {"key": tombstone()}, now=NOW, version=VERSION)

    (copy,) = decided.copies
    assert copy == entry(
        value=b"[1]", version=VERSION, create_time=NOW, update_time=NOW, content_type=JSON_CONTENT_TYPE
    )


def test_the_first_refusal_in_order_is_the_one_that_is_told() -> None:
    operations = (Check(key="a", expected_version=1), Check(key="b", expected_version=2))

    with pytest.raises(VersionConflict) as caught:
        decide(write(*operations), {}, now=NOW, version=VERSION)

    assert (caught.value.key, caught.value.metadata["operation"]) == ("a", "0")


def test_an_older_epoch_is_an_ordinary_conflict() -> None:
    with pytest.raises(VersionConflict):
        decide(
            write(Check(key="key", expected_version=version_of(0, 99))),
            {"key": entry(version=version_of(1, 1))},
            now=NOW,
            version=VERSION,
        )


def test_a_guard_of_the_own_epoch_above_all_versions_is_a_conflict() -> None:
    with pytest.raises(VersionConflict) as caught:
        decide(
            write(Check(key="key", expected_version=VERSION + 5)), {"key": entry(version=9)}, now=NOW, version=VERSION
        )

    assert caught.value.current_version == 9


def test_an_update_does_not_touch_the_row_that_it_was_given() -> None:
    before = entry(value=b"1", labels={"a": "b"})
    decide(write(Change(key="key", change=Increment(delta=1))), {"key": before}, now=NOW, version=VERSION)

    assert before == entry(value=b"1", labels={"a": "b"})


@pytest.mark.parametrize(
    ("swept", "reached"),
    [
        (Swept(), False),
        (Swept(tombstones=2), False),
        (Swept(tombstones=3), True),
        (Swept(requests=3), True),
        (Swept(changes=4), True),
        (Swept(expired=(tombstone(),) * 3), True),
    ],
)
def test_a_sweep_that_reached_its_limit_has_more_to_do(swept: Swept, reached: bool) -> None:
    assert swept.reached(3) is reached
