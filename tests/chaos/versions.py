"""The same verdict in almost linear time, from the versions: every committed write says which place it has in the order.

What everybody saw fixes the states one after the other; a call belongs to one of them, or, if it saw the key absent, to any
that is. That can be arranged in time unless a call ended before one began that has an earlier place. A write without an
answer takes part when a version that nobody was given can only be its own, or when a list that was read holds its items.
Where that is not certain there is no verdict here, and the search of `tests.chaos.linearizability` has to find it, with each call
narrowed to the time that its version leaves it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from tests.chaos import linearizability
from tests.chaos.history import Kind, Operation, Outcome
from tests.chaos.linearizability import STEPS_MAX, Result, Verdict
from tests.chaos.register import Register, State


def check(
    calls: Sequence[Operation], model: Register | None = None, *, steps_max: int = STEPS_MAX
) -> Result[Operation]:
    """The verdict on the calls of one key's register: by the versions if they are enough, else by search."""
    model = model or Register()
    chain = _Chain(calls, model)
    return chain.verdict() or chain.search(steps_max)


def by_versions(calls: Sequence[Operation], model: Register | None = None) -> Result[Operation] | None:
    """The verdict, if the versions are enough for one. None says nothing."""
    return _Chain(calls, model or Register()).verdict()


class _Unclear(Exception):
    """More than one explanation."""


class _Broken(Exception):
    """No explanation by the writes that are known."""

    def __init__(self, call: Operation) -> None:
        super().__init__(str(call))
        self.call = call


class _Chain:
    """The committed states of a key in their order: `states[i + 1]` is what `writes[i]` left."""

    def __init__(self, calls: Sequence[Operation], model: Register) -> None:
        self._calls = calls
        self._model = model
        self._writes: list[Operation] = []
        self._states: list[State] = [model.initial()]
        self._open = sorted((call for call in calls if call.outcome is Outcome.UNKNOWN), key=lambda call: call.invoke)
        self._made: dict[int, Operation] = {}
        self._bound: dict[int, Operation] = {}
        self._witnesses: list[Operation] = []
        self._seen: dict[int, Operation] = {}
        self._values: dict[int, bytes] = {}
        self._narrowed: list[tuple[Operation, Operation]] = []

    def verdict(self) -> Result[Operation] | None:
        """What the versions say."""
        try:
            self._collect()
            if self._model.merging and any(call.kind is Kind.SET for call in self._open):
                self._narrow()
                return None
            self._bind()
            self._narrow()
            if self._seen.keys() - self._made.keys() - {0, self._states[0].version}:
                return None
            doubtful = bool(self._open)
        except _Broken as exc:
            return self._illegal(exc.call)
        try:
            self._run()
            return Result(Verdict.LINEARIZABLE, self._place(), None, len(self._calls))
        except _Unclear:
            return None
        except _Broken as exc:
            # A write that nobody heard of might explain it in a way that was not looked for here.
            return None if doubtful else self._illegal(exc.call)

    def search(self, steps_max: int) -> Result[Operation]:
        """What a search says, over calls that are narrowed to when they can have taken effect. After `verdict` only."""
        originals = {id(call): original for call, original in self._narrowed}
        found = linearizability.check([call for call, _ in self._narrowed], self._model, steps_max=steps_max)
        order = tuple(originals[id(call)] for call in found.order)
        return Result(found.verdict, order, found.blocked and originals[id(found.blocked)], found.steps)

    def _illegal(self, call: Operation) -> Result[Operation]:
        return Result(Verdict.ILLEGAL, tuple(self._writes), call, len(self._calls))

    def _collect(self) -> None:
        """Who made which version, who saw which, and the values that were shown."""
        for call in self._calls:
            if call.outcome is Outcome.UNKNOWN:
                continue
            if call.outcome is Outcome.OK and call.kind is not Kind.GET_STRONG and call.version:
                if call.version in self._made:
                    raise _Broken(call)
                self._made[call.version] = call
                self._seen.setdefault(call.expected_version or 0, call)
            else:
                self._witnesses.append(call)
                self._seen.setdefault(call.version, call)
            shown = call.read if call.outcome is Outcome.OK and call.version else None
            if shown is not None and self._values.setdefault(call.version, shown) != shown:
                raise _Broken(call)

    def _bind(self) -> None:
        """Give each version that was seen, and that nobody was given, the only write that can have made it, if it is one."""
        for version in sorted(self._seen.keys() - {0, self._states[0].version}):
            value = self._values.get(version)
            if version in self._made:
                if not _may_leave(self._made[version], value):
                    raise _Broken(self._seen[version])
                continue
            candidates = [call for call in self._open if _may_leave(call, value)]
            if not candidates:
                raise _Broken(self._seen[version])
            if len(candidates) == 1:
                self._open.remove(candidates[0])
                self._bound[version] = candidates[0]
                self._made[version] = dataclasses.replace(candidates[0], outcome=Outcome.OK, version=version)

    def _narrow(self) -> None:
        """Each call with the time in which it can take effect, since those of other versions do so before and after it;
        with it the call as it was.
        """
        ranks = {version: rank for rank, version in enumerate(sorted({0, *self._made, *self._seen}))}
        placed = [(2 * ranks[version] - 1, call) for version, call in self._made.items()]
        placed += [(2 * ranks[call.version], call) for call in self._witnesses if call.version]
        begun, ended = _bounds(2 * len(ranks), placed)
        originals = {id(self._made[version]): call for version, call in self._bound.items()}
        self._narrowed = [(call, call) for call in self._open]
        self._narrowed += [(call, call) for call in self._witnesses if not call.version]
        for position, call in placed:
            invoke, end = max(call.invoke, begun[position]), min(_end(call), ended[position])
            if invoke > end:
                raise _Broken(call)
            changed = dataclasses.replace(call, invoke=invoke, complete=None if end == math.inf else end)
            self._narrowed.append((changed, originals.get(id(call), call)))

    def _run(self) -> None:
        """Make the states, one after the other."""
        self._show_prefixes()
        for version, call in sorted(self._made.items()):
            if version in self._values and call.kind in (Kind.UPDATE_APPEND, Kind.UPDATE_INCREMENT):
                for hidden in self._hidden_before(call, self._values[version]):
                    self._open.remove(hidden)
                    self._apply(hidden)
            self._apply(call)

    def _apply(self, call: Operation) -> None:
        allowed, state = self._model.step(self._states[-1], call)
        if not allowed:
            raise _Broken(call)
        self._writes.append(call)
        self._states.append(state)

    def _show_prefixes(self) -> None:
        """What a list was at each of its versions, from what it was later: it only grows until it is replaced."""
        later: list[Any] | None = None
        for version, call in sorted(self._made.items(), reverse=True) if self._open else ():
            shown = _array(self._values.get(version))
            later = later if shown is None else shown
            if call.kind is not Kind.UPDATE_APPEND or later is None:
                later = None
                continue
            items = _array(call.value) or []
            ends = [end for end in range(len(items), len(later) + 1) if later[end - len(items) : end] == items]
            if len(ends) != 1:
                later = None
                continue
            self._values.setdefault(version, _text(later[: ends[0]]))
            later = later[: ends[0] - len(items)]

    def _hidden_before(self, call: Operation, value: bytes) -> list[Operation]:
        """Writes without an answer that must stand before a change, since it left more than it and the state explain."""
        before = self._states[-1].value
        kinds = {other.kind for other in self._open}
        if not kinds or not isinstance(before, bytes | None) or call.value is None:
            return []
        if call.kind is Kind.UPDATE_APPEND:
            array, own, after = _array(before or b"[]"), _array(call.value), _array(value)
            if array is None or own is None or after is None or after[: len(array)] != array:
                return []
            return self._of_items(after[len(array) : len(after) - len(own)])
        missing = int(value) - int(before or b"0") - int(call.value)
        return self._of_delta(missing) if missing else []

    def _of_items(self, items: list[Any]) -> list[Operation]:
        hidden: list[Operation] = []
        while items:
            found = [
                call
                for call in self._open
                if call.kind is Kind.UPDATE_APPEND and call not in hidden and _begins(items, _array(call.value))
            ]
            if len({self._model.effect(call) for call in found}) != 1:
                raise _Unclear
            hidden.append(found[0])
            items = items[len(_array(found[0].value) or []) :]
        return hidden

    def _of_delta(self, missing: int) -> list[Operation]:
        """Only where all that could be missing are alike."""
        alike = [call for call in self._open if call.kind is Kind.UPDATE_INCREMENT]
        deltas = {int(call.value or b"0") for call in alike}
        if len(deltas) != 1 or 0 in deltas:
            raise _Unclear
        count, rest = divmod(missing, deltas.pop())
        if rest or not 0 < count <= len(alike):
            raise _Unclear
        return alike[:count]

    def _place(self) -> tuple[Operation, ...]:
        """Every call in its place: 2i for those that saw the state of number i, 2i + 1 for the write after it."""
        numbers = {state.version: number for number, state in enumerate(self._states) if state.value is not None}
        absent = [2 * number for number, state in enumerate(self._states) if state.value is None]
        placed = [(2 * number + 1, call) for number, call in enumerate(self._writes)]
        floating = []
        for call in self._witnesses:
            number = numbers.get(call.version) if call.version else (absent[0] // 2 if absent else None)
            if number is None or not self._model.step(self._states[number], call)[0]:
                raise _Broken(call)
            if call.version:
                placed.append((2 * number, call))
            else:
                floating.append(call)
        begun, ended = _bounds(2 * len(self._states), placed)
        for call in floating:
            # The first that is not over before it began: so those that follow each other in time do so here.
            at = bisect_left(absent, call.invoke, key=ended.__getitem__)
            if at == len(absent):
                raise _Broken(call)
            placed.append((absent[at], call))
        for position, call in placed:
            if _end(call) < begun[position]:
                raise _Broken(call)
        return tuple(call for _, call in sorted(placed, key=lambda item: (item[0], item[1].invoke)))


def _bounds(places: int, placed: Sequence[tuple[int, Operation]]) -> tuple[list[float], list[float]]:
    """Of each place the latest invoke of any before it, and the earliest end of any after it."""
    invokes, ends = [-math.inf] * places, [math.inf] * places
    for place, call in placed:
        invokes[place] = max(invokes[place], call.invoke)
        ends[place] = min(ends[place], _end(call))
    begun = [-math.inf, *accumulate(invokes, max)]
    ended = [*reversed([math.inf, *accumulate(reversed(ends), min)])][1:]
    return begun, ended


def _end(call: Operation) -> float:
    return math.inf if call.complete is None else call.complete


def _may_leave(call: Operation, value: bytes | None) -> bool:
    """Whether an entry with this value (None: not known) can be what a write left."""
    match call.kind:
        case Kind.SET | Kind.CAS:
            return value is None or call.value == value
        case Kind.UPDATE_APPEND:
            array, items = _array(value), _array(call.value) or []
            return value is None or (array is not None and array[len(array) - len(items) :] == items)
        case Kind.UPDATE_INCREMENT:
            return value is None or value.removeprefix(b"-").isdigit()
        case _:
            return False


def _begins(items: list[Any], with_items: list[Any] | None) -> bool:
    return bool(with_items) and items[: len(with_items or [])] == with_items


def _array(value: bytes | None) -> list[Any] | None:
    try:
        array = json.loads(value or b"null")
    except ValueError:
        return None
    return array if isinstance(array, list) else None


def _text(array: list[Any]) -> bytes:
    return json.dumps(array, ensure_ascii=False, separators=(",", ":")).encode()
