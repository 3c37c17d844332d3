"""Small histories to judge the judges by: legal ones from a simulated register, spoilt ones, and an oracle that tries all.

`legal` lets clients call a register that is right; each call takes effect at an instant between its invoke and its answer,
and one that is given up may take effect afterwards, or never. `MUTATIONS` spoil a history as a defect would. Whether what
they leave is truly illegal is decided by `oracle`, which shares no code with the checkers and tries every order.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random

from tests.chaos.history import Kind, Operation, Outcome

BLIND = (Kind.SET, Kind.CAS, Kind.DELETE, Kind.GET_STRONG)
LISTS = (Kind.UPDATE_APPEND, Kind.DELETE, Kind.GET_STRONG)
COUNTERS = (Kind.UPDATE_INCREMENT, Kind.CAS, Kind.DELETE, Kind.GET_STRONG)
WRITES = frozenset(Kind) - {Kind.GET_STRONG, Kind.GET_CACHED}


@dataclasses.dataclass(slots=True)
class _Truth:
    """The register itself."""

    version: int = 0
    value: bytes | None = None
    last: int = 0


@dataclasses.dataclass(slots=True)
class _Flight:
    """A call under way. `answer` is set when it took effect."""

    asked: Operation
    answer: Operation | None = None


def legal(
    random: Random,
    *,
    calls: int = 7,
    clients: int = 3,
    kinds: Sequence[Kind] = BLIND,
    unknown: float = 0.15,
    shown: float = 0.5,
) -> list[Operation]:
    """A linearizable history. `unknown`: how many calls lose their answer; `shown`: how many changes show their value."""
    truth, history, flights, given_up = _Truth(), [], dict[int, _Flight](), list[Operation]()
    seen, now, begun = [0], 0, 0
    names = list(range(clients))
    while begun < calls or flights:
        now += 1
        client = random.randrange(clients)
        flight = flights.get(client)
        if given_up and random.random() < 0.2:
            # What its client no longer waits for may still arrive.
            _take_effect(random, truth, given_up.pop(random.randrange(len(given_up))), shown=0)
        if flight is None:
            if begun < calls:
                flights[client] = _Flight(_asked(random, begun, names[client], kinds, seen, float(now)))
                begun += 1
        elif random.random() < unknown / 2:
            lost = dataclasses.replace(flight.asked, outcome=Outcome.UNKNOWN)
            history.append(lost)
            if flight.answer is None:
                given_up.append(lost)
            names[client] += clients
            del flights[client]
        elif flight.answer is None:
            flight.answer = _take_effect(random, truth, flight.asked, shown)
        else:
            history.append(dataclasses.replace(flight.answer, complete=float(now)))
            seen.append(flight.answer.version)
            del flights[client]
    return sorted(history, key=lambda call: call.invoke)


def _asked(
    random: Random, number: int, process: int, kinds: Sequence[Kind], seen: Sequence[int], now: float
) -> Operation:
    kind = random.choice(kinds)
    expected = random.choice(seen[-3:]) if kind is Kind.CAS or (kind is Kind.DELETE and random.random() < 0.3) else None
    match kind:
        case Kind.SET | Kind.CAS:
            value: bytes | None = b"%d" % (100 + number) if random.random() < 0.9 else b"100"
        case Kind.UPDATE_APPEND:
            value = b"[%d]" % number
        case Kind.UPDATE_INCREMENT:
            value = b"%d" % random.choice((1, 1, 1, 5))
        case _:
            value = None
    return Operation(process, kind, "space", "key", value, expected, f"request-{number}", now, mode="NORMAL")


def _take_effect(random: Random, truth: _Truth, asked: Operation, shown: float) -> Operation:
    """Do it to the truth, and say what the caller would hear."""
    if asked.kind is Kind.GET_STRONG:
        return dataclasses.replace(asked, outcome=Outcome.OK, version=truth.version, read=truth.value)
    if asked.expected_version not in (None, truth.version):
        return dataclasses.replace(asked, outcome=Outcome.CONFLICT, version=truth.version)
    if asked.kind is Kind.DELETE and truth.value is None:
        return dataclasses.replace(asked, outcome=Outcome.OK)
    value = outcome_of(asked, truth.value)
    truth.last += random.choice((1, 1, 3))
    truth.value, truth.version = value, 0 if value is None else truth.last
    show = asked.kind in (Kind.UPDATE_APPEND, Kind.UPDATE_INCREMENT) and random.random() < shown
    return dataclasses.replace(
        asked, outcome=Outcome.OK, version=truth.last, durability="COMMITTED", read=value if show else None
    )


def outcome_of(call: Operation, before: bytes | None) -> bytes | None:
    """The value that a write makes of another."""
    match call.kind:
        case Kind.DELETE:
            return None
        case Kind.UPDATE_APPEND:
            array = json.loads(before or b"[]") + json.loads(call.value or b"")
            return json.dumps(array, separators=(",", ":")).encode()
        case Kind.UPDATE_INCREMENT:
            return b"%d" % (int(before or b"0") + int(call.value or b""))
        case _:
            return call.value


def oracle(history: Sequence[Operation]) -> bool:
    """Whether any order at all explains a history of a few calls. Slow and plain: nothing is remembered or guessed."""
    return any(_versions_fit(order) for order in _orders(list(history), None, []))


def _orders(
    left: list[Operation], value: bytes | None, done: list[Operation]
) -> Iterator[list[tuple[Operation, bool]]]:
    """Every order that values and time allow, each call with whether it wrote."""
    answered = [call for call in left if call.complete is not None]
    if not answered:
        yield _told(done)
    for call in left:
        rest = [other for other in left if other is not call]
        if all(other.complete is None or other.complete >= call.invoke for other in rest):
            after = _value_after(call, value)
            if after is not _REFUSED:
                assert not isinstance(after, _Refused)
                yield from _orders(rest, after, [*done, call])


class _Refused:
    """No value: the call can't have had its answer."""


_REFUSED = _Refused()


def _value_after(call: Operation, value: bytes | None) -> bytes | _Refused | None:
    if call.outcome is Outcome.CONFLICT:
        return value if (call.version == 0) == (value is None) else _REFUSED
    if call.kind is Kind.GET_STRONG:
        return value if call.read == value and (call.version == 0) == (value is None) else _REFUSED
    if call.expected_version is not None and (call.expected_version == 0) != (value is None):
        return _REFUSED
    if call.outcome is Outcome.OK and call.kind is Kind.DELETE and (call.version == 0) != (value is None):
        return _REFUSED
    after = outcome_of(call, value)
    return _REFUSED if call.read is not None and call.read != after else after


def _told(order: list[Operation]) -> list[tuple[Operation, bool]]:
    """Which of them wrote."""
    value: bytes | None = None
    told = []
    for call in order:
        wrote = call.kind in WRITES and call.outcome is not Outcome.CONFLICT
        wrote = wrote and not (call.kind is Kind.DELETE and value is None)
        value = outcome_of(call, value) if wrote else value
        told.append((call, wrote))
    return told


def _versions_fit(order: list[tuple[Operation, bool]]) -> bool:
    """Whether the writes of an order can have rising versions that are those everybody was told."""
    versions: list[int | None] = [0]
    present = False
    for call, wrote in order:
        observed = call.version if call.kind is Kind.GET_STRONG or call.outcome is Outcome.CONFLICT else None
        expected = None if call.outcome is Outcome.CONFLICT else call.expected_version
        for version in (observed, expected):
            if version is not None and present:
                if versions[-1] not in (None, version):
                    return False
                versions[-1] = version
        if call.outcome is Outcome.CONFLICT and call.version == call.expected_version:
            return False
        if wrote:
            versions.append(None if call.outcome is Outcome.UNKNOWN else call.version)
            present = call.kind is not Kind.DELETE
    known = [(place, version) for place, version in enumerate(versions) if version is not None]
    return all(after - before >= there - here for (here, before), (there, after) in pairwise(known))


Mutation = Callable[[Random, list[Operation]], list[Operation] | None]
"""Spoil a history; None where it has nothing to spoil in this way."""


def _one(random: Random, calls: list[Operation], wanted: Callable[[Operation], bool]) -> Operation | None:
    found = [call for call in calls if wanted(call)]
    return random.choice(found) if found else None


def _with(calls: list[Operation], *changed: tuple[Operation, Operation]) -> list[Operation]:
    """The history with calls replaced."""
    by_id = {id(old): new for old, new in changed}
    return [by_id.get(id(call), call) for call in calls]


def _ok(*kinds: Kind) -> Callable[[Operation], bool]:
    return lambda call: call.kind in kinds and call.outcome is Outcome.OK and call.version > 0


def _states(calls: list[Operation]) -> list[tuple[int, bytes | None]]:
    """What was read, and what was put under a known version; and the absent key."""
    read = [(call.version, call.read) for call in calls if call.kind is Kind.GET_STRONG and call.outcome is Outcome.OK]
    put = [(call.version, call.value) for call in calls if _ok(Kind.SET, Kind.CAS)(call)]
    return sorted({(0, None), *read, *put}, key=lambda state: state[0])


def stale_read(random: Random, calls: list[Operation]) -> list[Operation] | None:
    """A read answers what was there before."""
    read = _one(random, calls, _ok(Kind.GET_STRONG))
    older = [state for state in _states(calls) if read is not None and state[0] < read.version]
    if read is None:
        return None
    version, value = random.choice(older)
    return _with(calls, (read, dataclasses.replace(read, version=version, read=value)))


def swapped_version(random: Random, calls: list[Operation]) -> list[Operation] | None:
    """Two writes tell each other's version."""
    writes = [call for call in calls if _ok(*WRITES)(call)]
    if len(writes) < 2:
        return None
    one, other = random.sample(writes, 2)
    return _with(
        calls,
        (one, dataclasses.replace(one, version=other.version)),
        (other, dataclasses.replace(other, version=one.version)),
    )


def lost_acknowledgement(random: Random, calls: list[Operation]) -> list[Operation] | None:
    """A write that took effect is told as one that certainly did not: its call is not in the register."""
    write = _one(random, calls, _ok(*WRITES))
    return None if write is None else [call for call in calls if call is not write]


def phantom_conflict(random: Random, calls: list[Operation]) -> list[Operation] | None:
    """A CAS that was applied is told as a conflict, with what it expected, with its own version or with any other."""
    write = _one(random, calls, _ok(Kind.CAS))
    if write is None:
        return None
    current = random.choice([write.version, write.expected_version or 0, random.choice(_states(calls))[0]])
    return _with(calls, (write, dataclasses.replace(write, outcome=Outcome.CONFLICT, version=current, durability="")))


def doubled_write(random: Random, calls: list[Operation]) -> list[Operation] | None:
    """A write is there twice: what is read later holds it again, or under a version that nobody was given."""
    write = _one(random, calls, _ok(*WRITES - {Kind.DELETE}))
    if write is None:
        return None
    reads = [call for call in calls if call.kind is Kind.GET_STRONG and call.version >= write.version]
    read = _one(random, reads, lambda call: True)
    if read is None:
        return None
    changes = write.kind in (Kind.UPDATE_APPEND, Kind.UPDATE_INCREMENT)
    value = outcome_of(write, read.read if changes else None)
    return _with(calls, (read, dataclasses.replace(read, version=read.version + random.choice((0, 1, 2)), read=value)))


def lost_update(random: Random, calls: list[Operation]) -> list[Operation] | None:
    """A conflict is told as applied, or what was read lacks a change that was acknowledged."""
    lost = _one(random, calls, lambda call: call.outcome is Outcome.CONFLICT)
    if lost is not None:
        return _with(calls, (lost, dataclasses.replace(lost, outcome=Outcome.OK, version=lost.version + 1)))
    read = _one(random, calls, lambda call: _ok(Kind.GET_STRONG)(call) and len(call.read or b"") > 2)
    if read is None:
        return None
    values = [call.value for call in calls if call.kind is not Kind.GET_STRONG and call.value not in (None, read.read)]
    return _with(calls, (read, dataclasses.replace(read, read=random.choice(values)))) if values else None


def resurrected_version(random: Random, calls: list[Operation]) -> list[Operation] | None:
    """What saw the key absent sees an old state, or an old version matches a guard."""
    miss = _one(random, calls, lambda call: call.kind is Kind.GET_STRONG and call.read is None)
    states = [state for state in _states(calls) if state[0]]
    if miss is not None and states:
        version, value = random.choice(states)
        return _with(calls, (miss, dataclasses.replace(miss, version=version, read=value)))
    write = _one(random, calls, _ok(Kind.CAS))
    if write is None or not states:
        return None
    return _with(calls, (write, dataclasses.replace(write, expected_version=random.choice(states)[0])))


def late_answer(random: Random, calls: list[Operation]) -> list[Operation] | None:
    """A call is moved to after all others, or before them, with the answer that it had."""
    moved = _one(random, calls, lambda call: call.outcome in (Outcome.OK, Outcome.CONFLICT))
    if moved is None:
        return None
    at = random.choice([max(call.complete or call.invoke for call in calls) + 1, -2.0])
    return _with(calls, (moved, dataclasses.replace(moved, invoke=at, complete=at + 1)))


MUTATIONS: tuple[Mutation, ...] = (
    stale_read,
    swapped_version,
    lost_acknowledgement,
    phantom_conflict,
    doubled_write,
    lost_update,
    resurrected_version,
    late_answer,
)
