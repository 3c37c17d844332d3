"""What is buffered and not settled, as readers and writers of this daemon have to see it. Mirrors the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from sidecar.core.entry import Entry
from sidecar.core.journal import Buffered

At = tuple[str, str]


@dataclass(slots=True)
class Waiting:
    """The writes of a key, oldest first, and what a reader sees after them; None: nobody can say."""

    writes: deque[Buffered] = field(default_factory=deque)
    seen: Entry | None = None


class Pending:
    """Writes by key and by request id, and the keys that are being settled, which only one may do at a time."""

    def __init__(self) -> None:
        self._keys: dict[At, Waiting] = {}
        self._requests: dict[tuple[str, str], Buffered] = {}
        self._namespaces: dict[str, int] = {}
        self._claimed: set[At] = set()

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, buffered: Buffered, seen: Entry | None) -> None:
        """One more, the newest of its key; `seen`: what a reader sees after it."""
        write = buffered.write
        at = (write.namespace, write.operation.key)
        waiting = self._keys.setdefault(at, Waiting())
        waiting.writes.append(buffered)
        waiting.seen = seen
        self._requests[write.namespace, write.request.request_id] = buffered
        self._namespaces[write.namespace] = self._namespaces.get(write.namespace, 0) + 1

    def settled(self, buffered: Buffered) -> None:
        """The oldest of its key was settled."""
        write = buffered.write
        at = (write.namespace, write.operation.key)
        waiting = self._keys[at]
        assert waiting.writes[0] is buffered, "the writes of a key are settled in their order"
        waiting.writes.popleft()
        if not waiting.writes:
            del self._keys[at]
        del self._requests[write.namespace, write.request.request_id]
        self._namespaces[write.namespace] -= 1

    def holds(self, namespace: str) -> bool:
        """Whether writes of this namespace wait."""
        return self._namespaces.get(namespace, 0) > 0

    def under(self, namespace: str, prefix: str) -> list[str]:
        """The keys that have writes waiting."""
        return [key for name, key in self._keys if name == namespace and key.startswith(prefix)]

    def of(self, at: At) -> Waiting | None:
        """The writes that wait for a key."""
        return self._keys.get(at)

    def by_request(self, namespace: str, request_id: str) -> Buffered | None:
        """The write that waits under a request id."""
        return self._requests.get((namespace, request_id))

    def oldest(self) -> Buffered | None:
        """The first of all."""
        return next(iter(self._requests.values()), None)

    # ---- settling

    def claim(self, at: At | None = None) -> At | None:
        """The right to settle a key's writes, this one's or that of any key; None: there is none to be had."""
        free: Iterator[At] = iter(self._keys) if at is None else iter([at] if at in self._keys else [])
        chosen = next((one for one in free if one not in self._claimed), None)
        if chosen is not None:
            self._claimed.add(chosen)
        return chosen

    def let_go(self, at: At) -> None:
        """The right is somebody else's."""
        self._claimed.discard(at)
