"""The promises of the architecture that exist yet, by name, and the one way to check them.

Every check says which promise it is for, so the report can show how often each was exercised: a promise that no seed
exercised is a promise that nobody tested, and fails the run.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum


class Promise(StrEnum):
    """Names as in the architecture's table; each with what is checked here."""

    NO_LOST_UPDATE = "no-lost-update"
    """Writes and STRONG reads are linearizable per key: the effect of an answered write lies between call and answer,
    is what the write asked for on the state before it, and every acknowledged increment and item is there at the end."""
    AT_MOST_ONCE = "at-most-once"
    """A request has at most one effect, however often it is repeated; a refused one has none; answers do not change."""
    NO_RESURRECTION = "no-resurrection"
    """A guard with a version from before a deletion or an expiry never matches; versions are never handed out twice."""
    CACHE_FORGETS_NOT_LIES = "cache-forgets-not-lies"
    """A CACHED answer is a committed state, not older than the floor; after 10 s of calm every copy is the authority's."""
    NEVER_EARLY_HARDLY_LATE = "never-early-hardly-late"
    """What has not ended is found; what had ended before the call is not."""
    VALUE_AND_EXPIRY_TOGETHER = "value-and-expiry-together"
    """Value, version and expiry of every answer belong to one and the same committed state."""
    HONEST_MODE = "honest-mode"
    """Mode, tier and durability agree; DISCARDED and UNAVAILABLE have no effect, and are only said after a failure."""
    STARTS_ANYWAY = "starts-anyway"
    """A sidecar whose backends are away from its start answers every call, and serves normally when they come."""
    DRAIN_CLEAN = "drain-clean"
    """A draining sidecar answers all it admitted, and leaves no flight, no task and no followup behind."""


class Violation(Exception):
    """A promise was broken. `about` is the key, for the trace."""

    def __init__(self, promise: Promise, message: str, about: str = "") -> None:
        super().__init__(f"{promise}: {message}")
        self.promise = promise
        self.message = message
        self.about = about


class Ledger:
    """How often each promise was checked in a run."""

    def __init__(self) -> None:
        self.checks: Counter[str] = Counter()

    def require(self, promise: Promise, kept: bool, message: str, about: str = "") -> None:
        """Check a promise."""
        self.checks[promise.value] += 1
        if not kept:
            raise Violation(promise, message, about)
