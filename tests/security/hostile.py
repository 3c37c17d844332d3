"""Pairs of namespace and key made to be mistaken for each other: what joins names in some adapter stands in both."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

SEPARATORS = (
    ":",
    "/",
    "#",
    "%",
    "{",
    "}",
    "@",
    "=",
    "+",
    "~",
    ".",
    "-",
    "_",
    "|",
    ",",
    ";",
    " ",
    "*",
    "?",
    "[",
    "\\",
    "'",
    '"',
)
PARTS = (
    *SEPARATORS,
    *("a", "b", "A", "1", "12", "0", "entry", "meta", "c", "m", "r", "s", "near", "turn 1", "state-sidecar"),
    *(
        "./",
        "../",
        "//",
        "~/~",
        "%2F",
        "%00",
        "%25",
        "{1}",
        "{}",
        "{a",
        ":1:",
        ":c:1:a:",
        "entry#",
        "/entry#a",
        "';--",
        "$1",
        "\\x00",
    ),
    *(
        "\u00e9",
        "e\u0301",
        "\u0430",
        "\u200b",
        "\u202e",
        "\ufeff",
        "\ud7ff",
        "\ue000",
        "\ufffd",
        "\uffff",
        "\U00010000",
        "\U0010ffff",
    ),
)
"""Printable; the names of adapters' own things; look-alikes, the neighbours of surrogates, and the last code points."""
CONTROLS = ("\x00", "\x01", "\n", "\r", "\r\n", "\t", "\x1f", "\x7f", "\x85", "\x00\x01", "\x1b[")
"""In keys only: a namespace has none."""
NAMESPACE_BYTES_MAX, KEY_BYTES_MAX = 128, 1024


def pairs(count: int, seed: int = 1) -> Iterator[tuple[str, str]]:
    """So many different pairs, all that a request may name: short texts, each cut in two at every place, and long ones."""
    random = Random(seed)  # no secret
    seen: set[tuple[str, str]] = set()
    while True:
        text = "".join(random.choices(PARTS, k=random.randint(2, 6)))
        ends = ["", random.choice(CONTROLS), random.choice(PARTS), random.choice(CONTROLS) + random.choice(PARTS)]
        if random.random() < 0.01:
            ends.append(random.choice(("x", "/", ":", "\u00e9")) * random.randint(200, 900))
        for cut in range(1, len(text)):
            namespace = text[:cut]
            for end in ends:
                pair = namespace, text[cut:] + end
                if (
                    pair in seen
                    or len(namespace.encode()) > NAMESPACE_BYTES_MAX
                    or len(pair[1].encode()) > KEY_BYTES_MAX
                ):
                    continue
                seen.add(pair)
                yield pair
                if len(seen) == count:
                    return
