"""Exact accounts of a run that is over: what every client was told, against what is there at the end.

Linearizability says that the answers fit each other; an audit says that nothing is missing and nothing is there twice. Each
rule yields its findings, one a violation, and counts what it looked at: a rule that had nothing to look at proves nothing.
As for the register, no clock is known here: only for keys that do not expire during the run.

What was told, and what must be there at the end:

| told | effects |
| --- | --- |
| OK, COMMITTED or VOLATILE | exactly one |
| FAILED, CONFLICT, OK and DISCARDED, or OK of a Delete that found nothing | none |
| UNKNOWN | one or none |
| OK, BUFFERED | one if it is no dead letter, none if it is; one or none as long as nobody knows the dead letters |
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.history import READS, Kind, Operation, Outcome, by_key

At = tuple[str, str]
"""A namespace and a key."""
State = tuple[int, bytes | None]
"""A version and a value; 0 and None: absent."""
SUMS_MAX = 100_000
"""Of a counter's possible values that are told apart; beyond, only their bounds are checked."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation."""

    rule: str
    at: At
    what: str
    call: Operation | None = None

    def __str__(self) -> str:
        """For a person."""
        return f"{self.rule}: {'/'.join(self.at)}: {self.what}" + (f": {self.call}" if self.call else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known when a run is over. `final`: each key at its authority.

    `dead`: the request id of each dead letter, as often as it is listed. `recorded`: what the authority remembers of a
    request (namespace, id): the version that it made, or 0 for one that it refused. None: nobody asked. `merging`:
    namespaces where buffered writes are merged, so that a Set may leave another value than its own.
    """

    final: Mapping[At, State]
    dead: Sequence[str] | None = None
    recorded: Mapping[tuple[str, str], int] | None = None
    merging: Collection[str] = ()


@dataclass(slots=True)
class Audit:
    """All findings, and how much each rule looked at."""

    findings: list[Finding] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)


def audit(history: Sequence[Operation], evidence: Evidence) -> Audit:
    """Apply every rule."""
    result = Audit()
    for at, calls in by_key(history).items():
        state = evidence.final.get(at)
        if state is not None:
            result.findings += _items(at, calls, state, evidence.dead, result.checked)
            result.findings += _sums(at, calls, state, evidence.dead, result.checked)
        result.findings += _rising(at, calls, state, result.checked)
        result.findings += _copies(at, calls, at[0] in evidence.merging, result.checked)
    result.findings += _unique_versions(history, result.checked)
    result.findings += _requests(history, evidence, result.checked)
    result.findings += _buffered(history, evidence, result.checked)
    return result


def effects(call: Operation, dead: Collection[str] | None) -> tuple[int, int]:
    """How often at least and at most a write took effect, by the table above."""
    if call.outcome is Outcome.UNKNOWN:
        return 0, 1
    if call.outcome is not Outcome.OK or call.durability == "DISCARDED":
        return 0, 0
    if call.kind is Kind.DELETE and call.version == 0:
        return 0, 0
    if call.durability == "BUFFERED":
        return (0, 1) if dead is None else (0, 0) if call.request_id in dead else (1, 1)
    return 1, 1


def _only(calls: Sequence[Operation], kind: Kind) -> list[Operation]:
    """A key's writes of a kind, if no other write may have had an effect; else none."""
    others = [call for call in calls if call.kind not in READS and call.kind is not kind]
    return [] if any(effects(call, None)[1] for call in others) else [call for call in calls if call.kind is kind]


def _items(
    at: At, calls: Sequence[Operation], state: State, dead: Collection[str] | None, checked: Counter[str]
) -> Iterator[Finding]:
    """Of a list that is only appended to, with items that are never the same."""
    writes = _only(calls, Kind.UPDATE_APPEND)
    if not writes:
        return
    found = _counted(state[1])
    if found is None:
        yield Finding("items", at, f"it ended as {state[1]!r}, which is no list")
        return
    for call in writes:
        least, most = effects(call, dead)
        for item in json.loads(call.value or b"[]"):
            checked["items"] += 1
            count = found.pop(json.dumps(item), 0)
            if not least <= count <= most:
                yield Finding("items", at, f"{item!r} is there {count} times, not {least} to {most}", call)
    yield from (Finding("items", at, f"nobody appended {item}") for item in found)


def _counted(value: bytes | None) -> Counter[str] | None:
    """How often a list holds each item, as JSON; None if it is no list."""
    try:
        array = json.loads(value or b"[]")
    except ValueError:
        return None
    return Counter(json.dumps(item) for item in array) if isinstance(array, list) else None


def _sums(
    at: At, calls: Sequence[Operation], state: State, dead: Collection[str] | None, checked: Counter[str]
) -> Iterator[Finding]:
    """Of a counter that is only incremented."""
    writes = _only(calls, Kind.UPDATE_INCREMENT)
    if not writes:
        return
    checked["sums"] += 1
    try:
        total = int(state[1] or b"0")
    except ValueError:
        yield Finding("sums", at, f"it ended as {state[1]!r}, which is no counter")
        return
    certain, sums = 0, {0}
    low = high = 0
    for call in writes:
        least, most = effects(call, dead)
        delta = int(call.value or b"0")
        if least:
            certain += delta
        elif most:
            low, high = low + min(delta, 0), high + max(delta, 0)
            if len(sums) <= SUMS_MAX:
                sums |= {other + delta for other in sums}
    more = total - certain
    if not low <= more <= high or (len(sums) <= SUMS_MAX and more not in sums):
        yield Finding("sums", at, f"it is {total}; {certain} was acknowledged, {low} to {high} may be more")


def _rising(at: At, calls: Sequence[Operation], state: State | None, checked: Counter[str]) -> Iterator[Finding]:
    """Whoever comes later is told a later version: never one that is older than what had been told before the call."""
    told: list[tuple[float, int]] = []
    newest = 0
    for call in sorted(calls, key=lambda call: call.invoke):
        while told and told[0][0] < call.invoke:
            newest = max(newest, heapq.heappop(told)[1])
        if not _authoritative(call):
            continue
        checked["rising versions"] += 1
        assert call.complete is not None, "it was answered"
        wrote = call.kind not in READS and call.outcome is Outcome.OK
        if call.version and (call.version <= newest if wrote else call.version < newest):
            yield Finding("rising versions", at, f"version {newest} had been told before", call)
        heapq.heappush(told, (call.complete, call.version))
    newest = max([newest, *(version for _, version in told)])
    if state is not None and 0 < state[0] < newest:
        yield Finding("rising versions", at, f"it ended with version {state[0]}, {newest} had been told")


def _authoritative(call: Operation) -> bool:
    """Whether its version is the authority's word."""
    if call.kind is Kind.GET_CACHED or call.durability in ("BUFFERED", "DISCARDED"):
        return False
    return call.outcome in (Outcome.OK, Outcome.CONFLICT)


def _unique_versions(history: Sequence[Operation], checked: Counter[str]) -> Iterator[Finding]:
    """No two requests of a namespace made the same version, whatever their keys."""
    owners: dict[tuple[str, int], Operation] = {}
    for call in history:
        if call.kind not in READS and call.outcome is Outcome.OK and _authoritative(call) and call.version:
            checked["unique versions"] += 1
            owner = owners.setdefault((call.namespace, call.version), call)
            if owner is not call and (not call.request_id or owner.request_id != call.request_id):
                at = (call.namespace, call.key)
                yield Finding("unique versions", at, f"version {call.version} is also that of {owner}", call)


def _copies(at: At, calls: Sequence[Operation], merging: bool, checked: Counter[str]) -> Iterator[Finding]:
    """A CACHED answer in NORMAL mode is a committed state of the past, not older than its caller's newest."""
    reads = [
        call for call in calls if call.kind is Kind.GET_CACHED and call.outcome is Outcome.OK and call.mode == "NORMAL"
    ]
    floors = _floors(calls) if reads else {}
    made, values = _committed(calls) if reads else ({}, {})
    open_writes = [call for call in calls if call.kind not in READS and effects(call, None) == (0, 1)]
    for call in reads:
        checked["copies"] += 1
        floor = max(floors[id(call)], call.expected_version or 0)
        if call.version == 0:
            if floor and not _may_be_gone(call, floor, calls):
                yield Finding("copies", at, f"a miss, though version {floor} had been seen", call)
        elif call.version < floor:
            yield Finding("copies", at, f"version {floor} had been seen", call)
        elif call.version in values and values[call.version] != call.read:
            yield Finding("copies", at, f"version {call.version} is {values[call.version]!r}", call)
        elif call.version in made and made[call.version].invoke > (call.complete or 0.0):
            yield Finding("copies", at, f"read before it was written by {made[call.version]}", call)
        elif call.version not in made and not any(_may_have_made(write, call, merging) for write in open_writes):
            yield Finding("copies", at, "nobody wrote this", call)


def _floors(calls: Sequence[Operation]) -> dict[int, int]:
    """By the identity of a call, the newest version that its process had been told before."""
    newest: dict[int, int] = defaultdict(int)
    floors = {}
    for call in sorted(calls, key=lambda call: call.invoke):
        floors[id(call)] = newest[call.process]
        normal = call.mode == "NORMAL" or not call.mode
        if call.outcome is Outcome.OK and normal and call.durability not in ("BUFFERED", "DISCARDED"):
            newest[call.process] = max(newest[call.process], call.version)
    return floors


def _committed(calls: Sequence[Operation]) -> tuple[dict[int, Operation], dict[int, bytes]]:
    """The versions that writers were told, and the values of those that are known."""
    made, values = {}, {}
    for call in calls:
        if call.outcome is Outcome.OK and call.version and _authoritative(call):
            value = call.value if call.kind in (Kind.SET, Kind.CAS) else call.read
            if call.kind not in READS:
                made[call.version] = call
            if value is not None:
                values[call.version] = value
    return made, values


def _may_be_gone(read: Operation, floor: int, calls: Sequence[Operation]) -> bool:
    """Whether the key may have been deleted since it had a version."""
    return any(
        call.kind is Kind.DELETE
        and effects(call, None)[1]
        and call.invoke <= (read.complete or 0.0)
        and (call.outcome is Outcome.UNKNOWN or call.version >= floor)
        for call in calls
    )


def _may_have_made(write: Operation, read: Operation, merging: bool) -> bool:
    """Whether a write without a version may have left what was read."""
    own = write.kind is Kind.CAS or (write.kind is Kind.SET and not merging)
    return (
        write.kind is not Kind.DELETE
        and write.invoke <= (read.complete or 0.0)
        and (not own or write.value == read.read)
    )


def _requests(history: Sequence[Operation], evidence: Evidence, checked: Counter[str]) -> Iterator[Finding]:
    """What a client was told of its request is what the authority remembers of it."""
    if evidence.recorded is None:
        return
    for call in history:
        if call.kind in READS or not call.request_id:
            continue
        checked["requests"] += 1
        at = (call.namespace, call.key)
        version = evidence.recorded.get((call.namespace, call.request_id))
        least, most = effects(call, evidence.dead)
        if version and not most:
            yield Finding("requests", at, f"it was applied, as version {version}", call)
        elif least and version is None:
            yield Finding("requests", at, "the authority does not know it", call)
        elif least and call.durability != "BUFFERED" and version != call.version:
            yield Finding("requests", at, f"the authority recorded version {version}", call)


def _buffered(history: Sequence[Operation], evidence: Evidence, checked: Counter[str]) -> Iterator[Finding]:
    """Every BUFFERED write ended in exactly one of: at the authority (applied or merged), among the dead letters."""
    listed = Counter(evidence.dead or ())
    for call in history:
        at = (call.namespace, call.key)
        if call.request_id and listed[call.request_id] > 1:
            yield Finding("buffered", at, f"it is {listed[call.request_id]} dead letters", call)
        if call.outcome is not Outcome.OK or call.durability != "BUFFERED" or evidence.dead is None:
            continue
        if evidence.recorded is not None:
            checked["buffered"] += 1
            applied = bool(evidence.recorded.get((call.namespace, call.request_id)))
            dead = bool(listed[call.request_id])
            if applied == dead:
                yield Finding("buffered", at, "it was applied and is a dead letter" if dead else "it is lost", call)


def converged(reads: Iterable[Operation], *, daemons: Collection[str]) -> list[Finding]:
    """At the end every daemon shows one and the same state of a key, CACHED and STRONG; each must have been asked."""
    findings = []
    for at, calls in by_key(reads).items():
        failed = [call for call in calls if call.outcome is not Outcome.OK or call.mode not in ("NORMAL", "")]
        findings += [Finding("converged", at, "no normal answer", call) for call in failed]
        asked = {(call.daemon, call.kind) for call in calls}
        missing = {(daemon, kind) for daemon in daemons for kind in READS} - asked
        findings += [Finding("converged", at, f"{daemon} was not asked for a {kind}") for daemon, kind in missing]
        states = {(call.version, call.read) for call in calls if call.outcome is Outcome.OK}
        if len(states) > 1:
            shown = "; ".join(f"{call.daemon} {call.kind}: {call.version} {call.read!r}" for call in calls)
            findings.append(Finding("converged", at, f"{len(states)} states: {shown}"))
    return findings


def final_states(reads: Iterable[Operation]) -> dict[At, State]:
    """Each key as a STRONG read showed it last."""
    strong = [call for call in reads if call.kind is Kind.GET_STRONG and call.outcome is Outcome.OK]
    return {(call.namespace, call.key): (call.version, call.read) for call in strong}
