"""What becomes of a buffered Set when the authority answers again, by policy and by what is there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.core.entry import Copy
from sidecar.core.hlc import HLC_LABEL, entry_hlc, hlc_label, hlc_of
from sidecar.core.journal import Base, Buffering, Settlement
from sidecar.core.operations import Append, Change, Put
from sidecar.core.policy import Reconcile
from sidecar.core.reconcile import Commit, Dead, reconcile
from tests.support.clock import START_MS
from tests.support.factories import NAMESPACE, entry, request, tombstone

NOW = START_MS + 60_000
"""When the authority is back: a minute after the write."""
ABSENT = Base(version=0, value=None)
GRAVE = Base(version=8, value=None)
"""That the key was deleted is known by its tombstone."""
REBASED = -1
"""The version of a base that another buffered write makes."""
POLICIES = list(Reconcile)


def buffered(value: Any = "ours", *, base: Base | None = None, hlc: int = hlc_of(START_MS), **fields: Any) -> Buffering:
    """A Set of a value, taken at the start."""
    put = Put(**{"key": "key", "value": text(value)} | fields)
    return Buffering(namespace=NAMESPACE, operation=put, request=request("id"), base=base, hlc=hlc, time=START_MS)


def text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def settle(policy: Reconcile, write: Buffering, current: Copy | None, **fields: Any) -> Commit | Dead:
    plain = {"now": NOW, "sliding": False, "ttl_default_ms": None, "value_bytes_max": 1000}
    return reconcile(policy, write, current, **plain | fields)


def committed(policy: Reconcile, write: Buffering, current: Copy | None, **fields: Any) -> Commit:
    done = settle(policy, write, current, **fields)
    assert isinstance(done, Commit), done
    return done


def dead(policy: Reconcile, write: Buffering, current: Copy | None, **fields: Any) -> Dead:
    done = settle(policy, write, current, **fields)
    assert isinstance(done, Dead), done
    return done


def there(value: Any = "theirs", version: int = 9, **fields: Any) -> Any:
    return entry(value=text(value), version=version, **fields)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("base", "current", "guard"),
    [
        (Base(version=9, value=text("theirs")), there(), 9),
        (Base(version=9, value=None), there(), 9),
        (ABSENT, None, 0),
        (ABSENT, tombstone(version=8), 0),
        (ABSENT, there(expire_time=NOW), 0),
        (GRAVE, tombstone(version=8), 0),
        (GRAVE, None, 0),
        (None, None, 0),
        (None, tombstone(version=8), 0),
        (Base(version=9, value=b"1"), there(expire_time=NOW), 0),
    ],
    ids=[
        "same",
        "no value kept",
        "absent",
        "deleted before",
        "ended",
        "its grave",
        "its grave is gone",
        "unknown",
        "unknown, deleted",
        "base ended",
    ],
)
def test_a_write_whose_base_is_still_there_is_applied(
    policy: Reconcile, base: Base | None, current: Copy | None, guard: int
) -> None:
    write = buffered(base=base, labels={"mine": "1"}, content_type="text/x", schema_version=3)

    done = committed(policy, write, current)

    assert done.settlement is Settlement.APPLIED
    assert (done.put.key, done.put.value, done.put.expected_version) == ("key", text("ours"), guard)
    assert (done.put.content_type, done.put.schema_version, done.put.labels["mine"]) == ("text/x", 3, "1")


@pytest.mark.parametrize("policy", [Reconcile.LAST_WRITE_WINS, Reconcile.MERGE])
def test_what_is_applied_keeps_when_it_was_made(policy: Reconcile) -> None:
    write = buffered(hlc=hlc_of(START_MS) + 5)

    put = committed(policy, write, None).put

    assert entry_hlc(entry(value=put.value, labels=put.labels, update_time=NOW)) == write.hlc


def test_rejecting_leaves_the_labels_as_they_were_given() -> None:
    assert committed(Reconcile.REJECT, buffered(labels={"mine": "1"}), None).put.labels == {"mine": "1"}


@pytest.mark.parametrize(
    ("base", "current"),
    [
        (Base(version=8, value=text("x")), there()),
        (ABSENT, there()),
        (None, there()),
        (Base(version=8, value=text("x")), tombstone(version=9)),
        (Base(version=8, value=text("x")), there(expire_time=NOW)),
        (Base(version=8, value=text("x")), None),
        (GRAVE, tombstone(version=9)),
        (GRAVE, there()),
        (Base(version=REBASED, value=text("x")), there()),
        (Base(version=REBASED, value=text("x")), tombstone(version=9)),
    ],
    ids=[
        "changed",
        "made",
        "unknown",
        "deleted",
        "changed, ended",
        "gone",
        "deleted again",
        "made again",
        "follows another",
        "follows a deleted one",
    ],
)
def test_rejecting_is_dead_where_somebody_else_was_there(base: Base | None, current: Copy | None) -> None:
    assert dead(Reconcile.REJECT, buffered(base=base), current).reason == "VERSION_MISMATCH"


@pytest.mark.parametrize("policy", POLICIES)
def test_writes_of_one_journal_stand_on_each_other(policy: Reconcile) -> None:
    """The second saw what the first wrote, and no version of it: the authority had given it none."""
    first = buffered([1, 2], base=Base(version=3, value=text([1])))
    second = buffered([1, 2, 3], base=Base(version=REBASED, value=text([1, 2])), hlc=first.hlc + 1)

    one = committed(policy, first, there([1], version=3))
    two = committed(policy, second, there([1, 2], version=4, labels=one.put.labels))

    assert one.settlement is two.settlement is Settlement.APPLIED
    assert (json.loads(two.put.value), two.put.expected_version) == ([1, 2, 3], 4)


def test_a_set_follows_an_update_of_the_same_journal_that_was_done_again_late() -> None:
    """Done again, the update has the time of now, and the Set behind it doesn't lose to that."""
    base = Base(version=REBASED, value=text([1]))
    late: dict[str, Any] = {"update_time": NOW, "labels": hlc_label(hlc_of(START_MS) - 1, text([]))}
    another_s: dict[str, Any] = {"update_time": NOW, "labels": hlc_label(hlc_of(START_MS) + 1, text([1]))}

    assert isinstance(settle(Reconcile.LAST_WRITE_WINS, buffered(base=base), there([1], **late)), Commit)
    assert dead(Reconcile.LAST_WRITE_WINS, buffered(base=base), there([2], **late)).reason == "SUPERSEDED"
    assert dead(Reconcile.LAST_WRITE_WINS, buffered(base=base), there([1], **another_s)).reason == "SUPERSEDED"


def test_the_same_value_under_a_later_version_is_no_base_where_time_decides() -> None:
    write = buffered(base=Base(version=3, value=text("theirs")))

    assert dead(Reconcile.LAST_WRITE_WINS, write, there(update_time=NOW)).reason == "SUPERSEDED"


@pytest.mark.parametrize(
    ("ahead", "reason"), [(hlc_of(1), None), (1, None), (0, None), (-1, "SUPERSEDED"), (-hlc_of(1), "SUPERSEDED")]
)
@pytest.mark.parametrize(
    "current",
    [there("a"), there("a", labels=hlc_label(hlc_of(START_MS), text("a")), update_time=NOW), tombstone(version=9)],
    ids=["an ordinary write", "a replayed one", "a deletion"],
)
def test_the_later_write_wins(current: Copy, ahead: int, reason: str | None) -> None:
    """Of an instant, the greater value: "ours" is greater than "a"."""
    write = buffered(base=Base(version=3, value=text("x")), hlc=hlc_of(START_MS) + ahead)

    done = settle(Reconcile.LAST_WRITE_WINS, write, current)

    assert getattr(done, "reason", None) == reason


def test_of_one_instant_the_greater_value_wins_and_the_same_is_written_again() -> None:
    for value, applied in (("a", False), ("theirs", True), ("z", True)):
        done = settle(Reconcile.LAST_WRITE_WINS, buffered(value), there("theirs"))
        assert isinstance(done, Commit) == applied, value


def test_an_update_of_a_replayed_value_is_the_later_write() -> None:
    """It keeps the labels: the one of the replay is about another value."""
    label = hlc_label(hlc_of(START_MS) - 1, text(1))
    changed = there(2, labels=label, update_time=START_MS + 1)

    assert dead(Reconcile.LAST_WRITE_WINS, buffered(), changed).reason == "SUPERSEDED"


def test_a_later_entry_that_has_ended_still_supersedes_and_one_long_gone_doesn_t() -> None:
    base = Base(version=3, value=b"1")
    ended = there(update_time=START_MS + 1, expire_time=NOW)

    assert dead(Reconcile.LAST_WRITE_WINS, buffered(base=base), ended).reason == "SUPERSEDED"
    assert committed(Reconcile.LAST_WRITE_WINS, buffered(base=base), None).put.expected_version == 0


def test_merging_puts_both_sides_changes_together() -> None:
    base = Base(version=3, value=text({"turns": ["hi"], "n": 1}))
    write = buffered({"turns": ["hi", "ours"], "n": 2}, base=base, labels={"a": "ours", "b": "ours"}, hlc=7)
    current = there({"turns": ["hi", "theirs"], "n": 2, "x": 0}, labels={"a": "theirs", "c": "theirs"})

    done = committed(Reconcile.MERGE, write, current)

    assert done.settlement is Settlement.MERGED
    assert json.loads(done.put.value) == {"turns": ["hi", "theirs", "ours"], "n": 3, "x": 0}
    assert done.put.expected_version == 9
    label = done.put.labels[HLC_LABEL]
    assert done.put.labels == {"a": "ours", "b": "ours", "c": "theirs", HLC_LABEL: label}
    assert entry_hlc(entry(value=done.put.value, labels=done.put.labels)) == entry_hlc(current), "the later of both"


@pytest.mark.parametrize("base", [ABSENT, GRAVE], ids=["absent", "deleted"])
def test_both_having_made_the_key_merges_what_both_made(base: Base) -> None:
    done = committed(Reconcile.MERGE, buffered({"n": 2, "l": [1]}, base=base), there({"n": 3, "l": [1]}))

    assert json.loads(done.put.value) == {"n": 5, "l": [1, 1]}


def test_merging_where_nothing_was_known_doubles_nothing() -> None:
    """A writer that never read the key sends the conversation as a whole: its beginning is no addition."""
    write = buffered({"turns": ["hi", "ho"], "mine": 1})

    done = committed(Reconcile.MERGE, write, there({"turns": ["hi"], "theirs": 2}))

    assert done.settlement is Settlement.MERGED
    assert json.loads(done.put.value) == {"turns": ["hi", "ho"], "mine": 1, "theirs": 2}
    assert dead(Reconcile.MERGE, buffered({"n": 1}), there({"n": 2})).reason == "MERGE_CONFLICT"


@pytest.mark.parametrize(
    ("ours", "base", "current", "reason", "words"),
    [
        ({"a": "x"}, {"a": "b"}, there({"a": "y"}), "MERGE_CONFLICT", "$.a"),
        ({"a": "x"}, {"a": "b"}, tombstone(version=9), "MERGE_CONFLICT", "deleted"),
        ({"a": "x"}, {"a": "b"}, None, "MERGE_CONFLICT", "deleted"),
        ({"a": "x"}, {"a": "b"}, there({"b": 1}, expire_time=NOW), "MERGE_CONFLICT", "ended"),
        ({"a": 1}, {}, there({"b": 1}, schema_version=2), "MERGE_CONFLICT", "schema"),
        (b"\xff", {}, there({"b": 1}), "NOT_JSON", "JSON"),
        ({"a": 1}, b"\xff", there({"b": 1}), "NOT_JSON", "JSON"),
        ({"a": 1}, {}, there(b"\xff"), "NOT_JSON", "JSON"),
        ({"a": "x" * 600}, {}, there({"b": "y" * 600}), "VALUE_TOO_LARGE", "1000"),
    ],
)
def test_what_can_t_be_merged_is_dead_and_says_why(
    ours: Any, base: Any, current: Copy | None, reason: str, words: str
) -> None:
    write = buffered(ours, base=Base(version=3, value=text(base)))

    done = dead(Reconcile.MERGE, write, current)

    assert done.reason == reason
    assert words in done.message


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("ttl", "default", "sliding", "left"),
    [
        (None, None, False, None),
        (None, None, True, None),
        (90_000, None, False, 30_000),
        (None, 90_000, False, 30_000),
        (90_000, 1, False, 30_000),
        (60_001, None, False, 1),
        (90_000, None, True, 90_000),
        (None, 90_000, True, None),
        (1, None, True, 1),
    ],
)
def test_a_fixed_ttl_counts_from_the_acknowledgement_and_a_sliding_one_from_now(
    policy: Reconcile, ttl: int | None, default: int | None, sliding: bool, left: int | None
) -> None:
    done = committed(policy, buffered(ttl_ms=ttl), None, sliding=sliding, ttl_default_ms=default)

    assert done.put.ttl_ms == left


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("ttl", "default"), [(60_000, None), (None, 60_000), (1, 90_000)])
def test_what_ended_while_the_authority_was_away_is_dead(
    policy: Reconcile, ttl: int | None, default: int | None
) -> None:
    assert dead(policy, buffered(ttl_ms=ttl), None, ttl_default_ms=default).reason == "EXPIRED"


def test_a_clock_that_was_ahead_lengthens_no_ttl() -> None:
    assert committed(Reconcile.REJECT, buffered(ttl_ms=500), None, now=START_MS - 1000).put.ttl_ms == 500


@pytest.mark.parametrize(
    ("ours", "theirs", "default", "sliding", "left"),
    [
        (90_000, {"expire_time": NOW + 10_000, "ttl_ms": 70_000}, None, False, 30_000),
        (90_000, {"expire_time": NOW + 40_000, "ttl_ms": 70_000}, None, False, 40_000),
        (90_000, {}, None, False, None),
        (None, {"expire_time": NOW + 40_000, "ttl_ms": 70_000}, None, False, None),
        (90_000, {"expire_time": NOW + 40_000, "ttl_ms": 100_000}, None, True, 100_000),
        (None, {"expire_time": NOW + 40_000, "ttl_ms": 50_000}, 90_000, True, 90_000),
    ],
)
def test_a_merge_ends_neither_side_early(
    ours: int | None, theirs: dict[str, int], default: int | None, sliding: bool, left: int | None
) -> None:
    write = buffered({"a": 1}, base=ABSENT, ttl_ms=ours)

    done = committed(Reconcile.MERGE, write, there({"b": 1}, **theirs), sliding=sliding, ttl_default_ms=default)

    assert done.put.ttl_ms == left


def test_an_update_never_comes_here() -> None:
    change = Change(key="key", change=Append(items=(1,)))
    write = Buffering(namespace=NAMESPACE, operation=change, request=request("id"), base=None, hlc=1, time=START_MS)

    with pytest.raises(AssertionError):
        settle(Reconcile.MERGE, write, None)
