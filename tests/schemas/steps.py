"""Three schemas of a dialogue's state, the steps between them, and their configuration.

1. as examples/dialogues keeps it: `turns` with `speaker` and `text`, `intents` and `slots` by service, `turns_seen`
2. `turns` are called `history`, and their `text` is called `utterance`
3. intents and slots are one list, `services`, each with its `name`, `intent` and `slots`

Each schema has a count of its own besides, `count_1` to `count_3`, that the older ones have no word for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

NEWEST = 3
TO_SECOND = {
    "up": [
        {"rename": {"from": "/turns", "to": "/history"}},
        {"rename": {"from": "/history/*/text", "to": "/history/*/utterance"}},
        {"default": {"path": "/count_2", "value": 0}},
    ]
}
TO_THIRD = {"up": f"{__name__}:join_services", "down": f"{__name__}:part_services"}
FIELDS = {
    1: ("turns", "intents", "slots", "turns_seen", "count_1"),
    2: ("history", "intents", "slots", "turns_seen", "count_1", "count_2"),
    3: ("history", "services", "turns_seen", "count_1", "count_2", "count_3"),
}
"""What a client of each schema knows: it reads these, and writes these."""


def configuration(namespace: str, version: int, *, base: int = 1) -> Mapping[str, str]:
    """Settings of a daemon whose schema is that one."""
    steps = [TO_SECOND, TO_THIRD][base - 1 : version - 1]
    settings = {f"namespaces.{namespace}.schema.version": str(version)}
    return settings | ({f"namespaces.{namespace}.schema.migrations": json.dumps(steps)} if steps else {})


def join_services(state: Any) -> Any:
    """From 2 to 3."""
    if not _is_mapping(state.get("intents")) or not _is_mapping(state.get("slots")):
        return state
    intents, slots = state.pop("intents"), state.pop("slots")
    names = sorted({*intents, *slots})
    state["services"] = [{"name": name, "intent": intents.get(name), "slots": slots.get(name)} for name in names]
    return state | {"count_3": state.get("count_3", 0)}


def part_services(state: Any) -> Any:
    """From 3 to 2."""
    if not isinstance(state.get("services"), list):
        return state
    services = state.pop("services")
    state["intents"] = {each["name"]: each["intent"] for each in services if each["intent"] is not None}
    state["slots"] = {each["name"]: each["slots"] for each in services if each["slots"] is not None}
    state.pop("count_3", None)
    return state


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


# ---- what a client does with a state, in its schema


def new_state(schema: int) -> dict[str, Any]:
    """Of a conversation that begins."""
    state: dict[str, Any] = {"turns": [], "intents": {}, "slots": {}, "turns_seen": [], "count_1": 0}
    return brought(state, schema)


def brought(state: dict[str, Any], schema: int) -> dict[str, Any]:
    """A state of the first schema in another one, as its own clients would have written it."""
    if schema >= 2:  # the schemas' own numbers
        history = [{"speaker": turn["speaker"], "utterance": turn["text"]} for turn in state["turns"]]
        state = {"history": history, **{name: value for name, value in state.items() if name != "turns"}, "count_2": 0}
    return join_services(state) if schema == NEWEST else state


def known(state: dict[str, Any], schema: int) -> dict[str, Any]:
    """What a client of this schema makes of what it reads: a field that it doesn't know it forgets."""
    return {name: state[name] for name in FIELDS[schema]}


def remember(state: dict[str, Any], schema: int, index: int, turn: dict[str, Any], *, kept: int) -> None:
    """Takes a turn of the dataset in."""
    turns, text = ("turns", "text") if schema == 1 else ("history", "utterance")
    state["turns_seen"].append(index)
    state[turns] = [*state[turns], {"speaker": turn["speaker"], text: turn["utterance"]}][-kept:]
    if turn["speaker"] != "USER":
        return
    frames = {frame["service"]: frame["state"] for frame in turn["frames"]}
    if schema < NEWEST:
        state["intents"] = {name: frame["active_intent"] for name, frame in frames.items()}
        for name, frame in frames.items():
            state["slots"].setdefault(name, {}).update(frame["slot_values"])
        return
    services = {each["name"]: each for each in state["services"]}
    for each in services.values():
        each["intent"] = None
    for name, frame in frames.items():
        each = services.setdefault(name, {"name": name, "intent": None, "slots": {}})
        each["intent"] = frame["active_intent"]
        each["slots"] = {**(each["slots"] or {}), **frame["slot_values"]}
    state["services"] = [services[name] for name in sorted(services)]
