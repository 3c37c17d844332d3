"""Static tokens: a file with a line for each. Only their SHA-256 is kept, and what a caller says is looked up by its own.

So the time of an answer tells of a digest, which nobody can choose, and nothing of a token.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from sidecar.rpc.access.files import Watched

TOKEN_CHARACTERS_MIN = 16
"""Fewer could be guessed. 22 of `openssl rand -base64 16` are 128 bits."""
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._@/-]*)\s*:\s*(\S+)")
_HASHED = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE)


def parse(content: bytes) -> Mapping[bytes, str]:
    """Names of identities by the SHA-256 of their tokens. Raises ValueError, which names lines and repeats none.

    A line is `NAME: token` or `NAME: sha256:hex`; after `#` comes a comment. A name may be there more than once: while a
    token is replaced, the old one and the new one are both taken.
    """
    names: dict[bytes, str] = {}
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise ValueError("tokens: not UTF-8") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not (match := _LINE.fullmatch(line.strip())):
            raise ValueError(f"tokens, line {number}: write NAME: token, or NAME: sha256: and 64 hexadecimal digits")
        name, token = match.groups()
        if hashed := _HASHED.fullmatch(token):
            digest = bytes.fromhex(hashed[1])
        elif token.startswith("sha256:") or len(token) < TOKEN_CHARACTERS_MIN:
            raise ValueError(
                f"tokens, line {number}: a token has at least {TOKEN_CHARACTERS_MIN} characters, a SHA-256 64 digits"
            )
        else:
            digest = hashlib.sha256(token.encode()).digest()
        if names.setdefault(digest, name) != name:
            raise ValueError(f"tokens, line {number}: {name} has the token of {names[digest]}")
    return names


class Tokens:
    """The tokens of a file, which is read again when it changes."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float]) -> None:
        """Raises OSError and ValueError."""
        self._file = Watched([path], lambda contents: parse(contents[0]), monotonic=monotonic)

    def name(self, digest: bytes) -> str | None:
        """Whose token has this SHA-256; None: nobody's."""
        return self._file.get().get(digest)
