"""`python -m tests.e2e.crashing_agent`: the plan agent, which dies at a point of a step, and the daemon with it.

What it does is in a log, each line on disk before it goes on: `over N` (took the plan over with N steps done), `work N`,
`kept N` (the checkpoint after it was acknowledged).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from examples.plan_agent.agent import State, run
from examples.plan_agent.calls import SAMPLE, read_calls
from statesidecar import StateClient

PLAN = "plan"
AMID = "amid the write"
"""While the daemon writes; a little later for each step."""
_LATER_S = 0.0004
_LOGGED = {"taken over": "over", "after the work": "work", "after the checkpoint": "kept"}


def main() -> None:
    """Works until it is done, or dead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("log", type=Path)
    parser.add_argument("--daemon", type=int, help="its process")
    parser.add_argument("--step", type=int)
    parser.add_argument("--point")
    parser.add_argument("--automatic", action="store_true")
    options = parser.parse_args()
    deaths: list[threading.Timer] = []

    def die() -> None:
        os.kill(options.daemon, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def reached(point: str, number: int, _state: State) -> None:
        if point in _LOGGED:
            _log(options.log, f"{_LOGGED[point]} {number}")
        if number != options.step:
            return
        if point == options.point:
            die()
        elif options.point == AMID and point == "after the work":
            deaths.append(threading.Timer(number * _LATER_S, die))
            deaths[-1].start()

    calls = read_calls(SAMPLE)
    sys.stdin.readline()  # The daemon serves
    with StateClient(options.target, timeout_s=30) as client:
        run(client, PLAN, calls, asked=not options.automatic, reached=reached)
    for death in deaths:
        death.join()


def _log(file: Path, line: str) -> None:
    with file.open("a") as log:
        log.write(f"{line}\n")
        log.flush()
        os.fsync(log.fileno())


if __name__ == "__main__":
    main()
