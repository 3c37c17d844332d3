"""One transaction of the writer: it holds the write lock, draws versions, and collects change rows and request ids.

Works of many callers share it. A work that refuses (raises a SidecarError) has written nothing before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from sidecar.core.entry import Copy, version_of
from sidecar.core.failpoints import reach
from sidecar.core.operations import WriteId
from sidecar.core.ports import Clock
from sidecar.core.store import ChangeKind
from sidecar.stores.sqlite import outcomes, rows
from sidecar.stores.sqlite.highwater import HighwaterFile
from sidecar.stores.sqlite.meta import Meta
from sidecar.stores.sqlite.preparation import reserve
from sidecar.stores.sqlite.queries import load, query

_STORE_ENTRY = query("store entry")
_FORGET_ENTRY = query("forget entry")
_STORE_CHANGE = query("store change")
_STORE_REQUEST = query("store request")


class Transaction:
    """Begun when made. `now` is the store's clock, read while the lock is held; `changed`: there is meta to store."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock, highwater: HighwaterFile) -> None:
        self.connection = connection
        self._highwater = highwater
        connection.execute("BEGIN IMMEDIATE")
        self.now = clock.now()
        self.monotonic = clock.monotonic()
        self.meta = Meta.load(connection)
        self.changed = False
        self._changes_before = connection.total_changes
        self._changes: list[tuple[int, bytes, bytes, int, str, int]] = []

    @property
    def wrote(self) -> bool:
        """Whether a row was changed."""
        return self.connection.total_changes != self._changes_before

    def next_version(self) -> int:
        """The version that `draw` would take."""
        return version_of(self.meta.epoch, self.meta.sequence + 1)

    def draw(self) -> int:
        """A version that was never handed out, and won't be again. Raises OSError."""
        if self.meta.sequence == self.meta.reserved:
            reserve(self.meta, self._highwater, epoch=self.meta.epoch)
        self.meta.sequence += 1
        self.changed = True
        return version_of(self.meta.epoch, self.meta.sequence)

    def announce(self, namespace: bytes, key: bytes, version: int, kind: ChangeKind) -> None:
        """A change row, in the order of the calls."""
        self.meta.change_id += 1
        self.changed = True
        self._changes.append((self.meta.change_id, namespace, key, version, kind.value, self.now))

    def put(self, copies: Iterable[Copy]) -> None:
        """Store states, each of another key."""
        self.connection.executemany(_STORE_ENTRY, [rows.encode(copy) for copy in copies])

    def forget(self, keys: Iterable[tuple[str, str]]) -> None:
        """Remove rows, as if they had never been."""
        self.connection.executemany(_FORGET_ENTRY, [(namespace.encode(), key.encode()) for namespace, key in keys])

    def recall(self, namespace: str, request: WriteId) -> outcomes.Recorded | None:
        """What a request id did. Raises REQUEST_ID_REUSED."""
        at = (namespace.encode(), request.request_id.encode())
        row = load(self.connection, "load requests", [at]).get(at)
        return None if row is None else outcomes.decode(namespace, request, row)

    def remember(self, recorded: Iterable[outcomes.Row]) -> None:
        """Keep what request ids did, as encoded by `outcomes`."""
        self.connection.executemany(_STORE_REQUEST, recorded)

    def flush(self) -> None:
        """Write what was collected; all that is left is `commit`."""
        if self._changes:
            self.connection.executemany(_STORE_CHANGE, self._changes)
            self._changes.clear()
        if self.changed:
            self.meta.store(self.connection)

    def commit(self) -> None:
        """Make it durable."""
        reach("sqlite.commit.before")
        self.connection.execute("COMMIT")
        reach("sqlite.commit.after")
