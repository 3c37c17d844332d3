"""Entries, tombstones and versions."""

from __future__ import annotations

import pytest

from sidecar.core.entry import EPOCH_SHIFT, SEQUENCE_MASK, epoch_of, live, version_of
from sidecar.core.keys import prefix_end
from sidecar.core.limits import VERSION_MAX
from tests.support.factories import entry, tombstone


def test_a_version_is_its_epoch_and_its_sequence() -> None:
    assert version_of(3, 5) == 3 << 48 | 5
    assert epoch_of(version_of(3, 5)) == 3
    assert version_of(3, 5) & SEQUENCE_MASK == 5


def test_a_later_epoch_is_greater_whatever_the_sequence() -> None:
    assert version_of(1, 1) > version_of(0, SEQUENCE_MASK)


def test_the_greatest_version_is_an_int64() -> None:
    assert version_of((1 << (63 - EPOCH_SHIFT)) - 1, SEQUENCE_MASK) == VERSION_MAX


@pytest.mark.parametrize("sequence", [0, -1, SEQUENCE_MASK + 1])
def test_a_sequence_out_of_range_is_a_programmers_error(sequence: int) -> None:
    with pytest.raises(AssertionError):
        version_of(0, sequence)


@pytest.mark.parametrize(("now", "gone"), [(999, False), (1000, True), (1001, True)])
def test_an_entry_is_gone_at_its_expire_time(now: int, gone: bool) -> None:
    copy = entry(expire_time=1000)

    assert copy.expired(now) is gone
    assert live(copy, now) is (None if gone else copy)


def test_an_entry_without_end_is_never_gone() -> None:
    assert not entry().expired(1 << 62)


@pytest.mark.parametrize("copy", [tombstone(), None], ids=["tombstone", "never"])
def test_what_is_no_entry_is_not_live(copy: object) -> None:
    assert live(copy, 0) is None  # type: ignore[arg-type]  # both are copies


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("", None),
        ("a", "b"),
        ("ab", "ac"),
        ("a\U0010ffff", "b"),
        ("a\U0010ffff\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("\U0010ffff\U0010ffff", None),
        ("\ud7ff", "\ue000"),
        ("a\ud7ff\U0010ffff", "a\ue000"),
        ("\x7f", "\x80"),
        ("\uffff", "\U00010000"),
        ("a\0", "a\x01"),
    ],
    ids=repr,
)
def test_the_end_of_a_prefix_is_the_least_string_above_it(prefix: str, end: str | None) -> None:
    assert prefix_end(prefix) == end
