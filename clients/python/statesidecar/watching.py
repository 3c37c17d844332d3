"""What a watch tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from statesidecar.types import Entry


class WatchEventType(IntEnum):
    """What happened."""

    #: An event of a later release.
    UNSPECIFIED = 0
    #: The entry was written. In a snapshot: it is there.
    PUT = 1
    #: It was deleted.
    DELETE = 2
    #: It expired.
    EXPIRE = 3
    #: The snapshot is complete: what it did not show is not there.
    SYNCED = 101
    #: Forget what was told so far: a new snapshot begins.
    RESYNC = 102

    @classmethod
    def _missing_(cls, value: object) -> WatchEventType:
        del value  # A value of a later release: not known here
        return cls.UNSPECIFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """One event of a watch."""

    type: WatchEventType
    #: Namespace, key and version; of a PUT with `include_value`, all of it. None: of SYNCED and RESYNC.
    entry: Entry | None = None
    #: A PUT whose value was asked for too late: the key has changed since, and a later event of it comes.
    superseded: bool = False
    #: Goes on after this event. Empty: within a snapshot, from which nobody can go on.
    resume_token: str = ""

    @property
    def key(self) -> str:
        """The entry's key. Empty: of SYNCED and RESYNC."""
        return "" if self.entry is None else self.entry.key

    @property
    def version(self) -> int:
        """The version of the change: of one key they rise, and all changes of a transaction have the same."""
        return 0 if self.entry is None else self.entry.version
