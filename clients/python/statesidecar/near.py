"""Settings of the client's near cache."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCache:
    """Copies of a namespace's entries in this process: a hit costs microseconds, and says how old it may be.

    Given to a client by namespace: `near={"model": NearCache()}`. Copies are forgotten when the daemon tells that their keys
    were changed, within milliseconds as a rule; `max_age_s` holds whatever happens. Raises ValueError for settings that keep
    nothing.
    """

    #: What the copies of the namespace may take: keys, values, and what Python needs for them.
    bytes_max: int = 16 * 1024 * 1024
    #: No copy is returned so many seconds after the read that brought it was begun.
    max_age_s: float = 5.0

    def __post_init__(self) -> None:
        if self.bytes_max <= 0 or not 0 < self.max_age_s < math.inf:
            raise ValueError("bytes_max > 0 and 0 < max_age_s < inf are needed")
