"""Which server holds a key: rendezvous hashing. (Thaler and Ravishankar, IEEE/ACM Transactions on Networking, 1998.)

Each server has a score for each key, and the highest holds it. So a server that is taken away moves only its own keys,
evenly, and one that is added takes only its share. Every process that names the same servers agrees, in whatever order.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

_SCORE_BYTES = 8


class Ring:
    """Servers by name."""

    def __init__(self, names: Sequence[str]) -> None:
        self._seeds = [blake2b(name.encode(), digest_size=32).digest() for name in names]

    def index(self, key: bytes) -> int:
        """The place among the names of the server that holds a key."""
        if len(self._seeds) == 1:
            return 0
        scores = [blake2b(key, digest_size=_SCORE_BYTES, key=seed).digest() for seed in self._seeds]
        return scores.index(max(scores))
