"""Arms `core.failpoints` from the environment: a test has the daemon killed at a place, the so many-th time it comes there.

`SIDECAR_CRASH_AT=commit.after:3` kills the process, as `kill -9` does, the third time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from sidecar.core import failpoints

VARIABLE = "SIDECAR_CRASH_AT"


def arm(environ: Mapping[str, str]) -> None:
    """Arm what the environment names; nothing, as a rule."""
    name, _, times = environ.get(VARIABLE, "").partition(":")
    if name:
        failpoints.armed[name] = _Crash(int(times or 1))


class _Crash:
    def __init__(self, times: int) -> None:
        self._left = times

    def __call__(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
