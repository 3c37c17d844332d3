"""What the calls about checkpoints answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from statesidecar.types import Entry, ServingMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A key, or all keys under a prefix, as they were at one moment; without their values."""

    namespace: str
    #: Names it for ever. Ids sort by time.
    checkpoint_id: str
    #: The key it is of. Empty: of a prefix.
    key: str = ""
    #: The prefix it is of, if it is of one.
    key_prefix: str = ""
    label: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: The checkpoint it continues; it may have been deleted since. Empty: none.
    parent_id: str = ""
    create_time: datetime | None = None
    entry_count: int = 0
    #: Of the entries' values.
    value_bytes: int = 0
    #: What it added to what is stored. 0: all of it was there, or it waits to be stored by what changed.
    stored_bytes: int = 0
    #: The namespace's policy made it; nobody asked for it.
    automatic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointContent:
    """What `get_checkpoint` read."""

    checkpoint: Checkpoint
    #: As they were, in key order.
    entries: tuple[Entry, ...]
    mode: ServingMode

    @property
    def entry(self) -> Entry | None:
        """The only entry; None where there is none, or there are more."""
        return _only(self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    """What `restore` wrote."""

    #: As they are now, with their new version; without values where they don't fit one message, and none where keys don't.
    entries: tuple[Entry, ...]
    #: Of all of them.
    version: int
    mode: ServingMode

    @property
    def entry(self) -> Entry | None:
        """The only entry; None where there is none, or there are more."""
        return _only(self.entries)


def _only(entries: tuple[Entry, ...]) -> Entry | None:
    return entries[0] if len(entries) == 1 else None
