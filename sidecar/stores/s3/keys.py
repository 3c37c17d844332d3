"""Blobs' names as keys of objects: in the same order, and such that a server that keeps keys as files takes them.

S3 itself would take names as they are. Servers that keep objects in a file system (SeaweedFS, MinIO, gateways) refuse
an object `a` beside `a/b`, take at most 255 bytes between two slashes, and list folder by folder, which is not the order
of bytes: `a/b` before `a-b`. So a folder is marked with a dot, the characters below the slash move down to make room
for it, and long segments are broken:

    /  →  ./        .  →  -        -  →  !        after 200 characters, before more of them  →  ~/~

A key is ordered as its name is, both by bytes and folder by folder; no key is the folder of another; no segment is `.`
or `..`; and a key has at most 777 bytes. `run-7/step.3` is at `run!7./step-3`.
"""

from __future__ import annotations

import re

NAME_BYTES_MAX = 512
SEGMENT = 200
"""Characters of a segment before it is broken."""

_NAME = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_CODES = {"/": "./", ".": "-", "-": "!"}
_BREAK = "~/~"
_BACK = str.maketrans({"-": ".", "!": "-"})


def check_name(name: str) -> None:
    """Raises ValueError unless it is a blob's name."""
    if not _is_name(name):
        raise ValueError(f"not a blob's name: {name!r}")


def key_of(name: str) -> str:
    """The key of a name, or of the beginning of names: theirs begin with it."""
    pieces = []
    length = 0
    for character in name:
        if length == SEGMENT:
            pieces.append(_BREAK)
            length = 0
        pieces.append(_CODES.get(character, character))
        length = 0 if character == "/" else length + 1
    return "".join(pieces)


def name_of(key: str) -> str | None:
    """The name of a key; None for one that no name has."""
    name = key.replace(_BREAK, "").replace("./", "/").translate(_BACK)
    return name if _is_name(name) and key_of(name) == key else None


def _is_name(text: str) -> bool:
    return len(text) <= NAME_BYTES_MAX and _NAME.fullmatch(text) is not None
