"""A conversation in four schemas, its steps, and a model of what is true of it whoever writes.

| schema | fields | of each turn in `log` |
| --- | --- | --- |
| 1 | `name`, `legacy`, `log` | `text`, `done` |
| 2 | `full_name` for `name`; `locale` | `seen` |
| 3 | `person.name` for `full_name`; `mood`, which may be null | `body` for `text`; `rank` |
| 4 | no `legacy`; `tags` | `notes`, which may be absent |
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.schema import Schemas, Step

LEVELS = range(1, 5)
Fields = dict[str, Any]


def _step(on_state: Callable[[Fields], None], on_turn: Callable[[Fields], None]) -> Callable[[Any], Any]:
    """Changes in place what it is given, as an operator's function may."""

    def convert(document: Any) -> Any:
        turns = document
        if isinstance(document, dict):
            on_state(document)
            turns = document.get("log")
        if isinstance(turns, list):
            for turn in turns:
                if isinstance(turn, dict):
                    on_turn(turn)
        return document

    return convert


def _move(fields: Fields, old: str, new: str) -> None:
    if old in fields and new not in fields:
        fields[new] = fields.pop(old)


def _to_2(state: Fields) -> None:
    _move(state, "name", "full_name")
    state.setdefault("locale", "en")


def _back_to_1(state: Fields) -> None:
    state.pop("locale", None)
    _move(state, "full_name", "name")


def _to_3(state: Fields) -> None:
    if "full_name" in state and "person" not in state:
        state["person"] = {"name": state.pop("full_name")}
    state.setdefault("mood", None)


def _back_to_2(state: Fields) -> None:
    state.pop("mood", None)
    if isinstance(state.get("person"), dict) and "name" in state["person"] and "full_name" not in state:
        state["full_name"] = state.pop("person")["name"]


def _to_4(state: Fields) -> None:
    state.pop("legacy", None)
    state.setdefault("tags", [])


def _turn_to_3(turn: Fields) -> None:
    _move(turn, "text", "body")
    turn.setdefault("rank", 0)


def _turn_back_to_2(turn: Fields) -> None:
    turn.pop("rank", None)
    _move(turn, "body", "text")


STEPS = (
    Step(
        _step(_to_2, lambda turn: turn.setdefault("seen", False)),
        _step(_back_to_1, lambda turn: turn.pop("seen", None)),
    ),
    Step(_step(_to_3, _turn_to_3), _step(_back_to_2, _turn_back_to_2)),
    Step(
        _step(_to_4, lambda _: None), _step(lambda state: state.pop("tags", None), lambda turn: turn.pop("notes", None))
    ),
)


def schemas(version: int, *, base: int = 1) -> Schemas:
    """What a daemon of this version knows."""
    return Schemas(base, STEPS[base - 1 : version - 1])


@dataclass
class Conversation:
    """What is true, in the words of no schema. `turns` have `text`, `done`, `seen`, `rank`, `notes`."""

    name: str = "Ann"
    locale: str = "en"
    mood: str | None = None
    legacy: str = "old"
    tags: list[str] = field(default_factory=list)
    turns: list[Fields] = field(default_factory=list)

    def document(self, level: int) -> Fields:
        """All that a reader or writer of this schema knows of it, and nothing else."""
        state: Fields = {"log": self.log(level)}
        if level == 1:
            state["name"] = self.name
        elif level == 2:
            state["full_name"] = self.name
        else:
            state |= {"person": {"name": self.name}, "mood": self.mood}
        if level >= 2:
            state["locale"] = self.locale
        state |= {"legacy": self.legacy} if level < 4 else {"tags": list(self.tags)}
        return state

    def log(self, level: int) -> list[Fields]:
        """Its turns, as one of this schema knows them."""
        return [turn_in(turn, level) for turn in self.turns]

    def write(self, level: int, change: Callable[[Conversation], None]) -> None:
        """What a writer of this schema makes of it: what it doesn't know stays, in each turn that stays."""
        mine = copy.deepcopy(self)
        change(mine)
        self.name = mine.name
        self.locale = mine.locale if level >= 2 else self.locale
        self.mood = mine.mood if level >= 3 else self.mood
        self.legacy, self.tags = (mine.legacy, self.tags) if level < 4 else (self.legacy, mine.tags)
        before = {turn["text"]: turn for turn in self.turns}
        self.turns = [_merged(before.get(turn["text"]), turn, level) for turn in mine.turns]


def turn(text: str, **fields: Any) -> Fields:
    """A new one."""
    return {"text": text, "done": False, "seen": False, "rank": 0, "notes": None} | fields


def turn_in(of: Fields, level: int) -> Fields:
    """A turn as one of this schema knows it."""
    shown: Fields = {"body" if level >= 3 else "text": of["text"], "done": of["done"]}
    if level >= 2:
        shown["seen"] = of["seen"]
    if level >= 3:
        shown["rank"] = of["rank"]
    if level >= 4 and of["notes"] is not None:
        shown["notes"] = of["notes"]
    return shown


def _merged(before: Fields | None, mine: Fields, level: int) -> Fields:
    base = before or turn(mine["text"])
    known = {"text": 1, "done": 1, "seen": 2, "rank": 3, "notes": 4}
    return {name: mine[name] if level >= known[name] else base[name] for name in base}


def changes(chance: random.Random, count: int) -> Callable[[Conversation], None]:
    """What a writer does in its own schema's words; it may do nothing that it doesn't know of."""

    def change(told: Conversation) -> None:
        what = chance.randrange(7)
        if what == 0:
            told.name = f"name {count}"
            told.locale, told.mood = chance.choice(["en", "fr"]), chance.choice([None, "glad"])
            told.legacy, told.tags = f"legacy {count}", chance.choice([[], [f"tag {count}"]])
        elif what <= 2:
            told.turns.append(
                turn(f"turn {count} " + "x" * 20, seen=True, rank=count, notes=chance.choice([None, "n"]))
            )
        elif what == 3:
            del told.turns[: chance.randrange(3)]
        elif what == 4 and told.turns:
            chance.choice(told.turns)["done"] = True
        elif (
            what == 5 and len(told.turns) > 1
        ):  # of a single turn nobody could say that it is the same with another rank
            chance.choice(told.turns).update(seen=True, rank=count, notes=f"notes {count}")
        else:
            told.turns = [*told.turns[-3:], turn(f"turn {count} " + "y" * 20)]

    return change
