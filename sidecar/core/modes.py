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


def serving_mode(*, authority_answers: bool, copies_answer: bool, recovering: bool = False) -> ServingMode:
    """The guarantee that a daemon's answers carry: what was committed, what was once committed, or nothing.

    `copies_answer`: what is cached, or kept until the authority has it, may answer in the authority's place.
    `recovering`: the authority answers again, and that has not lasted yet, or it has not all that was kept for it.
    """
    if authority_answers and not recovering:
        return ServingMode.NORMAL
    return ServingMode.DEGRADED if authority_answers or copies_answer else ServingMode.PASSTHROUGH
