"""Named places at which a test may end or hold the process: before and after every effect that the outside can see.

Costs one lookup in an empty dictionary. Armed only by `runtime.failpoints`, from the environment.
"""

from __future__ import annotations

from collections.abc import Callable

armed: dict[str, Callable[[], None]] = {}
"""What happens at which place."""


def reach(name: str) -> None:
    """This place was reached."""
    if armed and (effect := armed.get(name)) is not None:
        effect()
