"""What becomes of a buffered Set when the authority answers again: committed, or dead with a reason. Pure.

The write was acknowledged on a base: the state of the key that its daemon knew. Where the key is still in that state, the
write is applied. Where somebody else was there, the namespace's `reconcile` decides: `reject` keeps it for a person,
`last_write_wins` compares when the writes were made, `merge` puts both sides' changes together. What is committed is
guarded by the state that was judged, so whoever loses that race asks again with the newer one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from sidecar.core import three_way
from sidecar.core.entry import Copy, Entry, Tombstone, live
from sidecar.core.hlc import entry_hlc, hlc_label, hlc_of
from sidecar.core.journal import Base, Buffering, Settlement
from sidecar.core.marks import callers_labels
from sidecar.core.operations import Put
from sidecar.core.policy import Reconcile


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Commit this, guarded by the state that was judged; then the write is settled so."""

    put: Put
    settlement: Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """It can't be committed: a reason as in errors, and words for whoever looks at it."""

    reason: str
    message: str


def reconcile(
    policy: Reconcile,
    write: Buffering,
    current: Copy | None,
    *,
    now: int,
    sliding: bool,
    ttl_default_ms: int | None,
    value_bytes_max: int,
) -> Commit | Dead:
    """What to do with a buffered Put, the first that is pending for its key.

    `current` is the authority's state and `now` its time in milliseconds; what follows is of the namespace's policy. The
    base is what the writer's daemon would have answered; after an earlier write of the same journal it has that one's
    value, and a negative version, because nobody knows it. A fixed ttl counts from when the write was acknowledged, a
    sliding one from now: writing is using.
    """
    put = write.operation
    assert isinstance(put, Put), "an update says what to change: it is done again, not reconciled"
    entry = live(current, now)
    put = replace(put, expected_version=0 if entry is None else entry.version)
    given = ttl_default_ms if put.ttl_ms is None else put.ttl_ms
    if given is not None and not sliding:
        left = given - max(0, now - write.time)
        if left <= 0:
            return Dead(reason="EXPIRED", message=f"its ttl of {given} ms ended before the authority was back")
        put = replace(put, ttl_ms=left)
    match policy:
        case Reconcile.REJECT:
            return _reject(write, put, current, entry)
        case Reconcile.LAST_WRITE_WINS:
            return _by_time(write, put, current, entry)
        case Reconcile.MERGE:
            if _stands(write.base, current, entry) or _seen(write.base, entry):
                return _applied(put, write.hlc)
            if entry is None:
                return Dead(reason="MERGE_CONFLICT", message="the key was deleted by another writer, or has ended")
            ends = _Ends(ours=put.ttl_ms or ttl_default_ms, now=now, sliding=sliding)
            return _merge(write, put, entry, ends, value_bytes_max)
        case _:
            assert_never(policy)


def _stands(base: Base | None, current: Copy | None, entry: Entry | None) -> bool:
    """Whether the key is in the state that was the base; where nothing was known of it, an absent key is."""
    if base is None:
        return entry is None
    if entry is None and (base.version == 0 or (base.value is None and current is None)):
        return True
    return current is not None and current.version == base.version


def _seen(base: Base | None, entry: Entry | None) -> bool:
    """Whether the value is the one that the writer saw, under whichever version.

    So a write finds what the one before it in the same journal made: of that nobody knew the version.
    """
    return base is not None and entry is not None and entry.value == base.value


def _reject(write: Buffering, put: Put, current: Copy | None, entry: Entry | None) -> Commit | Dead:
    if _stands(write.base, current, entry) or _seen(write.base, entry):
        return Commit(put=put, settlement=Settlement.APPLIED)
    found = "the key is gone" if entry is None else f"the key has version {entry.version}"
    return Dead(reason="VERSION_MISMATCH", message=f"{found}; when it was written {_known(write.base)}")


def _known(base: Base | None) -> str:
    if base is None:
        return "nothing was known of the key"
    if base.version < 0:
        return "it stood on another buffered write"
    return "there was no entry" if base.value is None else f"that was {base.version}"


def _by_time(write: Buffering, put: Put, current: Copy | None, entry: Entry | None) -> Commit | Dead:
    """The later write stays, and of two of one instant the greater value: so every order of replays ends in the same.

    That needs a write to be later than its base, which its daemon has observed.
    """
    if _stands(write.base, current, entry) or _follows(write.base, entry):
        return _applied(put, write.hlc)
    match current:
        case Entry():
            wins = (write.hlc, put.value) >= (entry_hlc(current), current.value)
        case Tombstone():
            wins = write.hlc >= hlc_of(current.delete_time)
        case None:
            wins = True  # Gone for longer than tombstones are kept
        case _:
            assert_never(current)
    if wins:
        return _applied(put, write.hlc)
    what = "written" if isinstance(current, Entry) else "deleted"
    return Dead(reason="SUPERSEDED", message=f"the key was {what} by another after this write")


def _follows(base: Base | None, entry: Entry | None) -> bool:
    """Whether this is what an update before it in the same journal made: done again late, it has a late time."""
    if base is None or entry is None or base.version >= 0:
        return False
    return _seen(base, entry) and entry_hlc(entry) == hlc_of(entry.update_time)


@dataclass(frozen=True, slots=True)
class _Ends:
    """When both sides end. `ours`: a ttl in milliseconds; None: without end."""

    ours: int | None
    now: int
    sliding: bool

    def later(self, entry: Entry) -> int | None:
        """The ttl that lets neither side end early."""
        if self.ours is None or entry.expire_time is None:
            return None
        theirs = entry.ttl_ms if self.sliding and entry.ttl_ms is not None else entry.expire_time - self.now
        return max(self.ours, theirs)


def _merge(write: Buffering, put: Put, entry: Entry, ends: _Ends, value_bytes_max: int) -> Commit | Dead:
    if put.schema_version != entry.schema_version:
        versions = f"{put.schema_version} and {entry.schema_version}"
        return Dead(reason="MERGE_CONFLICT", message=f"values of the schema versions {versions} can't be merged")
    try:
        value = _merged_value(write.base, put.value, entry.value)
    except three_way.NotMergeable as exc:
        return Dead(reason="MERGE_CONFLICT", message=f"{exc}; the key has version {entry.version}")
    except ValueError as exc:
        return Dead(reason="NOT_JSON", message=f"only JSON can be merged: {exc}")
    if len(value) > value_bytes_max:
        message = f"merged, the value has {len(value)} bytes, at most {value_bytes_max} are allowed"
        return Dead(reason="VALUE_TOO_LARGE", message=message)
    hlc = max(write.hlc, entry_hlc(entry))
    merged = replace(put, value=value, labels={**callers_labels(entry.labels), **put.labels}, ttl_ms=ends.later(entry))
    return Commit(put=_labelled(merged, hlc), settlement=Settlement.MERGED)


def _merged_value(base: Base | None, ours: bytes, theirs: bytes) -> bytes:
    if base is None:
        return three_way.join(ours, theirs)
    return three_way.merge(base.value, ours, theirs)


def _applied(put: Put, hlc: int) -> Commit:
    return Commit(put=_labelled(put, hlc), settlement=Settlement.APPLIED)


def _labelled(put: Put, hlc: int) -> Put:
    return replace(put, labels={**put.labels, **hlc_label(hlc, put.value)})
