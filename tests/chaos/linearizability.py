"""Whether a history of concurrent calls could have happened one by one: linearizability, decided for any sequential model.

The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memo of configurations ("Testing
for Linearizability", 2017): calls and returns are one doubly linked list; a call that may be next is lifted out of it
together with its return, and put back when the search has to turn around. A configuration, the set of calls that took
effect and the state they made, is gone into once.

Two things are added for calls whose outcome nobody heard. They have no return, so they may take effect at any later time,
or never. They are tried after those that have one, and of several with the same effect only the oldest is tried: whatever
a younger one explains, the oldest does too.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

STEPS_MAX = 2_000_000
"""Before a history counts as undecided."""


class Call(Protocol):
    """What a history is made of: `complete` None is a call without an answer."""

    @property
    def invoke(self) -> float: ...
    @property
    def complete(self) -> float | None: ...


C = TypeVar("C", bound=Call)
S = TypeVar("S", bound=Hashable)
C_contra = TypeVar("C_contra", bound=Call, contravariant=True)


class Model(Protocol[C_contra, S]):
    """A sequential object."""

    def initial(self) -> S:
        """Its state before the first call."""
        ...

    def step(self, state: S, call: C_contra, /) -> tuple[bool, S]:
        """Whether the call could have its answer in this state, and the state after it."""
        ...

    def effect(self, call: C_contra, /) -> Hashable:
        """What a call without an answer does: those with equal effects can stand for each other."""
        ...


class Verdict(StrEnum):
    """What a checker found."""

    LINEARIZABLE = "linearizable"
    ILLEGAL = "illegal"
    UNDECIDED = "undecided"
    """The budget is used up. This is no pass."""


@dataclass(frozen=True, slots=True)
class Result(Generic[C]):
    """A verdict with its evidence.

    `order`: the calls in an order that explains them; when it is not LINEARIZABLE the longest that was found.
    `blocked`: the call that could not follow it, though it had to.
    """

    verdict: Verdict
    order: tuple[C, ...]
    blocked: C | None = None
    steps: int = 0

    def __str__(self) -> str:
        """For a person who looks for what went wrong."""
        lines = [f"{self.verdict} after {self.steps} steps; {len(self.order)} calls in order, of which the last:"]
        lines += [f"  {call}" for call in self.order[-12:]]
        return "\n".join([*lines, f"  blocked: {self.blocked}"] if self.blocked is not None else lines)


def check(history: Sequence[C], model: Model[C, S], *, steps_max: int = STEPS_MAX) -> Result[C]:
    """Search for an order of the calls that the model allows and that respects which ended before which began."""
    return _Search(history, model).run(steps_max)


_NONE = -1


class _Search(Generic[C, S]):
    """One search. Of n calls, entry 2i is the call of number i and 2i + 1 its return; two lists begin at 2n and 2n + 1:
    calls and returns in the order of time, and calls that have no return.
    """

    def __init__(self, history: Sequence[C], model: Model[C, S]) -> None:
        self._calls = sorted(history, key=lambda call: call.invoke)
        self._model = model
        self._opened = [call.complete is None for call in self._calls]
        self._twin = self._older_twins()
        self._next = [_NONE] * (2 * len(self._calls) + 2)
        self._previous = [_NONE] * len(self._next)
        self._head = 2 * len(self._calls)
        ended = [(number, call) for number, call in enumerate(self._calls) if call.complete is not None]
        # At one instant calls stand before returns: what only touches is concurrent.
        events = [(call.invoke, 0, 2 * number) for number, call in ended]
        events += [(call.complete or 0.0, 1, 2 * number + 1) for number, call in ended]
        self._link(self._head, [entry for _, _, entry in sorted(events)])
        self._link(self._head + 1, [2 * number for number, opened in enumerate(self._opened) if opened])

    def run(self, steps_max: int) -> Result[C]:
        """Depth first. The stack holds what was lifted, the state before it, and the return that it came before."""
        calls, following, twin, step = self._calls, self._next, self._twin, self._model.step
        state, done, left, steps = self._model.initial(), 0, self._opened.count(False), 0
        stack: list[tuple[int, S, int]] = []
        seen: set[tuple[int, S]] = set()
        best: list[int] = []
        blocked = limit = _NONE
        entry = following[self._head]
        while left:
            if entry & 1 and entry != _NONE:
                # Whatever may come before this return was tried, but for the calls that have none.
                limit, entry = entry, following[self._head + 1]
            elif entry != _NONE and not (self._opened[entry >> 1] and self._after(entry, limit)):
                number = entry >> 1
                steps += 1
                if steps > steps_max:
                    return self._result(Verdict.UNDECIDED, best, blocked, steps)
                allowed, after = step(state, calls[number]) if not twin[number] & ~done else (False, state)
                configuration = (done | 1 << number, after)
                if not allowed or configuration in seen:
                    entry = following[entry]
                    continue
                seen.add(configuration)
                stack.append((entry, state, limit))
                done, state = configuration
                left -= not self._opened[number]
                self._lift(entry)
                entry = following[self._head]
            else:
                if blocked == _NONE or len(stack) > len(best):
                    best, blocked = [lifted for lifted, _, _ in stack], limit
                if not stack:
                    return self._result(Verdict.ILLEGAL, best, blocked, steps)
                entry, state, limit = stack.pop()
                done ^= 1 << (entry >> 1)
                left += not self._opened[entry >> 1]
                self._unlift(entry)
                entry = following[entry]
        return self._result(Verdict.LINEARIZABLE, [lifted for lifted, _, _ in stack], _NONE, steps)

    def _result(self, verdict: Verdict, order: list[int], blocked: int, steps: int) -> Result[C]:
        calls = tuple(self._calls[entry >> 1] for entry in order)
        return Result(verdict, calls, None if blocked == _NONE else self._calls[blocked >> 1], steps)

    def _older_twins(self) -> list[int]:
        """For each call without a return the bit of the next older one with its effect, or 0."""
        newest: dict[Hashable, int] = {}
        bits = [0] * len(self._calls)
        for number, call in enumerate(self._calls):
            if self._opened[number]:
                effect = self._model.effect(call)
                bits[number] = 1 << newest[effect] if effect in newest else 0
                newest[effect] = number
        return bits

    def _after(self, entry: int, limit: int) -> bool:
        end = self._calls[limit >> 1].complete
        assert end is not None, "a return has its instant"
        return self._calls[entry >> 1].invoke > end

    def _link(self, head: int, entries: list[int]) -> None:
        for left, right in pairwise([head, *entries]):
            self._next[left], self._previous[right] = right, left

    def _lift(self, entry: int) -> None:
        """Take a call and its return out."""
        self._remove(entry)
        if not self._opened[entry >> 1]:
            self._remove(entry + 1)

    def _unlift(self, entry: int) -> None:
        """Put back what was lifted last: neighbours are what they were."""
        if not self._opened[entry >> 1]:
            self._insert(entry + 1)
        self._insert(entry)

    def _remove(self, entry: int) -> None:
        left, right = self._previous[entry], self._next[entry]
        self._next[left] = right
        if right != _NONE:
            self._previous[right] = left

    def _insert(self, entry: int) -> None:
        left, right = self._previous[entry], self._next[entry]
        self._next[left] = entry
        if right != _NONE:
            self._previous[right] = entry
