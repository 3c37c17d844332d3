"""How many messages wait, and since when: counted now and then, page by page, of a whole authority."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.core.ledger import DEAD_LETTERS, MESSAGES, SEPARATOR
from sidecar.tiers.ledger import Ledger

PAGE = 500
AFTER_ALL = "~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Of a namespace. `messages`: at most somewhat more than `pending_max`; `oldest`: when the oldest was committed, 0:
    there is none; `dead_letters`: at most as many.
    """

    messages: int = 0
    oldest: int = 0
    dead_letters: int = 0


class Census:
    """Counts what waits in an authority. Between two whole counts, a namespace that has become full is known at once."""

    def __init__(self, ledger: Ledger, pending_max: int) -> None:
        self.pending_max = pending_max
        self._ledger = ledger
        self._counted: dict[str, Waiting] = {}
        self._counting: dict[str, Waiting] = {}
        self._prefix = MESSAGES
        self._after: str | None = None

    def of(self, namespace: str) -> Waiting:
        """By the latest count."""
        return self._counted.get(namespace, Waiting())

    def full(self, namespace: str) -> bool:
        """Whether no more messages may wait."""
        return self.of(namespace).messages >= self.pending_max

    def namespaces(self) -> Mapping[str, Waiting]:
        """Those with messages or dead letters."""
        return self._counted

    def lag_ms(self) -> int:
        """How long the oldest message has been waiting."""
        oldest = min((one.oldest for one in self._counted.values() if one.oldest), default=0)
        return max(self._ledger.now() - oldest, 0) if oldest else 0

    async def round(self) -> bool:
        """A page. Whether more of this count is left. Raises what the authority raises."""
        page = await self._ledger.scan(self._prefix, after=self._after, limit=PAGE, keys_only=True)
        for row in page.entries:
            self._count(row.key.removeprefix(self._prefix).partition(SEPARATOR)[0], row.create_time)
        if page.more:
            self._after = self._behind(page.entries[-1].key)
            return True
        self._after = None
        if self._prefix == MESSAGES:
            self._prefix = DEAD_LETTERS
            return True
        self._prefix = MESSAGES
        self._counted, self._counting = self._counting, {}
        return False

    def _count(self, namespace: str, committed: int) -> None:
        before = self._counting.get(namespace, Waiting())
        if self._prefix == DEAD_LETTERS:
            after = Waiting(messages=before.messages, oldest=before.oldest, dead_letters=before.dead_letters + 1)
        else:
            oldest = min(before.oldest or committed, committed)
            after = Waiting(messages=before.messages + 1, oldest=oldest, dead_letters=before.dead_letters)
        self._counting[namespace] = after

    def _behind(self, key: str) -> str:
        """Where the count goes on: behind the namespace, if it need not be known how much more it has."""
        namespace = key.removeprefix(self._prefix).partition(SEPARATOR)[0]
        counted = self._counting[namespace]
        if self._prefix == DEAD_LETTERS:
            enough = counted.dead_letters >= self.pending_max
        else:
            enough = counted.messages >= self.pending_max
            if enough:
                # Known at once: writers are to hear of it before a million more are counted.
                self._counted[namespace] = counted
        return f"{self._prefix}{namespace}{SEPARATOR}{AFTER_ALL}" if enough else key
