"""What the authority really did, effect by effect, kept by a model of its own; and what answers may follow from it.

The witness sits where effects happen, so it knows their order; it recomputes every effect from the state before, with
none of the production code. An answer is right if some moment between call and answer explains it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.operations import Change, Check, Operation, Remove, Write, WriteId
from sidecar.core.store import Outcome, PrefixProgress, Swept, Touch, Touched
from tests.sim.model import Moment, State, end_after, extends, value_after
from tests.sim.promises import Ledger, Promise
from tests.sim.scheduler import Scheduler


@dataclass(slots=True, eq=False)
class Intent:
    """Something that a client wants once, in as many attempts as it takes. `answer` "": nobody knows what became of it."""

    name: str
    namespace: str
    operations: tuple[Operation, ...]
    request: WriteId | None
    begin: Moment
    effects: list[tuple[Attempt, int, int]] = field(default_factory=list)
    """Attempt, version, tick."""
    answer: str = ""


@dataclass(slots=True, eq=False)
class Attempt:
    """One call of an intent. `disclaimed`: its answer said that it had no effect. `operations` is its identity."""

    intent: Intent
    operations: tuple[Operation, ...]
    disclaimed: str = ""


class Truth:
    """The history of every key, and the intents of all clients."""

    def __init__(self, scheduler: Scheduler, ledger: Ledger) -> None:
        self.intents: list[Intent] = []
        self.newest = 0
        self._scheduler = scheduler
        self._require = ledger.require
        self._histories: dict[tuple[str, str], list[State]] = {}
        self._attempts: dict[int, Attempt] = {}
        self._prefix_deleted: Counter[str] = Counter()

    def now(self) -> Moment:
        return Moment(self._scheduler.tick, self._scheduler.clock.now())

    def history(self, namespace: str, key: str) -> list[State]:
        at = (namespace, key)
        if at not in self._histories:
            self._histories[at] = [State(0, None, None, None, Moment(-1, 0))]
        return self._histories[at]

    def current(self, namespace: str, key: str) -> State | None:
        """The entry that is there now."""
        last = self.history(namespace, key)[-1]
        return None if last.value is None or last.over(self._scheduler.clock.now()) else last

    def newest_state(self, namespace: str, key: str) -> State:
        return self.history(namespace, key)[-1]

    # ---- what clients begin

    def attempt(self, intent: Intent) -> Attempt:
        """A call; its operations are a tuple of its own, by which the witness knows whose effect it sees."""
        attempt = Attempt(intent, (*intent.operations,))
        self._attempts[id(attempt.operations)] = attempt
        return attempt

    # ---- what the authority did

    def committed(self, write: Write, outcome: Outcome) -> None:
        now = self.now()
        attempt = self._attempts[id(write.operations)]
        changed = {copy.key: copy for copy in outcome.copies}
        for operation in write.operations:
            self._judge(write, operation, changed.get(operation.key), now)
        if outcome.copies:
            versions = {copy.version for copy in outcome.copies}
            self._require(
                Promise.NO_RESURRECTION,
                versions == {outcome.version} and outcome.version > self.newest,
                f"versions {versions} of {attempt.intent.name} are not one that was never handed out before",
            )
            self.newest = outcome.version
            for copy in outcome.copies:
                self._add(copy, now)
            attempt.intent.effects.append((attempt, outcome.version, now.tick))

    def _judge(self, write: Write, operation: Operation, copy: Copy | None, now: Moment) -> None:
        before = self.current(write.namespace, operation.key)
        about = f"{write.namespace}/{operation.key}"
        if not isinstance(operation, Change) and operation.expected_version is not None:
            found = 0 if before is None else before.version
            # A version of an earlier life of the key: from before a deletion or an end.
            lives = self.history(write.namespace, operation.key)
            earlier = any(state.value is None and state.version > operation.expected_version for state in lives)
            self._require(
                Promise.NO_RESURRECTION if earlier and operation.expected_version else Promise.NO_LOST_UPDATE,
                operation.expected_version == found,
                f"a guard for {operation.expected_version} matched {found}",
                about,
            )
        if isinstance(operation, Check) or (isinstance(operation, Remove) and before is None):
            kept = copy is None
        elif isinstance(operation, Remove):
            kept = isinstance(copy, Tombstone)
        else:
            kept = isinstance(copy, Entry) and copy.value == value_after(operation, before)
            if isinstance(copy, Entry):
                end = end_after(write, operation, before, now.ms)
                self._require(
                    Promise.VALUE_AND_EXPIRY_TOGETHER,
                    copy.expire_time == end,
                    f"{operation} wrote an expiry of {copy.expire_time}, not {end}",
                    about,
                )
        self._require(Promise.NO_LOST_UPDATE, kept, f"{operation} made {copy} of {before}", about)

    def _add(self, copy: Copy, now: Moment) -> None:
        if isinstance(copy, Entry):
            self._extend(copy.namespace, State(copy.version, copy.value, copy.expire_time, copy.ttl_ms, now), copy.key)
        else:
            self._extend(copy.namespace, State(copy.version, None, None, None, now), copy.key)

    def _extend(self, namespace: str, state: State, key: str) -> None:
        history = self.history(namespace, key)
        history[-1].end = state.begin
        history.append(state)

    def touched(self, namespace: str, touches: Sequence[Touch], touched: Sequence[Touched]) -> None:
        now = self.now()
        for touch, did in zip(touches, touched, strict=True):
            before = self.current(namespace, touch.key)
            self._require(
                Promise.NEVER_EARLY_HARDLY_LATE,
                did.found == (before is not None),
                f"a touch found {did.found} of {before}",
                f"{namespace}/{touch.key}",
            )
            if before is None:
                continue
            ttl = before.ttl_ms if touch.ttl_ms is None else touch.ttl_ms
            end = None if ttl is None else now.ms + ttl
            if touch.extend_only and not extends(before, end, ttl):
                end, ttl = before.expire_time, before.ttl_ms
            self._require(
                Promise.VALUE_AND_EXPIRY_TOGETHER,
                did.expire_time == end,
                f"a touch moved the end to {did.expire_time}, not {end}",
                f"{namespace}/{touch.key}",
            )
            self._extend(namespace, State(before.version, before.value, end, ttl, now), touch.key)

    def prefix_deleted(self, request: WriteId | None, before: PrefixProgress | None, after: PrefixProgress) -> None:
        now = self.now()
        fresh = [tombstone for tombstone in after.tombstones if tombstone.version > self.newest]
        for tombstone in fresh:
            gone = self.current(tombstone.namespace, tombstone.key)
            self._require(
                Promise.NO_LOST_UPDATE,
                gone is not None and gone.version <= after.horizon,
                f"a deletion of what was there by {after.horizon} deleted {gone}",
                f"{tombstone.namespace}/{tombstone.key}",
            )
            self._add(tombstone, now)
        if fresh:
            self.newest = fresh[0].version
        if request is not None:
            self._prefix_deleted[request.request_id] += len(fresh)

    def prefix_count(self, request: WriteId) -> int:
        """How many keys were deleted under a request id."""
        return self._prefix_deleted[request.request_id]

    def swept(self, swept: Swept) -> None:
        now = self.now()
        for tombstone in swept.expired:
            last = self.newest_state(tombstone.namespace, tombstone.key)
            self._require(
                Promise.NEVER_EARLY_HARDLY_LATE,
                last.over(now.ms) and tombstone.version > self.newest,
                f"the sweeper ended {last}",
                f"{tombstone.namespace}/{tombstone.key}",
            )
            self.newest = tombstone.version
            self._add(tombstone, now)

    # ---- what may be answered

    def _during(self, namespace: str, key: str, begin: Moment) -> list[State]:
        """The states that a key had between `begin` and now."""
        states: list[State] = []
        for state in reversed(self.history(namespace, key)):
            if state.end is not None and state.end.tick < begin.tick:
                break
            states.append(state)
        return states

    def saw_entry(self, namespace: str, entry: Entry, begin: Moment) -> None:
        """An answer of the authority: the state of some moment since `begin`."""
        about = f"{namespace}/{entry.key}"
        self._saw_state(entry, about)
        states = [state for state in self._during(namespace, entry.key, begin) if state.matches(entry)]
        self._require(
            Promise.NO_LOST_UPDATE, bool(states), f"version {entry.version} was not current since {begin}", about
        )
        self._require(
            Promise.NEVER_EARLY_HARDLY_LATE,
            any(not state.over(max(state.begin.ms, begin.ms)) for state in states),
            f"version {entry.version} had ended before {begin}",
            about,
        )

    def saw_nothing(
        self, namespace: str, key: str, begin: Moment, *, promise: Promise = Promise.NO_LOST_UPDATE
    ) -> None:
        """A miss of the authority: absent at some moment since `begin`."""
        now = self.now()
        states = self._during(namespace, key, begin)
        kept = any(state.value is None or state.over(state.until(now).ms) for state in states)
        about = f"{namespace}/{key}"
        self._require(promise, kept, f"a miss since {begin}, where there was {states}", about)
        if any(state.expire_time is not None for state in states):
            self._require(Promise.NEVER_EARLY_HARDLY_LATE, kept, "gone before its end", about)

    def saw_cached_entry(self, namespace: str, entry: Entry, begin: Moment, floor: int) -> None:
        """An answer of whatever tier: a committed state, at least the floor, not ended before the call."""
        about = f"{namespace}/{entry.key}"
        self._saw_state(entry, about)
        self._require(
            Promise.CACHE_FORGETS_NOT_LIES, entry.version >= floor, f"version {entry.version}, floor {floor}", about
        )
        self._require(
            Promise.NEVER_EARLY_HARDLY_LATE,
            entry.expire_time is None or entry.expire_time > begin.ms,
            f"version {entry.version} had ended at {entry.expire_time}, before {begin}",
            about,
        )

    def saw_cached_nothing(self, namespace: str, key: str, floor: int) -> None:
        """A miss of whatever tier: absent at some moment after the floor's version."""
        now = self.now()
        kept = any(
            state.version >= floor and (state.value is None or state.over(state.until(now).ms))
            for state in reversed(self.history(namespace, key))
        )
        about = f"{namespace}/{key}"
        self._require(Promise.CACHE_FORGETS_NOT_LIES, kept, f"a miss, but never absent since version {floor}", about)

    def _saw_state(self, entry: Entry, about: str) -> None:
        self._require(
            Promise.VALUE_AND_EXPIRY_TOGETHER,
            any(state.matches(entry) for state in reversed(self.history(entry.namespace, entry.key))),
            f"no state was ever version {entry.version}, value {entry.value!r}, end {entry.expire_time}",
            about,
        )

    def prefix_done(self, request: WriteId | None, namespace: str, prefix: str, deleted: int, begin: Moment) -> None:
        """A deletion by prefix is done: what was there when it began is not there now."""
        for (at, key), history in self._histories.items():
            if at == namespace and key.startswith(prefix):
                left = self.current(namespace, key)
                self._require(
                    Promise.NO_LOST_UPDATE,
                    left is None or history[-1].begin.tick > begin.tick or _written(history) > begin.tick,
                    f"{left} outlived a deletion that began after it",
                    f"{namespace}/{key}",
                )
        if request is not None:
            did = self._prefix_deleted[request.request_id]
            self._require(
                Promise.AT_MOST_ONCE, did == deleted, f"{deleted} deletions told, {did} done", request.request_id
            )

    def settle(self) -> None:
        """At the end: every intent had at most one effect, and none that its answers deny."""
        for intent in self.intents:
            count = len(intent.effects)
            about = f"{intent.namespace}/{intent.operations[0].key}"
            self._require(Promise.AT_MOST_ONCE, count <= 1, f"{intent.name} took effect {count} times", about)
            if intent.answer in ("conflict", "refused"):
                self._require(
                    Promise.AT_MOST_ONCE, not count, f"{intent.name}: {intent.answer}, but it was applied", about
                )
            for attempt, version, _ in intent.effects:
                self._require(
                    Promise.HONEST_MODE,
                    not attempt.disclaimed,
                    f"{intent.name} was {attempt.disclaimed}, but is version {version}",
                    about,
                )


def _written(history: list[State]) -> int:
    """The tick at which the last state's version was committed; touches make states without one."""
    version = history[-1].version
    return min(state.begin.tick for state in history if state.version == version)
