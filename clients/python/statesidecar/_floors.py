"""The newest version seen of each key: sent with reads, so that a caller reads its own writes through any sidecar."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

_KEYS_MAX: Final = 10_000


class Floors:
    """A bounded, thread-safe memory; a forgotten key costs a possibly older read, never a wrong one."""

    def __init__(self, keys_max: int = _KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._versions: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._lock = threading.Lock()

    def observe(self, namespace: str, key: str, version: int) -> None:
        """Remembers `version` unless a newer one is known. 0 is no version."""
        if version <= 0:
            return
        name = (namespace, key)
        with self._lock:
            if version > self._versions.get(name, 0):
                self._versions[name] = version
            self._versions.move_to_end(name)
            if len(self._versions) > self._keys_max:
                self._versions.popitem(last=False)

    def get(self, namespace: str, key: str) -> int:
        """The newest version seen. 0: none."""
        with self._lock:
            return self._versions.get((namespace, key), 0)

    def observe_all(self, namespace: str, keys: Iterable[str], versions: Iterable[int]) -> None:
        """As `observe`, for each key with its version: one turn of the lock for a batch."""
        with self._lock:
            held = self._versions
            for key, version in zip(keys, versions, strict=True):
                if version > 0:
                    name = (namespace, key)
                    if version > held.get(name, 0):
                        held[name] = version
                    held.move_to_end(name)
            while len(held) > self._keys_max:
                held.popitem(last=False)

    def get_all(self, namespace: str, keys: Iterable[str]) -> list[int]:
        """As `get`, for each key. Empty: none of them is known."""
        with self._lock:
            get = self._versions.get
            known = [get((namespace, key), 0) for key in keys]
        return known if any(known) else []

    def forget(self, namespace: str, key: str) -> None:
        """Drops what is known, where the authority has gone back in time."""
        with self._lock:
            self._versions.pop((namespace, key), None)
