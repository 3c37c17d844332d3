"""News of commits: whoever waits for some is woken, by this daemon's at once, by others' where the authority can tell.

News only save time. They may be lost, and whoever waits for them looks from time to time besides.
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.core.store import Hinting, Store


class News:
    """Those of one authority."""

    def __init__(self, authority: Store) -> None:
        self._hinting = authority if isinstance(authority, Hinting) else None
        self._shared = authority.capabilities.shared
        self._listeners: list[Callable[[], None]] = []
        if self._hinting is not None:
            self._hinting.on_hint(self._wake)

    @property
    def told(self) -> bool:
        """Whether other daemons' commits are heard of, too, just now: who waits for them needs to look less often."""
        return not self._shared if self._hinting is None else self._hinting.listening

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
