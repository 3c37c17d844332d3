"""Values out of a fuzzer's bytes, taken from the front, so that seeds can be put together by hand. The end reads as zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sidecar.core.entry import Entry, Tombstone

T = TypeVar("T")
JSON_DEPTH_MAX = 6
EDITS_MAX = 4


class Draw:
    """What is left of an input."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def rest(self) -> bytes:
        """All that is left."""
        return self._data[self._at :]

    def take(self, size: int) -> bytes:
        """Some bytes, fewer at the end."""
        begin, self._at = self._at, min(self._at + size, len(self._data))
        return self._data[begin : self._at]

    def number(self, size: int = 1) -> int:
        """An unsigned number of that many bytes."""
        return int.from_bytes(self.take(size), "big")

    def flag(self) -> bool:
        """Yes or no."""
        return bool(self.number() & 1)

    def one_of(self, choices: Sequence[T]) -> T:
        """One of some."""
        return choices[self.number() % len(choices)]

    def chunk(self) -> bytes:
        """Bytes with their length before them."""
        return self.take(self.number())

    def text(self) -> str:
        """As `chunk`, as text."""
        return self.chunk().decode("utf-8", "replace")

    def time(self) -> int:
        """Milliseconds."""
        return self.number(6)

    def maybe_time(self) -> int | None:
        """The same, or none; never zero, which some forms keep for none."""
        return self.time() + 1 if self.flag() else None

    def labels(self) -> dict[str, str]:
        """A few labels."""
        return {self.text(): self.text() for _ in range(self.number() % 4)}

    def edited(self, data: bytes) -> bytes:
        """Valid bytes with a few changes: bytes set, cut out, put in."""
        for _ in range(self.number() % (EDITS_MAX + 1)):
            at = self.number(2) % (len(data) + 1)
            match self.number() % 4:
                case 0:
                    data = data[:at] + self.take(1) + data[at + 1 :]
                case 1:
                    data = data[:at]
                case 2:
                    data = data[:at] + data[at + self.number() :]
                case _:
                    data = data[:at] + self.chunk() + data[at:]
        return data

    def json(self, depth: int = 0) -> Any:
        """A JSON value."""
        kind = self.number() % (9 if depth < JSON_DEPTH_MAX else 7)
        match kind:
            case 0:
                return None
            case 1 | 2:
                return kind == 1
            case 3:
                return self.number() - 128
            case 4:
                return self.number(9)
            case 5:
                return (self.number(3) - (1 << 23)) / 256
            case 6:
                return self.text()
            case 7:
                return [self.json(depth + 1) for _ in range(self.number() % 6)]
            case _:
                # Few names, so that objects have some in common.
                return {self.one_of("abcdefg"): self.json(depth + 1) for _ in range(self.number() % 6)}

    def entry(self, namespace: str, key: str, *, expire_time_max: int | None = None) -> Entry:
        """An entry as a store may have it."""
        expire_time = self.maybe_time()
        return Entry(
            namespace=namespace,
            key=key,
            value=self.chunk(),
            version=self.number(6) + 1,
            create_time=self.time(),
            update_time=self.time(),
            expire_time=expire_time if expire_time_max is None else expire_time_max,
            ttl_ms=self.maybe_time(),
            content_type=self.text(),
            schema_version=self.number(2),
            labels=self.labels(),
        )

    def tombstone(self, namespace: str, key: str) -> Tombstone:
        """A deletion."""
        return Tombstone(namespace=namespace, key=key, version=self.number(6) + 1, delete_time=self.time())
