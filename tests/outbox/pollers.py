"""Relays as they are often written, over the same rows, each wrong in its way; and one that is right, which has to pass.

Each is a process with a connection of its own. It polls until it is told to end and finds nothing more.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, LiteralString, NamedTuple, Self

import psycopg

from sidecar.core.entry import Entry
from sidecar.core.ledger import LEDGER
from sidecar.core.outbox import LANES, Pending, messages_of
from sidecar.core.sinks import Delivery
from tests.outbox.recorder import TAKEN
from tests.outbox.sink import call_line
from tests.outbox.writing import NAMESPACE

LEASE_S = 2.0
"""On a busy machine, too, nobody loses it who is not stopped."""
MESSAGES = f"{messages_of(NAMESPACE)}%"
ROWS: LiteralString = "state_sidecar.entries WHERE namespace = %(ledger)s AND key >= %(first)s AND key < %(last)s"
GIVEN: dict[str, object] = {
    "ledger": LEDGER.encode(),
    "first": messages_of(NAMESPACE).encode(),
    "last": messages_of(NAMESPACE).encode() + b"\xff",
}
ID: LiteralString = "right(encode(key, 'escape'), 18)"
"""Of a message's row: its version and its place in the write."""


class Row(NamedTuple):
    """A message's row."""

    key: bytes
    value: bytes

    @property
    def message(self) -> Pending:
        """What is in it."""
        return Pending.decode(Entry(LEDGER, self.key.decode(), self.value, 0, create_time=0, update_time=0))


class Poller:
    """What all have: a connection, a recorder, an end."""

    batch = 20

    def __init__(self, name: str, url: str, recorder: Path) -> None:
        self.name = name
        self.connection = psycopg.connect(url, autocommit=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(recorder))
        self._answers = self._socket.makefile("rb")
        self._socket.sendall(name.encode() + b"\n")
        self._ending = False
        signal.signal(signal.SIGTERM, self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._answers.close()
        self._socket.close()

    def run(self) -> None:
        """Until it is told to end, and for as long as it finds something."""
        while self.step() or not self._ending:
            pass

    def step(self) -> bool:
        """Deliver some; whether there were any."""
        raise NotImplementedError

    def select(self, query: LiteralString, **given: object) -> list[Any]:
        """Rows."""
        return self.connection.execute(query, {**GIVEN, "batch": self.batch, **given}).fetchall()

    def publish(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Have the recorder take them."""
        deliveries = [Delivery(Row(key, value).message) for key, value in rows]
        self._socket.sendall(call_line(deliveries))
        answer = self._answers.readline()
        assert answer == TAKEN.encode() * len(rows) + b"\n", answer

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True


class CursorPoller(Poller):
    """`id > last`: what commits later than a higher id is never seen."""

    last = ""
    batch = 1_000
    """It has to be close behind the writers to pass by what they commit late."""

    def step(self) -> bool:
        query: LiteralString = f"SELECT key, value, {ID} FROM {ROWS} AND {ID} > %(after)s ORDER BY {ID} LIMIT %(batch)s"
        rows = self.select(query, after=self.last)
        if rows:
            self.publish([row[:2] for row in rows])
            self.last = rows[-1][2]
        return bool(rows)


class TransactionOrderPoller(Poller):
    """By transaction id, below the horizon: nothing is lost, but a transaction can commit a version after a later one's."""

    last: tuple[int, str] = (0, "")

    def step(self) -> bool:
        query: LiteralString = (
            f"SELECT key, value, xmin::text::bigint, {ID} FROM {ROWS} "
            f"AND (xmin::text::bigint, {ID}) > (%(xid)s, %(id)s) "
            "AND xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint "
            f"ORDER BY xmin::text::bigint, {ID} LIMIT %(batch)s"
        )
        rows = self.select(query, xid=self.last[0], id=self.last[1])
        if rows:
            self.publish([row[:2] for row in rows])
            self.last = rows[-1][2:]
        # What is left may be above the horizon.
        return bool(rows) or bool(self._ending and self._above())

    def _above(self) -> list[Any]:
        query: LiteralString = f"SELECT 1 FROM {ROWS} AND (xmin::text::bigint, {ID}) > (%(xid)s, %(id)s) LIMIT 1"
        return self.select(query, xid=self.last[0], id=self.last[1])


class SkippingPoller(Poller):
    """SKIP LOCKED and no lanes: while one has a key's message, another brings the next one."""

    def step(self) -> bool:
        with self.connection.transaction():
            rows = self.select(f"SELECT key, value FROM {ROWS} ORDER BY {ID} LIMIT %(batch)s FOR UPDATE SKIP LOCKED")
            if rows:
                self.publish(rows)
                self.connection.execute(
                    "DELETE FROM state_sidecar.entries WHERE namespace = %s AND key = ANY(%s)",
                    [GIVEN["ledger"], [row[0] for row in rows]],
                )
        return bool(rows)


class LeasingPoller(Poller):
    """Each lane has one owner, by a lease. The right one: its row says who, and renewing and removing ask it."""

    fenced = True

    def __init__(self, name: str, url: str, recorder: Path) -> None:
        super().__init__(name, url, recorder)
        self.mine: list[str] = []
        self._random = Random(name)
        self.renewed = float("-inf")

    def step(self) -> bool:
        if time.monotonic() - self.renewed > LEASE_S / 3:
            self._renew()
        # In any order: two that believe that they own all would go round for ever without meeting.
        lanes = self._random.sample(self.mine, len(self.mine))
        delivered = [self._deliver(lane) for lane in lanes if lane in self.mine]
        return any(delivered)

    def _renew(self) -> None:
        renew: LiteralString = (
            "UPDATE leases SET owner = %(name)s, until = clock_timestamp() + %(lease)s * interval '1 second' "
            "WHERE lane = ANY(%(mine)s) AND (owner = %(name)s OR NOT %(fenced)s) RETURNING lane"
        )
        take: LiteralString = (
            "UPDATE leases SET owner = %(name)s, until = clock_timestamp() + %(lease)s * interval '1 second' "
            "WHERE lane IN (SELECT lane FROM leases WHERE until < clock_timestamp() ORDER BY lane "
            "LIMIT %(free)s FOR UPDATE) AND until < clock_timestamp() RETURNING lane"
        )
        given = {"name": self.name, "lease": LEASE_S, "fenced": self.fenced}
        self.mine = [lane for (lane,) in self.select(renew, mine=self.mine, **given)]
        self.mine += [lane for (lane,) in self.select(take, free=len(LANES), **given)]
        self.renewed = time.monotonic()

    def _deliver(self, lane: str) -> bool:
        first = messages_of(NAMESPACE, lane).encode()
        query: LiteralString = f"SELECT key, value FROM {ROWS} ORDER BY {ID} LIMIT %(batch)s"
        rows = self.select(query, first=first, last=first + b"\xff")
        if rows:
            self.publish(rows)
            removed = self.connection.execute(
                "DELETE FROM state_sidecar.entries WHERE namespace = %s AND key = ANY(%s) AND "
                "(NOT %s OR EXISTS (SELECT FROM leases WHERE lane = %s AND owner = %s FOR UPDATE))",
                [GIVEN["ledger"], [row[0] for row in rows], self.fenced, lane, self.name],
            )
            if removed.rowcount < len(rows) and self.fenced:
                # It was stopped: the other lanes are another's by now, too.
                self.mine, self.renewed = [], float("-inf")
        return bool(rows)


class UnfencedPoller(LeasingPoller):
    """Nothing asks the lease: whoever was stopped for longer goes on, and so does the next."""

    fenced = False
    batch = 200


LEASES: LiteralString = (
    "CREATE TABLE leases AS SELECT lane, '' AS owner, now() AS until FROM unnest(%s::text[]) AS lane"
)
INDEX: LiteralString = f"CREATE INDEX ON state_sidecar.entries (namespace, ({ID}))"


def prepare(url: str) -> None:
    """What pollers need besides the store: leases, and their messages in the order of ids."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(LEASES, [list(LANES)])
        connection.execute(INDEX)


def poll(kind: type[Poller], name: str, url: str, recorder: Path) -> None:
    """The whole life of one, in its process."""
    with kind(name, url, recorder) as poller:
        poller.run()
