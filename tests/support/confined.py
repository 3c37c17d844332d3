"""Failpoints are the process's, and other tests' daemons may run in it: effects that happen only to who armed them."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

_ARMED_HERE: ContextVar[bool] = ContextVar("armed_here", default=False)


def confine() -> None:
    """From now on this task is meant, with the tasks and threads that it begins."""
    _ARMED_HERE.set(True)


def is_meant() -> bool:
    """Whether whoever came by a place is one of those."""
    return _ARMED_HERE.get()


def confined(effect: Callable[[], None]) -> Callable[[], None]:
    """The effect, for those alone."""

    def reached() -> None:
        if is_meant():
            effect()

    return reached
