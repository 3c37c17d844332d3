"""News of commits: whoever waits for some is woken, by this daemon's at once, by others' where the authority can tell.

News only save time. They may be lost, and whoever waits for them looks from time to time besides.
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.core.store import Hinting, Store


class News:
    """Those of one authority. `told`: whether other daemons' commits are heard of, too, as a rule."""

    def __init__(self, authority: Store) -> None:
        self._hinting = authority if isinstance(authority, Hinting) else None
        self.told = self._hinting is not None or not authority.capabilities.shared
        self._listeners: list[Callable[[], None]] = []
        if self._hinting is not None:
            self._hinting.on_hint(self._wake)

    def listen(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call this at news, until what is answered is called."""
        self._listeners.append(heard)
        return lambda: self._listeners.remove(heard)

    def committed(self) -> None:
        """This daemon has committed something."""
        if self._hinting is not None:
            self._hinting.hint()
        self._wake()

    def _wake(self) -> None:
        for heard in self._listeners:
            heard()
