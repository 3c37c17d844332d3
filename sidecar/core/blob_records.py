"""Records of blobs: whose a large object in the cold tier is. One is in the ledger before its object is anywhere.

A blob's name is `<store id>/<12 hex digits of milliseconds><16 of chance>`: it is used once, and says which authority's
ledger has its record, however many authorities share a cold tier.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from sidecar.core.errors import DataLoss
from sidecar.core.operations import Check

_ID_DIGITS, _TIME_DIGITS, _CHANCE_DIGITS = 16, 12, 16
_HEX = "0123456789abcdef"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who needs a blob: a key of a namespace, for its value; or a checkpoint's content."""

    namespace: str = ""
    key: str = ""
    content: str = ""


class BlobState(StrEnum):
    """Whether a blob may still be named by a new pointer."""

    KEPT = "kept"
    CONDEMNED = "condemned"


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """What the ledger says of a blob. Since when, the row says itself: its update time is the authority's."""

    owner: Owner
    state: BlobState = BlobState.KEPT

    def encode(self) -> bytes:
        """As JSON."""
        owner = self.owner
        told = {"content": owner.content} if owner.content else {"namespace": owner.namespace, "key": owner.key}
        return json.dumps(told | {"state": self.state.value}, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, stored: bytes) -> BlobRecord:
        """Inverse of `encode`. Raises DataLoss."""
        try:
            told = json.loads(stored)
            state = BlobState(told.pop("state"))
            return cls(Owner(**told), state)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise DataLoss("a blob's record is in no known form", reason="BLOB_CORRUPT") from exc


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob that is in cold, durably. Who commits a pointer to it carries `check` in the same write."""

    blob: str
    check: Check


def store_id(secret: bytes) -> str:
    """What begins the names of the blobs of the ledger with this secret."""
    return hashlib.sha256(secret).hexdigest()[:_ID_DIGITS]


def blob_name(store: str, now: int, chance: str) -> str:
    """A new blob's name, at a time in milliseconds; `chance` is a random text in hex."""
    return f"{store}/{now:0{_TIME_DIGITS}x}{chance[:_CHANCE_DIGITS]:0>{_CHANCE_DIGITS}}"


def named_time(blob: str) -> int | None:
    """The milliseconds in a blob's name; None: it is no such name."""
    store, _, rest = blob.partition("/")
    known = len(store) == _ID_DIGITS and len(rest) == _TIME_DIGITS + _CHANCE_DIGITS and not rest.strip(_HEX)
    return int(rest[:_TIME_DIGITS], 16) if known else None
