"""What must be in the sidecar at the end, told from the dataset alone, and how it differs from what is there.

Nothing here is shared with the worker: it builds a state turn by turn, this reads a whole dialogue from its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TURNS_KEPT = 10


@dataclass(slots=True)
class Verdict:
    """Sums over all dialogues."""

    dialogues: int = 0
    turns: int = 0
    lost: int = 0
    doubled: int = 0
    equal: int = 0

    @property
    def clean(self) -> bool:
        """Whether everything was kept, and once."""
        return self.lost == self.doubled == 0 and self.equal == self.dialogues > 0


def compare(dialogues: Sequence[dict[str, Any]], states: dict[str, Any]) -> Verdict:
    """Every dialogue's final state against the dataset's; a dialogue without a state has lost all its turns."""
    verdict = Verdict()
    for dialogue in dialogues:
        state = states.get(dialogue["dialogue_id"]) or {}
        seen = state.get("turns_seen", [])
        wanted = range(len(dialogue["turns"]))
        verdict.dialogues += 1
        verdict.turns += len(wanted)
        verdict.lost += len(set(wanted) - set(seen))
        verdict.doubled += len(seen) - len(set(seen))
        verdict.equal += state == expected(dialogue)
    return verdict


def expected(dialogue: dict[str, Any]) -> dict[str, Any]:
    """The state after the last turn. The dataset's frames are cumulative: a service's last one has all its slots."""
    turns = dialogue["turns"]
    frames = [turn["frames"] for turn in turns if turn["speaker"] == "USER"]
    return {
        "turns": [{"speaker": turn["speaker"], "text": turn["utterance"]} for turn in turns[-TURNS_KEPT:]],
        "intents": {frame["service"]: frame["state"]["active_intent"] for frame in frames[-1]},
        "slots": {frame["service"]: frame["state"]["slot_values"] for of_turn in frames for frame in of_turn},
        "turns_seen": list(range(len(turns))),
    }
