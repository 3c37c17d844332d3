"""A group delivers messages together: each of its members has its share of the lanes.

A member has a row that says until when it lives, and a lane a row that says whose it is. The version of the lane's row is
the fence: every write of the delivery names it, so a member that was stopped for longer than its lease, and whose lanes
are another's now, changes nothing any more. The time in a member's row only says when it is polite to take its lanes.

Rows under `g/<group>␟`: `m/<member>` and `l/<lane>`. A lane that is given back has no row. Versions are never used again,
so a fence of a row that was there before never matches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidecar.core.entry import Entry
from sidecar.core.errors import VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.ledger import GROUPS, SEPARATOR
from sidecar.core.operations import Check, Forget, Operation, Put
from sidecar.core.outbox import LANES
from sidecar.core.ports import Ports
from sidecar.tiers.ledger import Ledger

SINKS = ""
"""The group of the daemons that deliver to sinks. No namespace is called so, so it has no consumers' rows in it."""
MEMBER_ROW_LEASES = 20
"""A dead member's row goes by itself after so many leases."""
PAGE = 500
MEMBERS_MAX = 10_000
"""Rows of a group that are read; who is behind them gets no lane, and there are 16."""


class Hold:
    """A lane that is ours, as far as we know. `busy`: batches under way that have messages of it."""

    __slots__ = ("busy", "key", "lane", "leaving", "loaded", "lost", "version")

    def __init__(self, lane: str, key: str, version: int) -> None:
        self.lane = lane
        self.key = key
        self.version = version
        self.busy = 0
        self.leaving = False
        """It is another's turn: what is under way ends, nothing new begins."""
        self.lost = False
        self.loaded = False
        """Whether it is known which of its keys are held up."""

    @property
    def usable(self) -> bool:
        """Whether something of it may begin."""
        return not (self.lost or self.leaving)

    @property
    def fence(self) -> Check:
        """What every write of the delivery carries."""
        return Check(key=self.key, expected_version=self.version, ledger=True)


@dataclass(slots=True)
class _Seen:
    """A group's rows. `members`: until when each lives; `versions`: of any row; `owners`: of the lanes."""

    members: dict[str, int]
    owners: dict[str, str]
    versions: dict[str, int]


class Group:
    """One member's view of its group. `look` now and then; `lost` is called with each lane that turns out another's."""

    def __init__(
        self, name: str, ledger: Ledger, *, lease_ms: int, ports: Ports, lost: Callable[[Hold], None] = lambda _: None
    ) -> None:
        self.token = ports.token()
        self.holds: dict[str, Hold] = {}
        self.joined = False
        self.fulfilled = False
        """Whether we had our whole share, and no more, when we last looked."""
        self.live = 0
        """Members that lived then."""
        self._prefix = f"{GROUPS}{name}{SEPARATOR}"
        self._ledger = ledger
        self._lease_ms = lease_ms
        self._lost = lost
        self._until = 0

    @property
    def trusted(self) -> bool:
        """Whether our lease lasts: a process that was stopped for a while publishes nothing before it has looked again."""
        return self.joined and 0 < self._until - self._ledger.now() <= 2 * self._lease_ms

    def lose(self, hold: Hold) -> None:
        """A lane is another's."""
        if not hold.lost:
            hold.lost = True
            if self.holds.get(hold.lane) is hold:
                del self.holds[hold.lane]
            self._lost(hold)

    async def look(self) -> None:
        """Join, or stay; then have our share of the lanes. Raises what the authority raises."""
        until = self._ledger.now() + self._lease_ms
        if not self.joined or self._until - self._ledger.now() < self._lease_ms * 3 // 4:
            self.joined = True
            await self._ledger.commit([self._sign_of_life(until)])
            reach("outbox.join.after")
        else:
            until = self._until
        seen = await self._read()
        # Only now: what we held before a pause may be another's.
        self._verify(seen)
        self._until = until
        await self._adjust(seen)

    async def leave(self) -> None:
        """Others go on at once. Raises what the authority raises; then they find out within a lease."""
        if not self.joined:
            return
        self.joined = False
        holds = list(self.holds.values())
        for hold in holds:
            self.lose(hold)
        reach("outbox.leave.before")
        while True:
            gone = [Forget(key=hold.key, expected_version=hold.version) for hold in holds]
            try:
                await self._ledger.commit([Forget(key=self._member_key(self.token)), *gone])
            except VersionConflict as exc:
                holds = [hold for hold in holds if hold.key != exc.key]
                if len(holds) == len(gone):
                    raise
            else:
                break
        reach("outbox.leave.after")

    # ----

    def _sign_of_life(self, until: int) -> Put:
        value = json.dumps({"until": until}).encode()
        return Put(key=self._member_key(self.token), value=value, ttl_ms=MEMBER_ROW_LEASES * self._lease_ms)

    def _member_key(self, token: str) -> str:
        return f"{self._prefix}m/{token}"

    def _lane_key(self, lane: str) -> str:
        return f"{self._prefix}l/{lane}"

    async def _read(self) -> _Seen:
        seen = _Seen({}, {}, {})
        after: str | None = None
        while True:
            page = await self._ledger.scan(self._prefix, after=after, limit=PAGE)
            for row in page.entries:
                self._see(row, seen)
            if not page.more or len(seen.versions) >= MEMBERS_MAX:
                return seen
            after = page.entries[-1].key

    def _see(self, row: Entry, seen: _Seen) -> None:
        kind, _, name = row.key.removeprefix(self._prefix).partition("/")
        seen.versions[row.key] = row.version
        if kind == "m":
            seen.members[name] = _until(row.value)
        elif kind == "l":
            seen.owners[name] = row.value.decode(errors="replace")

    def _verify(self, seen: _Seen) -> None:
        """Our lanes are those whose rows say so, also where we did not hear that a commit made them ours."""
        for hold in list(self.holds.values()):
            if seen.versions.get(hold.key) != hold.version:
                self.lose(hold)
        for lane, owner in seen.owners.items():
            if owner == self.token and lane not in self.holds:
                key = self._lane_key(lane)
                self.holds[lane] = Hold(lane, key, seen.versions[key])

    async def _adjust(self, seen: _Seen) -> None:
        now = self._ledger.now()
        # More than two leases ahead, it was written by a clock that was wrong.
        live = {token for token, until in seen.members.items() if 0 < until - now <= 2 * self._lease_ms} | {self.token}
        self.live = len(live)
        share, first = share_of(self.token, live)
        self._choose_surplus(share)
        given = [hold for hold in self.holds.values() if hold.leaving and not hold.busy]
        missing = share - sum(hold.usable for hold in self.holds.values())
        taken = self._free(seen, live, first)[: max(missing, 0)]
        self.fulfilled = missing <= 0 and not any(hold.leaving for hold in self.holds.values())
        if given or taken:
            await self._exchange(given, taken, seen)

    def _choose_surplus(self, share: int) -> None:
        """Idle lanes go first; what was to go stays where there is room again."""
        ranked = sorted(self.holds.values(), key=lambda hold: (hold.leaving, hold.busy == 0, hold.lane))
        for rank, hold in enumerate(ranked):
            hold.leaving = rank >= share

    def _free(self, seen: _Seen, live: set[str], first: int) -> list[str]:
        """Lanes that nobody has who lives. Members begin at different ones, so that they seldom want the same."""
        order = LANES[first:] + LANES[:first]
        return [lane for lane in order if lane not in self.holds and seen.owners.get(lane, "") not in live]

    async def _exchange(self, given: Sequence[Hold], taken: Sequence[str], seen: _Seen) -> None:
        operations: list[Operation] = [Forget(key=hold.key, expected_version=hold.version) for hold in given]
        for lane in taken:
            key = self._lane_key(lane)
            operations.append(Put(key=key, value=self.token.encode(), expected_version=seen.versions.get(key, 0)))
        owners = {seen.owners[lane] for lane in taken if seen.owners.get(lane)}
        # Whoever has come back to life since keeps its lanes.
        alive = [self._member_key(owner) for owner in sorted(owners - {self.token})]
        operations += [Check(key=key, expected_version=seen.versions.get(key, 0)) for key in alive]
        for hold in given:
            self.lose(hold)
        reach("outbox.take.before")
        try:
            outcome = await self._ledger.commit(operations)
        except VersionConflict:
            self.fulfilled = False  # another was faster: the next look tells what is left
            return
        reach("outbox.take.after")
        for lane in taken:
            self.holds[lane] = Hold(lane, self._lane_key(lane), outcome.version)


def share_of(token: str, live: set[str]) -> tuple[int, int]:
    """How many lanes a member has of those that live, and the first of the lanes that would be its in their order."""
    ranked = sorted(live)
    rank, count = ranked.index(token), len(ranked)
    share, rest = divmod(len(LANES), count)
    return share + (rank < rest), (rank * len(LANES) // count) % len(LANES)


def _until(value: bytes) -> int:
    """0: a row that can't be read is nobody's."""
    try:
        told = json.loads(value)
        return int(told["until"])
    except (ValueError, KeyError, TypeError):
        return 0
