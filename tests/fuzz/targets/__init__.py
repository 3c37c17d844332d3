"""The targets: a module for each, with `seeds()`, valid examples, and `check(data)`, which raises where something is wrong.

What a decoder may raise is suppressed where it is called, so anything else that comes out of `check` is a finding.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Protocol, cast


class Target(Protocol):
    """What a module of this package has."""

    @staticmethod
    def seeds() -> Iterable[bytes]:
        """Inputs to begin with."""
        ...

    @staticmethod
    def check(data: bytes) -> None:
        """Raises what is a finding."""
        ...


NAMES = sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Target:
    """A target, with all that it imports."""
    return cast("Target", importlib.import_module(f"{__name__}.{name}"))
