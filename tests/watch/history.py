"""What was committed, and what each watcher was told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Change(NamedTuple):
    """One change of a key. `kind`: put, delete or expire."""

    kind: str
    key: str
    version: int


class Heard(NamedTuple):
    """One response. `change` None: a bookmark. `value` None: it came without."""

    token: str
    change: Change | None = None
    value: bytes | None = None
    superseded: bool = False
    complete: bool = False


@dataclass
class Committed:
    """What writers know. `doubtful`: changes that may have been committed: their answers were lost."""

    values: dict[Change, bytes] = field(default_factory=dict)
    """Every change that was acknowledged, with the value that it wrote."""
    ending: set[Change] = field(default_factory=set)
    """Those that were written with a ttl: over when it is, and swept later, or overwritten."""
    doubtful: set[tuple[str, str, bytes]] = field(default_factory=set)
    """Kind, key and value of those."""
    transactions: list[frozenset[Change]] = field(default_factory=list)

    def add(self, *changes: tuple[Change, bytes]) -> None:
        """A commit was acknowledged."""
        self.values.update(changes)
        if len(changes) > 1:
            self.transactions.append(frozenset(change for change, _ in changes))


@dataclass
class Chain:
    """One watcher over all its streams, each of which went on where the one before was cut.

    `before`: changes that were acknowledged before it began; `meanwhile`: and until its snapshot was complete.
    """

    name: str
    key: str = ""
    prefix: str = ""
    values: bool = False
    snapshot: bool = False
    heard: list[Heard] = field(default_factory=list)
    before: frozenset[Change] = frozenset()
    meanwhile: frozenset[Change] = frozenset()

    @property
    def told(self) -> list[Change]:
        """All changes, in order; those of a snapshot among them."""
        return [one.change for one in self.heard if one.change is not None]

    @property
    def shown(self) -> list[Change]:
        """What the snapshot showed."""
        end = next((at for at, one in enumerate(self.heard) if one.complete), 0)
        return [one.change for one in self.heard[:end] if one.change is not None]

    def holds(self, change: Change) -> bool:
        """Whether it watches a change's key."""
        return change.key == self.key if self.key else change.key.startswith(self.prefix)
