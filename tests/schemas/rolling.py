"""A rolling upgrade: three daemons over one PostgreSQL and one Valkey, replaced one by one from schema 1 to 3 under load.

On each daemon there are clients of its schema and of every older one. They take turns of dialogues in by compare-and-set,
set whole values, patch and list; each reads what its schema knows, forgets the rest, and writes what it knows. Every schema
has a count in each state that only its own writers raise. Whoever reads a count sees the latest: at least what was
acknowledged before, and at most what was begun.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.dialogues.check import expected
from statesidecar.v1 import admin_service_pb2
from statesidecar.v1 import state_service_pb2 as pb
from tests.schemas.clients import JSON, NAMESPACE, Client
from tests.schemas.steps import NEWEST, brought, configuration, new_state
from tests.schemas.truth import Truth
from tests.support.process import Caller, DaemonProcess, daemon_process

ROLLOUT = ((1, 1, 1), (2, 1, 1), (3, 1, 1), (3, 2, 1), (3, 2, 2), (3, 3, 2), (3, 3, 3))
"""The schemas of the three daemons. Nobody comes who knows less than all the others: that would be a way back."""
BAD = ("failed reads", "failed writes", "destroyed fields", "wrong schemas", "wrong states")
_PAUSE = threading.Event()
"""Never set: to let the load go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What happened, and what of it must not have."""

    tally: dict[str, int]
    wrong: list[str]
    migrated: int
    remaining: int
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether everything that was promised was kept."""
        return not self.wrong and self.remaining == 0

    def __str__(self) -> str:
        bad = ", ".join(f"{self.tally.get(what, 0)} {what}" for what in BAD)
        good = ", ".join(f"{count} {what}" for what, count in sorted(self.tally.items()) if what not in BAD)
        return f"{good}; {bad}; migrate: {self.migrated} migrated, {self.remaining} remain; {self.seconds:.0f} s"


class _Slot:
    """One daemon's place, with its clients."""

    def __init__(self, directory: Path, tiers: dict[str, str], truth: Truth) -> None:
        self.daemon: DaemonProcess | None = None
        self.version = 0
        self._directory = directory
        self._tiers = tiers
        self._truth = truth
        self._clients: list[Client] = []

    def replace(self, version: int, seed: str) -> None:
        """Its clients end, it drains and stops; a daemon with the next schema comes, and its clients."""
        self.stop()
        self.daemon = DaemonProcess(self._directory, **self._tiers, **_configuration(version))
        self.version = version
        self.daemon.start()
        self._clients = [
            Client(self.daemon.target, schema, self._truth, f"{seed}/{schema}") for schema in range(1, version + 1)
        ]
        for client in self._clients:
            client.start()

    def stop(self) -> None:
        """Nobody is here any more."""
        self.rest()
        if self.daemon is not None and self.daemon.alive() and (code := self.daemon.terminate()) != 0:
            self._truth.complain("wrong states", f"a daemon ended with {code}")

    def rest(self) -> None:
        """No load any more."""
        for client in self._clients:
            client.stop()
        self._clients = []

    def kill(self) -> None:
        """After a failure."""
        if self.daemon is not None and self.daemon.alive():
            self.daemon.kill()


def run(
    directory: Path, tiers: dict[str, str], dialogues: Sequence[dict[str, Any]], *, stage_s: float, seed: int
) -> Verdict:
    """`stage_s`: how long each stage of the rollout is under load."""
    began_s, truth = time.monotonic(), Truth(dialogues)
    slots = [_Slot(directory / f"{number}", tiers, truth) for number in range(len(ROLLOUT[0]))]
    with ExitStack() as stack:
        for slot in slots:
            stack.callback(slot.kill)
            stack.callback(slot.rest)
        _begin(directory / "first", tiers, truth)
        for stage, versions in enumerate(ROLLOUT):
            for number, (slot, version) in enumerate(zip(slots, versions, strict=True)):
                if slot.version != version:
                    slot.replace(version, f"{seed}/{stage}/{number}")
            _PAUSE.wait(stage_s)
        for slot in slots:
            slot.rest()
        migrated, remaining = _migrate(slots[0])
        _check(slots, truth)
        for slot in slots:
            slot.stop()
    return Verdict(
        tally=dict(truth.tally),
        wrong=truth.wrong,
        migrated=migrated,
        remaining=remaining,
        seconds=time.monotonic() - began_s,
    )


def _begin(directory: Path, tiers: dict[str, str], truth: Truth) -> None:
    """What is patched is there, and what nobody changes."""
    value = json.dumps(new_state(1)).encode()
    with daemon_process(directory, **tiers, **_configuration(1)) as daemon, Caller(daemon.target) as caller:
        for key in (*truth.patch_keys, *truth.idle_keys):
            caller.state.CAS(
                pb.CASRequest(namespace=NAMESPACE, key=key, value=value, content_type=JSON, schema_version=1),
                timeout=10,
            )
        daemon.terminate()


def _configuration(version: int) -> dict[str, str]:
    """As `daemon_process` takes it."""
    return {name.replace(".", "__"): text for name, text in configuration(NAMESPACE, version).items()}


def _migrate(slot: _Slot) -> tuple[int, int]:
    """To the end: the floor rises within seconds of the last replacement."""
    assert slot.daemon is not None
    with Caller(slot.daemon.target) as caller:
        while True:
            *_, done = caller.admin.Migrate(admin_service_pb2.MigrateRequest(namespace=NAMESPACE), timeout=300)
            if done.target_version == NEWEST:
                return done.migrated_count, done.remaining_count


def _check(slots: Sequence[_Slot], truth: Truth) -> None:
    """Every key, in every schema, through every daemon; and what the dialogues were."""
    for slot in slots:
        assert slot.daemon is not None
        for schema in range(1, slot.version + 1):
            client = Client(slot.daemon.target, schema, truth, "")
            with Caller(slot.daemon.target) as caller:
                for key in truth.keys:
                    state, version = client.read(caller.state, key, strong=True)
                    if version > 0 and state is not None and key in truth.dialogues:
                        _check_dialogue(truth, truth.dialogues[key], state, schema)


def _check_dialogue(truth: Truth, dialogue: dict[str, Any], state: dict[str, Any], schema: int) -> None:
    """The turns that went in, and nothing else."""
    so_far = {**dialogue, "turns": dialogue["turns"][: len(state["turns_seen"])]}
    counts = {name: count for name, count in state.items() if name.startswith("count_")}
    if not any(turn["speaker"] == "USER" for turn in so_far["turns"]):
        return
    wanted = brought(expected(so_far) | {"count_1": 0}, schema) | counts
    if state != wanted:
        truth.complain("wrong states", f"{dialogue['dialogue_id']} in schema {schema}: {state} != {wanted}")
