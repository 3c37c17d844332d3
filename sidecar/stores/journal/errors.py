"""What an error of the journal's disk means to a caller. Every OSError of the journal passes through here."""

from __future__ import annotations

from pathlib import Path

from sidecar.core.errors import LimitExceeded, SidecarError, StoreCorrupt, StoreUnavailable, store_corrupt
from sidecar.stores.disk import disk_error


def unavailable(exc: OSError) -> StoreUnavailable:
    """The journal's disk is full, away or read-only; nothing was kept."""
    error = disk_error(exc)
    known = error if isinstance(error, StoreUnavailable) else None
    found = StoreUnavailable(
        f"the journal keeps nothing: {error.message}",
        reason=known.reason if known else StoreUnavailable.default_reason,
        metadata=error.metadata,
    )
    found.__cause__ = exc
    return found


def not_open() -> SidecarError:
    """Somebody calls before `open`, or after `close`."""
    return StoreUnavailable("the journal is not open")


def full(size: int, held: int, bytes_max: int) -> LimitExceeded:
    """A write that doesn't fit."""
    return LimitExceeded(
        f"the journal holds {held} of {bytes_max} bytes, and the write takes {size}: it empties when the authority is back;"
        " until then remove dead writes, or raise the limit",
        reason="JOURNAL_FULL",
        retry_after_s=5.0,
        metadata={"bytes_held": str(held), "bytes_max": str(bytes_max), "bytes": str(size)},
    )


def spoilt(path: Path, position: int, why: str) -> StoreCorrupt:
    """Bytes that were durable are no longer what they were."""
    return _corrupt(path, f"the journal's file {path} is spoilt at byte {position}: {why}")


def missing(path: Path) -> StoreCorrupt:
    """A file between others is not there."""
    return _corrupt(path, f"the journal's file {path} is missing, and later ones are there")


def of_newer_release(path: Path, what: str) -> StoreCorrupt:
    """A form that this release doesn't know."""
    error = store_corrupt(
        f"the journal's file {path} is of a release that this one doesn't know ({what}): run that release until it has"
        f" replayed its journal, or move {path.parent} away, and with it the acknowledged writes that it holds"
    )
    error.metadata["file"] = str(path)
    return error


def _corrupt(path: Path, what: str) -> StoreCorrupt:
    error = store_corrupt(
        f"{what}; it is left as it is. Put it back from a copy, or move {path.parent} away to begin an empty journal: the"
        " acknowledged writes that it holds are then not replayed"
    )
    error.metadata["file"] = str(path)
    return error
