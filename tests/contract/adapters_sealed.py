"""Stores and caches that see values only sealed, under the contract of those beneath them.

Each opening has a keyring that knows no data key yet, so what an earlier one sealed is unwrapped anew.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sidecar.core.cache import Cache
from sidecar.core.sealing import Sealer
from sidecar.stores.sealed.cache import SealedCache
from sidecar.stores.sealed.store import SealedStore, sealed
from tests.contract.harnesses import CacheHarness, StoreHarness
from tests.support.clock import ManualClock
from tests.support.keys import keyring

KEYS = "keys-of-the-test"
OVERHEAD = 4 + 1 + len("first") + 2 + 60 + 16 + 12 + 16
"""Of an envelope whose data key is wrapped by a key file called `first`."""


def sealed_store(harness: StoreHarness) -> StoreHarness:
    """The harness of a store, sealed. Spoilt bytes are the store's own business, and sizes are counted beneath."""

    def make(directory: Path, clock: ManualClock) -> SealedStore:
        return sealed(harness.make(directory, clock), keyring(directory.parent / KEYS, clock=clock))

    return replace(harness, name=f"sealed-{harness.name}", make=make, overhead=OVERHEAD, counts=False, spoil=None)


def sealed_cache(harness: CacheHarness, sealer: Callable[[], Sealer]) -> CacheHarness:
    """The harness of a cache, sealed; its size is counted beneath."""

    def make(bytes_max: int) -> Cache:
        return SealedCache(harness.make(bytes_max), sealer())

    return replace(harness, name=f"sealed-{harness.name}", make=make, bounded=False)


@cache
def _cache_keys() -> Path:
    """A directory that goes with the process."""
    made = TemporaryDirectory()
    atexit.register(made.cleanup)
    return Path(made.name)


def cache_sealer() -> Sealer:
    """A keyring for a cache: caches of a run share its key."""
    return keyring(_cache_keys())
