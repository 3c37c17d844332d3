"""Key ranges as bounds on the stored bytes."""

from __future__ import annotations

from sidecar.core.keys import prefix_end

_ABOVE_ALL = b"\xff"
"""Greater than any UTF-8."""


def key_range(prefix: str, after: str | None) -> tuple[bytes, bytes]:
    """The least key to take, and the bound below which all are; `after` is not taken itself."""
    end = prefix_end(prefix)
    lower = prefix.encode()
    if after is not None:
        lower = max(lower, after.encode() + b"\0")  # the least string above `after`
    return lower, _ABOVE_ALL if end is None else end.encode()
