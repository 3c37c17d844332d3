"""What a daemon has to say on the near tiers' channel: changed keys, gathered until the next message, bounded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

PENDING_MAX = 10_000
"""Keys that wait; above, everything is announced as changed."""
MESSAGE_KEYS_MAX = 500


@dataclass(slots=True)
class Announcements:
    """Keys to announce; `wake` is called when there are some."""

    wake: Callable[[], None] = lambda: None
    everything: bool = False
    _pending: dict[tuple[str, str], None] = field(default_factory=dict)

    @property
    def waiting(self) -> bool:
        """Whether there is something to announce."""
        return self.everything or bool(self._pending)

    def add(self, namespace: str, keys: Sequence[str]) -> None:
        """These were changed."""
        if len(self._pending) + len(keys) > PENDING_MAX:
            self._pending.clear()
            self.everything = True
        else:
            self._pending.update(dict.fromkeys((namespace, key) for key in keys))
        self.wake()

    def take(self) -> list[bytes]:
        """All of it as messages, which then no longer waits."""
        pending, self._pending = self._pending, {}
        everything, self.everything = self.everything, False
        messages = [json.dumps({"everything": True}).encode()] if everything else []
        pairs = list(pending)
        parts = [pairs[begin : begin + MESSAGE_KEYS_MAX] for begin in range(0, len(pairs), MESSAGE_KEYS_MAX)]
        return messages + [json.dumps({"changed": part}).encode() for part in parts]


def heartbeat(token: str, sent_s: float) -> bytes:
    """A message by which the daemon called `token` hears that the channel carries."""
    return json.dumps({"heartbeat": [token, sent_s]}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A message that was understood. What a later release says beside this is ignored."""

    everything: bool = False
    changed: tuple[tuple[str, str], ...] = ()
    heartbeat: tuple[str, float] | None = None


def parse(payload: bytes) -> Announced:
    """A message of any daemon; one that can't be read may have announced anything."""
    try:
        message: dict[str, Any] = json.loads(payload)
        beat = message.get("heartbeat")
        return Announced(
            everything=message.get("everything", False) is True,
            changed=tuple((str(namespace), str(key)) for namespace, key in message.get("changed", ())),
            heartbeat=None if beat is None else (str(beat[0]), float(beat[1])),
        )
    except (ValueError, TypeError, AttributeError, LookupError):
        return Announced(everything=True)
