"""What holds of the core's pure functions for every input, against plain models of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.core import limits, merge
from sidecar.core.decide import decide
from sidecar.core.entry import SEQUENCE_MASK, epoch_of, live, version_of
from sidecar.core.errors import (
    Decision,
    FailedPrecondition,
    InvalidRequest,
    VersionConflict,
    decision_from_record,
    decision_record,
)
from sidecar.core.expiry import TOUCH_SLACK, needs_touch, touched_expire_time
from sidecar.core.keys import prefix_end
from sidecar.core.limits import VERSION_MAX, Limits
from sidecar.core.operations import Put, Remove
from sidecar.core.policy import PRESETS, Kind, Policy, PolicyTable
from tests.support.factories import entry, write

texts = st.text(st.characters(codec="utf-8"), max_size=8)
edges = st.sampled_from(["", "\0", "a", "\x7f", "\x80", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"])
keys = st.lists(st.one_of(texts, edges), max_size=4).map("".join)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
shared = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.one_of(st.none(), st.integers(0, 2)),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)
"""Documents and patches that name the same fields."""
int64s = st.integers(-(1 << 63), (1 << 63) - 1)
metadata = st.dictionaries(texts, texts, max_size=3)
versions = st.integers(0, VERSION_MAX)
decisions = st.one_of(
    st.builds(VersionConflict, key=keys, expected_version=versions, current_version=versions),
    st.builds(FailedPrecondition, texts, reason=st.sampled_from(["NOT_JSON", "EPOCH_CHANGED"]), metadata=metadata),
    st.builds(InvalidRequest, texts, reason=st.just("VALUE_TOO_LARGE"), field=texts, metadata=metadata),
)


@given(keys, keys)
def test_a_key_is_below_the_end_of_a_prefix_exactly_if_it_begins_with_it(prefix: str, key: str) -> None:
    end = prefix_end(prefix)
    within = key >= prefix and (end is None or key < end)

    assert within == key.startswith(prefix)


@given(keys, keys)
def test_the_order_of_strings_is_that_of_their_bytes(one: str, other: str) -> None:
    assert (one < other) == (one.encode() < other.encode())


@given(keys)
def test_the_end_of_a_prefix_is_valid_text(prefix: str) -> None:
    end = prefix_end(prefix)

    assert end is None or end.encode().decode() == end
    assert (end is None) == (set(prefix) <= {"\U0010ffff"})


def naive_patch(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2, its pseudocode word for word."""
    if isinstance(patch, dict):
        if not isinstance(target, dict):
            target = {}
        for name, value in patch.items():
            if value is None:
                if name in target:
                    del target[name]
            else:
                target[name] = naive_patch(target.get(name), value)
        return target
    return patch


@given(st.one_of(documents, shared), st.one_of(documents, shared))
def test_a_merge_patch_is_that_of_the_rfc(document: Any, patch: Any) -> None:
    result = merge.merge_patch(merge.dump_json(document), patch)

    copy = json.loads(json.dumps(document))
    assert merge.parse_json(result) == naive_patch(copy, json.loads(json.dumps(patch)))


@given(shared, shared)
def test_a_patch_applied_twice_is_a_patch_applied_once(document: Any, patch: Any) -> None:
    once = merge.merge_patch(merge.dump_json(document), patch)

    assert merge.merge_patch(once, patch) == once


@given(documents)
def test_json_comes_back_as_it_was(document: Any) -> None:
    text = merge.dump_json(document)

    assert merge.parse_json(text) == document
    assert merge.dump_json(merge.parse_json(text)) == text
    text.decode()


@given(st.binary(max_size=12))
def test_any_bytes_are_json_or_a_value_error(text: bytes) -> None:
    try:
        value = merge.parse_json(text)
    except ValueError:
        return
    assert merge.parse_json(merge.dump_json(value)) == value


@given(st.lists(scalars, max_size=6), st.lists(scalars, max_size=6), st.integers(0, 8))
def test_an_append_keeps_the_last_items_of_both(old: list[Any], new: list[Any], max_items: int) -> None:
    result = merge.parse_json(merge.append(merge.dump_json(old), new, max_items))

    both = [*old, *new]
    assert result == (both[max(len(both) - max_items, 0) :] if max_items else both)


@given(int64s, int64s, st.none() | int64s, st.none() | int64s)
def test_an_increment_is_exact_or_refused(current: int, delta: int, minimum: int | None, maximum: int | None) -> None:
    total = current + delta
    fits = -(1 << 63) <= total < 1 << 63
    within = (minimum is None or total >= minimum) and (maximum is None or total <= maximum)

    if fits and within:
        assert merge.increment(b"%d" % current, delta, minimum, maximum) == str(total).encode()
    else:
        with pytest.raises(FailedPrecondition) as caught:
            merge.increment(b"%d" % current, delta, minimum, maximum)
        assert caught.value.reason == ("COUNTER_OUT_OF_BOUNDS" if fits else "INCREMENT_OVERFLOW")


epochs, sequences = st.integers(0, (1 << 15) - 1), st.integers(1, SEQUENCE_MASK)


@given(epochs, sequences, epochs, sequences)
def test_versions_order_by_epoch_and_then_by_sequence(epoch: int, sequence: int, other: int, another: int) -> None:
    version = version_of(epoch, sequence)

    assert 0 < version <= VERSION_MAX
    assert (epoch_of(version), version & SEQUENCE_MASK) == (epoch, sequence)
    assert (version < version_of(other, another)) == ((epoch, sequence) < (other, another))


@given(decisions, st.none() | st.integers(0, 99))
def test_a_decision_that_was_kept_is_raised_again_as_it_was(error: Decision, operation: int | None) -> None:
    if operation is not None:
        error.metadata["operation"] = str(operation)

    again = decision_from_record(json.loads(json.dumps(decision_record(error))))

    assert (type(again), vars(again), str(again)) == (type(error), vars(error), str(error))


@given(keys)
def test_a_key_is_good_exactly_if_it_has_one_to_1024_bytes(key: str) -> None:
    bounds = Limits(key_bytes_max=10)
    good = 1 <= len(key.encode()) <= 10
    try:
        limits.check_key(key, bounds)
    except InvalidRequest as error:
        assert error.reason == "KEY_INVALID"  # noqa: PT017  # that nothing is raised is the other half of the property
        assert not good
    else:
        assert good


@given(st.dictionaries(texts, st.builds(Policy, ttl_ms=st.none() | st.integers(1, 9), sliding=st.booleans())), texts)
def test_every_namespace_has_its_policy_or_the_default(configured: dict[str, Policy], name: str) -> None:
    presets = {kind.value: policy for kind, policy in PRESETS.items()}
    default = configured.get("default", PRESETS[Kind.DEFAULT])

    assert PolicyTable(configured).of(name) == configured.get(name, presets.get(name, default))


@given(st.integers(1, 1 << 40), st.lists(st.integers(1, 1 << 30), max_size=60))
def test_a_key_that_is_read_often_enough_never_ends_and_one_that_is_not_ends(ttl: int, gaps: list[int]) -> None:
    """Read at least every 90 % of its ttl it stays; unread for a whole ttl it is gone."""
    now, last_read, copy = 0, 0, entry(expire_time=ttl, ttl_ms=ttl)
    for gap in gaps:
        now += gap
        if gap <= ttl * (1 - TOUCH_SLACK) - 1:
            assert live(copy, now), "ended though it was read in time"
        if now - last_read >= ttl:
            assert live(copy, now) is None, "there though it was not read for a ttl"
        if live(copy, now) is None:
            return
        last_read = now
        if needs_touch(copy, now):
            end, ttl_after = touched_expire_time(copy, now, ttl_ms=None, extend_only=True)
            copy = entry(expire_time=end, ttl_ms=ttl_after)


@given(st.integers(0, 100), st.none() | st.integers(1, 50), st.none() | st.integers(1, 50), st.integers(0, 40))
def test_extending_never_brings_an_end_nearer(now: int, end: int | None, ttl: int | None, old: int) -> None:
    assume(end is None or end > 0)
    copy = entry(expire_time=None if end is None else now + end, ttl_ms=None if end is None else end + old)

    after, _ = touched_expire_time(copy, now, ttl_ms=ttl, extend_only=True)

    if copy.expire_time is None:
        assert after is None
    else:
        assert after is not None
        assert after >= copy.expire_time


@given(
    st.none() | st.tuples(st.integers(1, 100), st.none() | st.integers(1, 20)),
    st.integers(0, 101),
    st.integers(0, 25),
    st.booleans(),
)
def test_a_guard_matches_the_live_version_or_zero_and_nothing_else(
    row: tuple[int, int | None] | None, expected: int, now: int, delete: bool
) -> None:
    copy = None if row is None else entry(version=row[0], expire_time=row[1])
    there = row is not None and (row[1] is None or now < row[1])
    found = row[0] if row is not None and there else 0
    guarded = Remove(key="key", expected_version=expected)
    operation = guarded if delete else Put(key="key", value=b"", expected_version=expected)

    if expected == found:
        decided = decide(write(operation), {"key": copy}, now=now, version=1000)
        assert decided.results[0].found is there
    else:
        with pytest.raises(VersionConflict) as caught:
            decide(write(operation), {"key": copy}, now=now, version=1000)
        assert caught.value.current_version == found
