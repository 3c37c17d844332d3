"""Waiting for what gives no signal: asked again and again, within bounds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 30.0
"""A scrape comes each second, the first one after five; this bounds how long a failing test waits."""
T = TypeVar("T")


def until(found: Callable[[], T], enough: Callable[[T], object] = bool, *, within_s: float = PATIENCE_S) -> T:
    """What is found once it is enough."""
    end = time.monotonic() + within_s
    while not enough(result := found()):
        assert time.monotonic() < end, f"it is still {result!r}"
    return result
