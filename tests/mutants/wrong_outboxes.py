"""Wrong stores of messages and of cursors: rows that are late, early, or of another life of the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sidecar.core.entry import Entry
from sidecar.core.errors import VersionConflict
from sidecar.core.ledger import LEDGER, MESSAGES
from sidecar.core.operations import Put, Write
from sidecar.core.store import ChangePage, Outcome
from sidecar.stores.memory import MemoryStore

LATE = 6
"""Writes that a message is late by."""


class MessagesOfRefusedWrites(MemoryStore):
    """Messages are stored first, and stay when their write is refused."""

    def _apply(self, write: Write) -> Outcome:
        try:
            return super()._apply(write)
        except VersionConflict:
            puts = [operation for operation in write.operations if isinstance(operation, Put)]
            if write.outbox and puts:
                before = self._namespace(write.namespace).copy()
                super()._apply(replace(write, operations=tuple(replace(put, expected_version=None) for put in puts)))
                self._rows[write.namespace] = before
            raise


class MessagesLandLate(MemoryStore):
    """Every other write's messages are stored some writes later: an outbox that is written on the side."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._late: list[list[Entry]] = []

    def _apply(self, write: Write) -> Outcome:
        outcome = super()._apply(write)
        rows = self._namespace(LEDGER)
        mine = [rows[key] for key in rows if key.startswith(MESSAGES) and rows[key].version == outcome.version]
        held = [row for row in mine if isinstance(row, Entry)] if outcome.version % 2 else []
        for row in held:
            self._forget(LEDGER, row.key)
        self._late.append(held)
        for row in self._late.pop(0) if len(self._late) == LATE else ():
            self._put(row)
        return outcome


class ForgottenRowsStillEnd(MemoryStore):
    """What is forgotten comes back as an expiry when its end has come."""

    def _forget(self, namespace: str, key: str) -> None:
        before = self._namespace(namespace).get(key)
        super()._forget(namespace, key)
        if isinstance(before, Entry) and before.ttl_ms is not None:
            self._put(before._replace(value=b""))


class CursorsBeginAtZero(MemoryStore):
    """Another life of the store hands out the cursors of the one before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._change_count = 0


class CursorBeyondTheNewestHides(MemoryStore):
    """Who was ahead hears nothing, and of no gap."""

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        if after is not None and after > self._change_count:
            return ChangePage(changes=(), cursor=after)
        return await super().changes(after=after, limit=limit)


class CursorsOfPages(MemoryStore):
    """A cursor counts pages of the size that its reader asked for."""

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        page = await super().changes(after=after, limit=limit)
        if after is None or page.gap or len(page.changes) < limit or limit == 1:
            return page
        return replace(page, cursor=page.cursor - 1, cursors=(*page.cursors[:-1], page.cursor - 1))


class NoCursorWithinACommit(MemoryStore):
    """The cursor after each row of a commit is that after all of them."""

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        page = await super().changes(after=after, limit=limit)
        last = {row.version: cursor for row, cursor in zip(page.changes, page.cursors, strict=True)}
        return replace(page, cursors=tuple(last[row.version] for row in page.changes))
