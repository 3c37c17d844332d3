"""What holds of three-way merges for all JSON, and of replays in every order: nothing twice, nothing lost, one end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.decide import decide
from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.hlc import Hlc, entry_hlc, hlc_of
from sidecar.core.journal import Base, Buffering, Settlement
from sidecar.core.operations import Append, Change, Operation, Put
from sidecar.core.policy import Reconcile
from sidecar.core.reconcile import Commit, Dead, reconcile
from sidecar.core.three_way import NotMergeable, join, merge
from statesidecar import _merge as client
from tests.support.clock import START_MS
from tests.support.factories import NAMESPACE, entry, request, tombstone, write

NOW = START_MS + 10_000
REBASED = -1
"""The version of a base that another buffered write makes."""
names = st.text("ab c", max_size=2)
scalars = st.none() | st.booleans() | st.floats(-2, 2) | st.text("ab", max_size=1)
leaves = scalars | st.integers(-3, 3)


def documents(of: st.SearchStrategy[Any], *, lists: bool) -> st.SearchStrategy[Any]:
    def nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        objects = st.dictionaries(names, inner, max_size=3)
        return objects | st.lists(inner, max_size=3) if lists else objects

    return st.recursive(of, nest, max_leaves=8)


values = documents(leaves, lists=True)
countable = documents(leaves, lists=False)
plain = documents(scalars, lists=False)


@st.composite
def sides(draw: st.DrawFn, kind: st.SearchStrategy[Any] = values) -> tuple[Any, Any, Any]:
    """A base and two values that have something in common with it, as edits have."""
    base = draw(kind)
    return base, edited(draw, base, kind), edited(draw, base, kind)


def edited(draw: st.DrawFn, value: Any, kind: st.SearchStrategy[Any]) -> Any:
    match value, draw(st.sampled_from(["keep", "other", "inside", "inside"])):
        case dict(), "inside":
            kept = {name: edited(draw, inner, kind) for name, inner in value.items() if draw(st.integers(0, 4))}
            return kept | draw(st.dictionaries(names, kind, max_size=1))
        case list(), "inside":
            return draw(st.lists(kind, max_size=1)) + value + draw(st.lists(kind, max_size=2))
        case int(), "inside":
            return value + draw(st.integers(-2, 2))
        case _, "other":
            return draw(kind)
        case _:
            return value


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


def merged(base: Any, ours: Any, theirs: Any) -> Any:
    """The merged value, or the path of the conflict."""
    try:
        return json.loads(merge(text(base), text(ours), text(theirs)))
    except NotMergeable as conflict:
        return NotMergeable, conflict.path


def clients(base: Any, ours: Any, theirs: Any) -> Any:
    try:
        return client.merge(base, ours, theirs)
    except client.MergeConflict as conflict:
        return NotMergeable, conflict.path


def either_way(base: Any, ours: Any, theirs: Any) -> tuple[Any, Any]:
    """Merged from both sides. Which of several conflicts is named depends on the side."""
    one, other = merged(base, ours, theirs), merged(base, theirs, ours)
    return (NotMergeable, NotMergeable) if isinstance(one, tuple) and isinstance(other, tuple) else (one, other)


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) or isinstance(other, tuple):
        return bool(one == other)
    return client.same(one, other)


@given(sides())
def test_daemon_and_client_merge_alike(three: tuple[Any, Any, Any]) -> None:
    assert alike(merged(*three), clients(*three))


@given(sides())
def test_daemon_and_client_merge_alike_where_both_made_a_value(three: tuple[Any, Any, Any]) -> None:
    _, ours, theirs = three
    try:
        made: Any = {"new": json.loads(merge(None, text(ours), text(theirs)))}
    except NotMergeable as conflict:
        made = NotMergeable, conflict.path.replace("$", "$.new", 1)

    assert alike(made, clients({}, {"new": ours}, {"new": theirs}))


@given(sides())
def test_where_one_side_changed_nothing_the_other_s_text_is_the_result(three: tuple[Any, Any, Any]) -> None:
    base, ours, _ = map(text, three)

    assert merge(base, ours, base) == ours
    assert merge(base, base, ours) == ours


@given(sides(plain))
def test_the_same_change_on_both_sides_is_made_once(three: tuple[Any, Any, Any]) -> None:
    """Without counters and lists, in which two same changes are two changes."""
    base, ours, _ = three

    assert alike(merged(base, ours, ours), ours)


@given(st.integers(), st.integers(), st.lists(values, max_size=3), st.lists(values, min_size=1, max_size=3))
def test_the_same_count_or_append_on_both_sides_is_made_twice(n: int, by: int, old: list[Any], new: list[Any]) -> None:
    assert merged(n, n + by, n + by) == n + by * 2
    assert alike(merged(old, old + new, old + new), old + new + new)


@given(sides(countable))
def test_objects_and_counters_merge_alike_from_both_sides(three: tuple[Any, Any, Any]) -> None:
    assert alike(*either_way(*three))


@given(sides())
def test_lists_merge_alike_from_both_sides_up_to_their_order(three: tuple[Any, Any, Any]) -> None:
    def in_order(value: Any) -> str:
        return json.dumps(value, sort_keys=True)

    def unordered(value: Any) -> Any:
        match value:
            case dict():
                return {name: unordered(inner) for name, inner in value.items()}
            case list():
                return sorted(map(unordered, value), key=in_order)
            case _:
                return value

    assert alike(*map(unordered, either_way(*three)))


@given(sides())
def test_a_merge_is_the_same_each_time_whatever_the_order_of_fields(three: tuple[Any, Any, Any]) -> None:
    base, ours, theirs = three
    turned = json.dumps(base, sort_keys=True).encode()
    try:
        once = merge(text(base), text(ours), text(theirs))
    except NotMergeable:
        with pytest.raises(NotMergeable):
            merge(turned, text(ours), text(theirs))
    else:
        assert merge(text(base), text(ours), text(theirs)) == once
        assert merge(turned, text(ours), text(theirs)) == once


@given(sides())
def test_a_join_is_the_same_from_both_sides_and_once_more(three: tuple[Any, Any, Any]) -> None:
    _, ours, theirs = three
    try:
        joined = join(text(ours), text(theirs))
    except NotMergeable:
        with pytest.raises(NotMergeable):
            join(text(theirs), text(ours))
        return
    both = json.loads(joined)

    assert alike(both, json.loads(join(text(theirs), text(ours))))
    for side in (text(ours), text(theirs)):
        assert alike(both, json.loads(join(side, joined)))


class Authority:
    """One key of a store that decides as all do."""

    def __init__(self, copy: Copy | None) -> None:
        self.copy = copy
        self._version = 100

    def commit(self, operation: Operation) -> None:
        """A refusal is a failure: every guard here is fresh."""
        self._version += 1
        decided = decide(write(operation), {"key": self.copy}, now=NOW + self._version, version=self._version)
        self.copy = decided.copies[0]

    def replay(self, policy: Reconcile, buffered: Buffering) -> Commit | Dead:
        done = reconcile(
            policy, buffered, self.copy, now=NOW, sliding=False, ttl_default_ms=None, value_bytes_max=10_000
        )
        if isinstance(done, Commit):
            self.commit(done.put)
        return done

    @property
    def value(self) -> bytes | None:
        return self.copy.value if isinstance(self.copy, Entry) else None


def buffering(value: bytes, base: Base | None, hlc: int) -> Buffering:
    put = Put(key="key", value=value)
    return Buffering(namespace=NAMESPACE, operation=put, request=request("id"), base=base, hlc=hlc, time=START_MS)


starts = st.sampled_from([None, entry(version=1, value=b"m"), tombstone(version=2)])
ticks = st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([b"a", b"m", b"z"]), st.booleans()), max_size=3)


@st.composite
def outages(draw: st.DrawFn) -> tuple[Copy | None, list[Buffering]]:
    """What was there, and what two daemons took on it while their clocks went back and forth, in any order."""
    start: Copy | None = draw(starts)
    made = []
    for _ in range(2):
        clock = Hlc()
        for offset, value, knows in draw(ticks):
            base: Base | None = None
            if isinstance(start, Tombstone):
                base = Base(version=1, value=b"m")  # Deleted since
            elif start is not None and knows:
                base = Base(version=1, value=b"m")
                clock.observe(entry_hlc(start))
            made.append(buffering(value, base, clock.next(START_MS + offset)))
    return start, draw(st.permutations(made))


@given(outages())
def test_every_order_of_replays_ends_in_the_last_write(outage: tuple[Copy | None, list[Buffering]]) -> None:
    start, writes = outage
    authority = Authority(start)
    for buffered in writes:
        authority.replay(Reconcile.LAST_WRITE_WINS, buffered)

    made = [(buffered.hlc, buffered.operation.value) for buffered in writes if isinstance(buffered.operation, Put)]
    if isinstance(start, Entry):
        made.append((entry_hlc(start), start.value))
    elif start is not None:
        made = [one for one in made if one[0] >= hlc_of(start.delete_time)]
    assert authority.value == (max(made)[1] if made else None)


def turns(daemon: str, count: int, base: Any) -> Iterator[Buffering]:
    """Sets of a conversation, each with one turn more than the same daemon's one before."""
    state = base
    for number in range(count):
        known = Base(version=REBASED if number else 1, value=text(state))
        state = {"turns": [*state["turns"], f"{daemon}{number}"], "count": state["count"] + 1, daemon: number}
        yield buffering(text(state), known, hlc_of(START_MS) + number)


@given(st.lists(st.sampled_from("ABC"), max_size=12))
def test_every_turn_of_an_outage_is_in_the_end_state_once(order: list[str]) -> None:
    """A and B buffer whole states, C sees the authority and appends to it: in every interleaving of their writes."""
    base = {"turns": ["hi"], "count": 0}
    authority = Authority(entry(version=1, value=text(base)))
    pending = {daemon: turns(daemon, order.count(daemon), base) for daemon in "AB"}
    appended = 0
    for daemon in order:
        if daemon == "C":
            state = json.loads(authority.value or b"")
            state["turns"].append(f"C{appended}")
            appended += 1
            authority.commit(Put(key="key", value=text(state)))
        else:
            done = authority.replay(Reconcile.MERGE, next(pending[daemon]))
            assert isinstance(done, Commit)
            assert done.settlement in {Settlement.APPLIED, Settlement.MERGED}

    state = json.loads(authority.value or b"")
    expected = {daemon: [f"{daemon}{n}" for n in range(order.count(daemon))] for daemon in "ABC"}
    assert state["turns"][0] == "hi"
    assert {daemon: [turn for turn in state["turns"] if turn[0] == daemon] for daemon in "ABC"} == expected
    assert len(state["turns"]) == 1 + len(order)
    assert state["count"] == order.count("A") + order.count("B")


@given(st.lists(st.sampled_from("AB"), min_size=1, max_size=8))
def test_rejecting_keeps_the_first_daemon_s_writes_and_names_the_others(order: list[str]) -> None:
    base = {"turns": ["hi"], "count": 0}
    authority = Authority(entry(version=1, value=text(base)))
    pending = {daemon: turns(daemon, order.count(daemon), base) for daemon in "AB"}
    first = order[0]
    for daemon in order:
        done = authority.replay(Reconcile.REJECT, next(pending[daemon]))
        assert isinstance(done, Commit) == (daemon == first)

    assert json.loads(authority.value or b"")["turns"] == ["hi", *(f"{first}{n}" for n in range(order.count(first)))]


@given(st.sampled_from(Reconcile), st.lists(st.integers(0, 9), min_size=1), st.lists(st.integers(0, 9)))
def test_a_set_stands_on_an_append_of_the_same_journal(policy: Reconcile, set_to: list[int], items: list[int]) -> None:
    """Updates between two Sets are done again; the second Set stands on what they made."""
    authority = Authority(None)
    authority.replay(policy, buffering(text(set_to), Base(version=0, value=None), 1))
    authority.commit(Change(key="key", change=Append(items=tuple(items))))
    seen = json.dumps([*set_to, *items], separators=(",", ":")).encode()

    done = authority.replay(policy, buffering(b"[]", Base(version=REBASED, value=seen), 2))

    assert isinstance(done, Commit)
    assert authority.value == b"[]"
