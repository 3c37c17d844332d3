"""What of a target's run is a finding, besides what it raises itself."""

from __future__ import annotations

import time

from tests.fuzz.targets import Target

CPU_S_MAX = 1.0
"""Of one input: by the processor's time, since a machine that is busy with other things slows every input down."""


class TooSlow(Exception):
    """An input took too long."""


def judged(target: Target, data: bytes) -> None:
    """Run a target on one input. Raises what is a finding."""
    begin = time.process_time()
    target.check(data)
    if (taken := time.process_time() - begin) > CPU_S_MAX:
        raise TooSlow(f"{taken:.1f} s of processor time for {len(data)} bytes")
