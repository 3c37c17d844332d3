"""A map bounded by bytes that keeps what is asked for often: W-TinyLFU by moka.

(Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission Policy", ACM Transactions on Storage, 2017.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import moka_py

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TinyLfuMap(Generic[K, V]):
    """Holds at most `bytes_max`, of which a pair takes `size(key, value)`; may forget anything at any time."""

    def __init__(self, bytes_max: int, size: Callable[[K, V], int]) -> None:
        self._held: moka_py.Moka[K, V] = moka_py.Moka(capacity=bytes_max, policy="tiny_lfu", weigher=size)

    @property
    def bytes_held(self) -> int:
        """What is held now."""
        self._held.run_pending_tasks()
        return self._held.weighted_size()

    def __len__(self) -> int:
        self._held.run_pending_tasks()
        return self._held.count()

    def get(self, at: K) -> V | None:
        """What is held."""
        return self._held.get(at)

    def put(self, at: K, held: V) -> None:
        """Hold, or not."""
        self._held.set(at, held)

    def drop(self, at: K) -> None:
        """Forget one."""
        self._held.remove(at)

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()
