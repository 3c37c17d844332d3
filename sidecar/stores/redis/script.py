"""Commands as bytes, and Lua scripts: files of this package, known to the server by their SHA-1."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources

import hiredis

Argument = bytes | str | int
pack: Callable[[tuple[Argument, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # it says one argument
"""A command and its arguments as bytes for the server."""
Call = tuple[Sequence[bytes], Sequence[Argument]]
"""The keys of a script's call, all of one slot, and its other arguments."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text. Write it for Redis 6.2: no flags line, `redis.call` and `redis.pcall`, `struct`."""

    name: str
    source: bytes
    sha: bytes = field(init=False)

    def __post_init__(self) -> None:
        # The server's name for a script is its SHA-1; nothing is protected by it.
        digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest.encode())

    def by_sha(self, call: Call) -> bytes:
        """The command that runs it where it is loaded."""
        keys, arguments = call
        return pack((b"EVALSHA", self.sha, len(keys), *keys, *arguments))

    def by_source(self, call: Call) -> bytes:
        """The command that runs it anywhere, and loads it."""
        keys, arguments = call
        return pack((b"EVAL", self.source, len(keys), *keys, *arguments))


def load_script(*names: str) -> Script:
    """The files `NAME.lua` of this package, one after the other as one script; it is named after the last."""
    package = resources.files("sidecar.stores.redis")
    return Script(names[-1], b"\n".join(package.joinpath(f"{name}.lua").read_bytes() for name in names))
