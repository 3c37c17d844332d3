"""Records of a journal, sealed: the files are on this machine's disk, and hold what callers wrote."""

from __future__ import annotations

from sidecar.core.sealing import Codec, place

NAMESPACE = "\x1fjournal"
"""Whose data keys seal records; no caller's namespace is called so."""
_AT = place("journal")


def sealed(codec: Codec | None, record: bytes) -> bytes:
    """A record as it is written."""
    return record if codec is None else codec.seal(record, _AT)


def opened(codec: Codec | None, content: bytes) -> bytes:
    """A record as it was. Raises DataLoss, KeyAway."""
    return content if codec is None else codec.open(content, _AT, namespace=NAMESPACE)
