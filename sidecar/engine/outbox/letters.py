"""Dead letters: messages that were given up on, as rows `z/<namespace>␟<time><id>`. They can be put back into the queue."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass

from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss, OutcomeUnknown, Unavailable, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.ledger import DEAD_LETTERS, SEPARATOR
from sidecar.core.operations import Forget, Put
from sidecar.core.outbox import Pending
from sidecar.tiers.ledger import Ledger
from sidecar.tiers.news import News

PAGE = 100
_LENGTH = struct.Struct(">I")
_TIME_DIGITS = 12
_CLOCKS_MS = 1_000
"""By so much the clocks of daemons may differ, as they know the authority's."""


def letters_of(namespace: str) -> str:
    """The prefix of a namespace's dead letters, oldest first."""
    return f"{DEAD_LETTERS}{namespace}{SEPARATOR}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that was given up on. `attempts`: how often it was tried; `time`: when it was given up."""

    message: Pending
    reason: str
    attempts: int
    time: int

    @property
    def cursor(self) -> str:
        """For the letters after this one."""
        return f"{self.time:0{_TIME_DIGITS}x}{self.message.id}"

    def put(self, retention_s: float) -> Put:
        """What stores it."""
        told = {"reason": self.reason, "attempts": self.attempts, "time": self.time, "order": self.message.order}
        header = json.dumps(told).encode()
        value = b"".join([_LENGTH.pack(len(header)), header, self.message.encode()])
        key = letters_of(self.message.namespace) + self.cursor
        return Put(key=key, value=value, ttl_ms=max(int(retention_s * 1000), 1))

    @classmethod
    def decode(cls, row: Entry) -> DeadLetter:
        """Inverse of `put`. Raises DataLoss."""
        try:
            namespace, _, name = row.key.removeprefix(DEAD_LETTERS).partition(SEPARATOR)
            (length,) = _LENGTH.unpack(row.value[: _LENGTH.size])
            end = _LENGTH.size + length
            told = json.loads(row.value[_LENGTH.size : end])
            message = Pending.unpack(
                row.value[end:], namespace=namespace, order=told["order"], message_id=name[_TIME_DIGITS:]
            )
            return cls(message=message, reason=told["reason"], attempts=told["attempts"], time=told["time"])
        except (ValueError, KeyError, TypeError, RecursionError, struct.error) as exc:
            raise DataLoss("a dead letter is in no known form", metadata={"row": row.key}) from exc


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Dead letters, oldest first, and where the next page begins; empty: this was the last."""

    letters: Sequence[DeadLetter]
    after: str = ""


class DeadLetters:
    """Those of one authority. Errors are those of the Store port."""

    def __init__(self, ledger: Ledger, news: News) -> None:
        self._ledger = ledger
        self._news = news

    async def list(self, namespace: str, *, after: str = "", limit: int = PAGE) -> LetterPage:
        """A page of them, after the cursor of the page before. Raises DataLoss."""
        prefix = letters_of(namespace)
        page = await self._ledger.scan(prefix, after=prefix + after if after else None, limit=limit)
        letters = [DeadLetter.decode(row) for row in page.entries]
        return LetterPage(letters, letters[-1].cursor if page.more else "")

    async def redrive(self, namespace: str, ids: Collection[str] | None) -> int:
        """Put them back into the queue under their ids, one commit each; None: all that are there now. How many it was.

        What ends half-way may be done again: what is in the queue already is no dead letter any more. Raises
        OutcomeUnknown once some were put back, and what the authority raises.
        """
        count = 0
        try:
            async for _ in self._redriven(namespace, None if ids is None else set(ids)):
                count += 1
        except Unavailable as exc:
            if not count:
                raise
            # UNAVAILABLE would say that nothing was done.
            raise OutcomeUnknown(
                f"{count} dead letters were put back when the authority went away: repeat it for the others"
            ) from exc
        return count

    async def _redriven(self, namespace: str, wanted: set[str] | None) -> AsyncIterator[str]:
        """The ids that were put back, as they are."""
        now = self._ledger.now()
        prefix = letters_of(namespace)
        after: str | None = None
        while wanted is None or wanted:
            page = await self._ledger.scan(prefix, after=after, limit=PAGE, keys_only=True)
            for row in page.entries:
                name = row.key.removeprefix(prefix)
                message = name[_TIME_DIGITS:]
                if wanted is None and int(name[:_TIME_DIGITS], 16) > now + _CLOCKS_MS:
                    return  # died again since we began
                if wanted is None or message in wanted:
                    if await self._put_back(row):
                        yield message
                    if wanted is not None:
                        wanted.discard(message)
            if not page.more:
                break
            after = page.entries[-1].key

    async def _put_back(self, name: Entry) -> bool:
        """Whether it was there."""
        (row,) = await self._ledger.get([name.key])
        if row is None:
            return False
        message = DeadLetter.decode(row).message
        reach("outbox.redrive.before")
        try:
            await self._ledger.commit(
                [
                    Forget(key=row.key, expected_version=row.version),
                    Put(key=message.row, value=message.encode()),
                ]
            )
        except VersionConflict:
            return False  # somebody else has put it back
        reach("outbox.redrive.after")
        self._news.committed()
        return True
