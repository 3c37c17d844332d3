"""The embedded backends without a file: a store for volatile state, and the cache."""

from sidecar.stores.memory.cache import MemoryCache
from sidecar.stores.memory.store import MemoryStore

__all__ = ["MemoryCache", "MemoryStore"]
