"""What a reply says about itself. The numbers are those of the protos."""

from __future__ import annotations

from enum import IntEnum


class ServingMode(IntEnum):
    """Which guarantee a reply carries."""

    NORMAL = 1
    DEGRADED = 2
    PASSTHROUGH = 3


class Tier(IntEnum):
    """A rank of storage."""

    NONE = 0
    NEAR = 1
    HOT = 2
    WARM = 3
    COLD = 4


class Durability(IntEnum):
    """What became of an acknowledged write."""

    NONE = 0
    COMMITTED = 1
    VOLATILE = 2
    BUFFERED = 3
    DISCARDED = 4


def serving_mode(*, authority_up: bool, copy_may_answer: bool) -> ServingMode:
    """The mode of a daemon whose authority answers or not, and whose cache can answer in its place or not."""
    if authority_up:
        return ServingMode.NORMAL
    return ServingMode.DEGRADED if copy_may_answer else ServingMode.PASSTHROUGH
