"""Key order and prefixes: keys sort by their UTF-8 bytes, which is the order of their code points."""

from __future__ import annotations

_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def prefix_end(prefix: str) -> str | None:
    """The least string above every string that begins with `prefix`; None: there is none."""
    for position in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[position])
        if point < _LAST:
            point += 1
            if point in _SURROGATES:
                point = _SURROGATES.stop
            return prefix[:position] + chr(point)
    return None
