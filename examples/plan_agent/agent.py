"""An agent that works through a plan and keeps nothing itself: whoever runs next goes on where the last one stopped.

The state is one key of the namespace `process`. Each step is written by compare-and-set and then checkpointed; an agent
that starts restores the latest checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from examples.plan_agent.calls import Call, digest
from examples.plan_agent.steps import STEPS
from statesidecar import Consistency, NotFound, StateClient

NAMESPACE = "process"

State = dict[str, Any]
Reached = Callable[[str, int, State], None]


def run(client: StateClient, plan: str, calls: list[Call], *, asked: bool = True, reached: Reached) -> State:
    """Takes the plan over and does what is left of it; the final state.

    `asked`: a checkpoint is asked for after each step; otherwise the namespace's policy has to make them. `reached` is told
    every point that the agent gets to. Raises VersionConflict if another agent has taken the plan over: then this one has
    nothing to do any more.
    """
    state, version = take_over(client, plan)
    reached("taken over", done(state), state)
    while (number := done(state) + 1) <= len(STEPS):
        reached("before the work", number, state)
        state = advanced(state, calls)
        reached("after the work", number, state)
        value = json.dumps(state)
        version = client.cas(NAMESPACE, plan, value, expected_version=version, content_type="application/json").version
        reached("after the write", number, state)
        if asked:
            client.checkpoint(NAMESPACE, key=plan, label=f"step-{number}", metadata={"step": name_of(number)})
        reached("after the checkpoint", number, state)
    return state


def take_over(client: StateClient, plan: str) -> tuple[State, int]:
    """The state of the latest checkpoint, or of a plan that begins; with a new version.

    The restore is a write: an agent that still works on the plan holds an older version, so its next write is refused. Of
    two that take over at once, one is refused here.
    """
    version = client.get(NAMESPACE, plan, consistency=Consistency.STRONG).version
    try:
        restored = client.restore(NAMESPACE, key=plan, expected_version=version).entry
    except NotFound:  # The plan has no checkpoint: what was written, if anything, was not finished
        state = new_state()
        return state, client.cas(NAMESPACE, plan, json.dumps(state), expected_version=version).version
    assert restored is not None, "a checkpoint of one key has one entry"
    return restored.json(), restored.version


def new_state() -> State:
    """Of a plan that begins."""
    return {"results": {}, "digest": ""}


def advanced(state: State, calls: list[Call]) -> State:
    """The state after one step more: its result, and a digest of all results in their order."""
    number = done(state) + 1
    result = STEPS[number - 1](calls, state["results"])
    chained = digest([state["digest"], result])
    # As it is restored: the next step can't tell whether there was a crash.
    after: State = json.loads(json.dumps({"results": state["results"] | {name_of(number): result}, "digest": chained}))
    return after


def done(state: State) -> int:
    """How many steps are done. The state itself says so; labels of checkpoints are for people."""
    return len(state["results"])


def name_of(number: int) -> str:
    """A step's name, by its number from 1."""
    return STEPS[number - 1].__name__
