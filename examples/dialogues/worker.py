"""One worker of a model server: answers a turn of a conversation whose memory lives in the sidecar.

A worker keeps nothing of a conversation itself, so any of them can take the next turn, and any of them may die.
"""

from __future__ import annotations

from typing import Any

from statesidecar import StateClient

NAMESPACE = "session"
TURNS_KEPT = 10

_client: StateClient


def connect(target: str) -> None:
    """Called once in each worker process."""
    global _client  # noqa: PLW0603  # one client a process, as in any server
    _client = StateClient(target)


def handle_turn(dialogue_id: str, index: int, turn: dict[str, Any]) -> None:
    """Takes the dialogue's turn number `index` into its state, once, however often it is called with it.

    The session is loaded with its version and saved by compare-and-set under one request id, with which the client repeats
    a save whose answer it didn't get. If even that gives up, the caller calls again, and the state tells whether the turn
    went in.
    """
    with _client.session(NAMESPACE, dialogue_id, default=new_state) as session:
        if index not in session.state["turns_seen"]:
            remember(session.state, index, turn)


def new_state() -> dict[str, Any]:
    """Of a conversation that begins."""
    return {"turns": [], "intents": {}, "slots": {}, "turns_seen": []}


def remember(state: dict[str, Any], index: int, turn: dict[str, Any]) -> None:
    """What a turn changes: the last turns, and what the user wants by now."""
    state["turns_seen"].append(index)
    state["turns"] = [*state["turns"], {"speaker": turn["speaker"], "text": turn["utterance"]}][-TURNS_KEPT:]
    if turn["speaker"] == "USER":
        # A real server would ask its model here; the dataset knows what people understood.
        state["intents"] = {}
        for frame in turn["frames"]:
            state["intents"][frame["service"]] = frame["state"]["active_intent"]
            state["slots"].setdefault(frame["service"], {}).update(frame["state"]["slot_values"])
