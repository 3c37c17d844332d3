"""What a key is to its clients: a register with versions. The model that histories of one key are checked against.

The state is the value and the version that was committed last. Every committed write has a version of its own, greater than
those before it. That of a write whose answer nobody heard is not known until somebody sees it; until then the state holds
the least that it can be.

Which calls belong to the register, and how:

| call | treated as |
| --- | --- |
| a write, COMMITTED or VOLATILE | takes effect once, between its invoke and its answer |
| a write, UNKNOWN | may take effect at any time after its invoke, once, or never |
| a write, BUFFERED | the same: it is applied when the authority is back, or ends among the dead letters |
| a write, BUFFERED and known to be dead | no effect |
| a write, DISCARDED or FAILED | no effect; left out |
| a write, CONFLICT | no effect; saw the version that it was told |
| a STRONG read | sees the state, in whatever mode it was served |
| a CACHED read | left out: `tests.chaos.audit` holds it to what it promises |

Only for keys whose entries have no ttl, since no clock is known here, and VOLATILE ones only if their store lost nothing.
Where buffered writes are merged, `merging` lets a Set without a committed answer leave any value: the value it was given,
or a mixture of it with others' writes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Hashable, Iterable
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from tests.chaos.history import Kind, Operation, Outcome


class Unseen(Enum):
    """A value that is not known before somebody reads it."""

    UNSEEN = "unseen"


UNSEEN = Unseen.UNSEEN


class State(NamedTuple):
    """A committed state.

    `version` is the last write's, or, unless `exact`, the least that it can be. `value` None: absent. `waiting`: the last
    write was one without an answer, and the next call has to see its effect. An effect that nobody sees need not have been,
    so a search that leaves it out loses nothing, and is spared all the places where it could be.
    """

    value: bytes | Unseen | None = None
    version: int = 0
    exact: bool = True
    waiting: bool = False


ABSENT = State()


class Register:
    """The sequential object of one key."""

    def __init__(self, *, initial: State = ABSENT, merging: bool = False) -> None:
        self._initial = initial
        self.merging = merging

    def initial(self) -> State:
        """The key before the first call."""
        return self._initial

    def effect(self, call: Operation, /) -> Hashable:
        """What an unanswered call does."""
        return call.kind, call.value, call.expected_version

    def step(self, state: State, call: Operation, /) -> tuple[bool, State]:
        """Whether the call could have its answer in this state, and the state after it."""
        after = self._after(state, call)
        return (False, state) if after is None else (True, after)

    def _after(self, state: State, call: Operation) -> State | None:
        if call.outcome is Outcome.CONFLICT:
            return seen(state, call.version) if call.version != call.expected_version else None
        match call.kind:
            case Kind.GET_STRONG:
                return read(state, call.version, call.read)
            case Kind.SET:
                return None if state.waiting else self._written(state, call, self._value(call))
            case Kind.CAS:
                assert call.expected_version is not None, "a CAS has a guard"
                guarded = seen(state, call.expected_version)
                return None if guarded is None else self._written(guarded, call, self._value(call))
            case Kind.DELETE:
                return self._deleted(state, call)
            case Kind.UPDATE_APPEND | Kind.UPDATE_INCREMENT:
                return self._updated(state, call)
        raise AssertionError(f"no call of the register: {call}")

    def _value(self, call: Operation) -> bytes | Unseen:
        assert call.value is not None, "a write has a value"
        return UNSEEN if self.merging and call.kind is Kind.SET and call.outcome is Outcome.UNKNOWN else call.value

    def _written(self, state: State, call: Operation, value: bytes | Unseen | None) -> State | None:
        """The state after a change: with the version it was told, or with one that is not known yet."""
        if call.outcome is Outcome.UNKNOWN:
            return State(value, state.version + 1, exact=value is None, waiting=True)
        return State(value, call.version) if call.version > state.version else None

    def _deleted(self, state: State, call: Operation) -> State | None:
        if call.expected_version is not None:
            guarded = seen(state, call.expected_version)
            if guarded is None:
                return None
            state = guarded
        if call.outcome is Outcome.UNKNOWN:
            # Of what is absent, or was written without a witness, it is as good as never done.
            return None if state.value is None or state.waiting else self._written(state, call, None)
        if call.version == 0:
            return seen(state, 0)
        return None if state.value is None else self._written(state, call, None)

    def _updated(self, state: State, call: Operation) -> State | None:
        assert call.value is not None, "a change has a value"
        if state.value is UNSEEN:
            return self._written(state, call, UNSEEN if call.read is None else call.read)
        assert not isinstance(state.value, Unseen)
        value = (appended if call.kind is Kind.UPDATE_APPEND else incremented)(state.value, call.value)
        if value is None or (call.read is not None and not same(call.kind, value, call.read)):
            return None
        return self._written(state, call, value)


def seen(state: State, version: int) -> State | None:
    """The state for one who was told its version (0: absent), if it can be this one."""
    if version == 0 or state.value is None:
        return state._replace(waiting=False) if version == 0 and state.value is None else None
    if version == state.version or (version > state.version and not state.exact):
        return State(state.value, version)
    return None


def read(state: State, version: int, value: bytes | None) -> State | None:
    """The state for one who read it, if it can be this one."""
    found = seen(state, version)
    if found is None or (version == 0) != (value is None):
        return None
    if found.value is UNSEEN:
        return found._replace(value=value)
    return found if found.value == value else None


@lru_cache(maxsize=65_536)
def appended(target: bytes | None, items: bytes) -> bytes | None:
    """A JSON array with others at its end; None where there is none to append to."""
    try:
        array = [] if target is None else json.loads(target)
    except ValueError:
        return None
    if not isinstance(array, list):
        return None
    return json.dumps([*array, *json.loads(items)], ensure_ascii=False, separators=(",", ":")).encode()


def incremented(target: bytes | None, delta: bytes) -> bytes | None:
    """A counter's decimal text; None where there is no counter."""
    try:
        return b"%d" % (int(target or b"0") + int(delta))
    except ValueError:
        return None


def same(kind: Kind, value: bytes, other: bytes) -> bool:
    """Whether two values of a change are equal: lists by what they hold."""
    return value == other or (kind is Kind.UPDATE_APPEND and json.loads(value) == json.loads(other))


def of_register(history: Iterable[Operation], *, dead: Collection[str] = ()) -> list[Operation]:
    """The calls of a key that belong to its register, as the table above says. `dead`: request ids of dead letters."""
    calls = []
    for call in history:
        if call.kind is Kind.GET_CACHED or call.outcome is Outcome.FAILED or call.durability == "DISCARDED":
            continue
        if call.outcome is Outcome.UNKNOWN and call.kind is Kind.GET_STRONG:
            continue
        if call.durability == "BUFFERED" or call.outcome is Outcome.UNKNOWN:
            if call.request_id in dead and call.durability == "BUFFERED":
                continue
            calls.append(dataclasses.replace(call, outcome=Outcome.UNKNOWN, complete=None, version=0, read=None))
        else:
            calls.append(call)
    return calls
