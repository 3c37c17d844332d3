"""Some of everything that a daemon does, again and again: so that each metric has something to tell."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from servers.redis import Valkey
from statesidecar import (
    Checkpoint,
    InvalidRequest,
    OutboxMessage,
    SetOp,
    StateClient,
    StateSidecarError,
    VersionConflict,
)

LARGE = b"x" * (2 << 20)
ROUND_S = 0.1
NEAR, COLD, TOLD, ASKED = "model", "process", "session", "asked"
"""Namespaces: with copies in the process, with values in the cold tier, with a sink for messages, and with a consumer."""


def settings(redis: Valkey) -> dict[str, str]:
    """Of a daemon that has all that there are figures of, for `daemon_process`; the tiers are others' choice."""
    return {
        f"namespaces.{NEAR}.near.enabled": "true",
        f"namespaces.{TOLD}.on_outage": "buffer",  # so there is a journal
        f"namespaces.{ASKED}.outbox.sink": "none",
        "outbox.sink": f"{redis.url}?stream=told",
        "telemetry.census_interval_s": "1",
        "telemetry.export_interval_s": "0.5",
        "telemetry.trace_ratio": "1",
    }


class Load(threading.Thread):
    """One caller of all RPCs."""

    def __init__(self, target: str) -> None:
        super().__init__(name="load", daemon=True)
        self.first_round = threading.Event()
        self._enough = threading.Event()
        self._client = StateClient(target)
        self._failure: BaseException | None = None
        self._watch = self._client.watch(TOLD, all_keys=True)
        self._consumer = self._client.outbox.consume(ASKED)
        self._listeners = [threading.Thread(target=run, daemon=True) for run in (self._watched, self._consumed)]

    def run(self) -> None:
        """Until it is enough."""
        try:
            for listener in self._listeners:
                listener.start()
            number = 0
            while not self._enough.wait(ROUND_S if number else 0):
                self._values(number)
                self._lost_races()
                self._messages(number)
                self._checkpoints()
                number += 1
                self.first_round.set()
        except BaseException as exc:  # noqa: BLE001  # raised in the thread that stops it
            self._failure = exc
        finally:
            self.first_round.set()

    def stop(self) -> None:
        """End it, and raise what ended it before."""
        self._enough.set()
        self.join()
        self._watch.close()
        self._consumer.close()
        self._client.close()
        for listener in self._listeners:
            listener.join()
        if self._failure is not None:
            raise self._failure

    def _values(self, number: int) -> None:
        client = self._client
        for namespace in (NEAR, TOLD):
            client.set(namespace, f"key-{number}", b"value")
            client.get(namespace, f"key-{number}")
            client.get(namespace, f"key-{number}")
            client.get(namespace, "absent")
        client.batch_get(NEAR, ["key-0", "key-1"])
        list(client.list(TOLD, "key-"))
        client.touch(TOLD, f"key-{number}")
        client.increment(TOLD, "counter")
        client.append(TOLD, "list", [number])
        client.transact(TOLD, [SetOp("one", b"1"), SetOp("two", b"2")])
        client.delete(TOLD, f"key-{number - 5}")
        client.delete_prefix(TOLD, "tw")
        client.set(COLD, "large", LARGE)
        client.get(COLD, "large")
        with suppress(InvalidRequest):
            client.get(TOLD, "")

    def _lost_races(self) -> None:
        version = self._client.set(TOLD, "raced", b"1").version
        self._client.set(TOLD, "raced", b"2")
        with suppress(VersionConflict):
            self._client.cas(TOLD, "raced", b"3", expected_version=version)

    def _messages(self, number: int) -> None:
        for namespace in (TOLD, ASKED):
            message = OutboxMessage("told", f"{number}", "text/plain")
            self._client.set(namespace, f"message-{number}", b"1", outbox=[message])

    def _checkpoints(self) -> None:
        made: Checkpoint = self._client.checkpoint(TOLD, key="raced")
        self._client.get_checkpoint(TOLD, made.checkpoint_id)
        list(self._client.list_checkpoints(TOLD, key="raced"))
        self._client.restore(TOLD, checkpoint_id=made.checkpoint_id)
        self._client.delete_checkpoint(TOLD, made.checkpoint_id)

    def _watched(self) -> None:
        with suppress(StateSidecarError):
            for _ in self._watch:
                pass

    def _consumed(self) -> None:
        with suppress(StateSidecarError):
            for message in self._consumer:
                message.ack()


@contextmanager
def load(target: str) -> Iterator[Load]:
    """Under way from its first round to the end of the block."""
    running = Load(target)
    running.start()
    running.first_round.wait()
    try:
        yield running
    finally:
        running.stop()
