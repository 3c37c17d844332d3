"""`python -m examples.plan_agent`: a plan of 20 steps against a running daemon; killed and started again, it goes on."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from examples.plan_agent.agent import NAMESPACE, Reached, State, name_of, run
from examples.plan_agent.calls import SAMPLE, read_calls
from examples.plan_agent.steps import STEPS
from statesidecar import StateClient, StateSidecarError, VersionConflict


def main() -> int:
    """0: the plan is done. 3: another agent has taken it over. 1: the daemon can't be used."""
    options = _options()
    calls = read_calls(options.data)
    with StateClient(options.target, timeout_s=20) as client:
        try:
            state = run(client, options.plan, calls, asked=not options.automatic, reached=_reached(options.crash_at))
        except VersionConflict:
            print("another agent has taken this plan over", file=sys.stderr)
            return 3
        except StateSidecarError as error:
            print(f"the daemon at {client.target}: {error}", file=sys.stderr)
            return 1
        print(json.dumps(state["results"]["report"]))
        _show_checkpoints(client, options.plan)
    return 0


def _reached(crash_at: int | None) -> Reached:
    def reached(point: str, number: int, state: State) -> None:
        if point == "taken over":
            print(f"going on after step {number}" if number else "from the beginning", flush=True)
        elif point == "after the work" and number == crash_at:
            print(f"{number:2} of {len(STEPS)}  {name_of(number):12} worked out, not written: kill -9", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        elif point == "after the checkpoint":
            size = len(json.dumps(state["results"][name_of(number)]))
            print(f"{number:2} of {len(STEPS)}  {name_of(number):12} {size:6} bytes", flush=True)

    return reached


def _show_checkpoints(client: StateClient, plan: str) -> None:
    kept = list(client.list_checkpoints(NAMESPACE, key=plan))
    automatic = sum(one.automatic for one in kept)
    full, stored = sum(one.value_bytes for one in kept), sum(one.stored_bytes for one in kept)
    print(f"{len(kept)} checkpoints, {automatic} of them automatic: {full} bytes of state, stored in {stored}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.plan_agent", description=__doc__)
    parser.add_argument(
        "--target", metavar="ADDRESS", help="the daemon (default: $STATE_SIDECAR_TARGET, 127.0.0.1:7420)"
    )
    parser.add_argument("--plan", metavar="NAME", default="travel-plan", help="the plan's key (default: travel-plan)")
    parser.add_argument("--crash-at", type=int, metavar="N", help="kill -9 this agent in the middle of step N")
    parser.add_argument(
        "--automatic", action="store_true", help="ask for no checkpoints: the namespace's policy makes them"
    )
    parser.add_argument(
        "--data", type=Path, metavar="FILE", default=SAMPLE, help="dialogues or calls, one JSON object a line"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
