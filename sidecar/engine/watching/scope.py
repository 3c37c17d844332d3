"""What a watcher watches, and the tokens by which it goes on.

A token is a cursor: everything up to it was told. It is bound to what was watched, so one of another watcher is refused,
and to the tier that is the authority: another tier's changes are others. Behind the cursor are those of a few changes
after it that must not be told, because the watcher's snapshot has shown what they led to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.core.errors import InvalidRequest, OutOfRange
from sidecar.core.modes import Tier
from sidecar.core.store import ChangeKind, ChangeRow

SHOWN_MAX = 200
"""Changes that a token says were shown. With more, one that a snapshot has shown may be told again after a resume."""
_DIGEST_BYTES, _CURSOR_BYTES = 8, 8
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A key of a namespace, or all keys that begin with a prefix."""

    namespace: str
    key: str | None
    prefix: str

    def tells(self, change: ChangeRow) -> bool:
        """Whether whoever watches it is told of a change."""
        if change.namespace != self.namespace or change.kind is ChangeKind.TOUCH:
            return False
        return change.key.startswith(self.prefix) if self.key is None else change.key == self.key


class Tokens:
    """Those of one scope."""

    def __init__(self, scope: Scope, tier: Tier) -> None:
        what = f"^{scope.prefix}" if scope.key is None else f"={scope.key}"
        self._head = bytes((_FORMAT, tier))
        self._hash = hashlib.blake2b(digest_size=_DIGEST_BYTES, person=b"resume-token")
        self._hash.update(f"{len(scope.namespace)}:{scope.namespace}{what}".encode())

    def encode(self, cursor: int, shown: Sequence[int] = ()) -> str:
        """A token that continues after a cursor, without the changes at some cursors, which rise."""
        body = self._head + cursor.to_bytes(_CURSOR_BYTES, "big")
        if shown and (rest := shown[bisect_right(shown, cursor) :]) and len(rest) <= SHOWN_MAX:
            body += b"".join(one.to_bytes(_CURSOR_BYTES, "big") for one in rest)
        return base64.urlsafe_b64encode(self._digest(body) + body).decode().rstrip("=")

    def decode(self, token: str) -> tuple[int, tuple[int, ...]]:
        """Inverse of `encode`. Raises InvalidRequest (RESUME_TOKEN_INVALID), OutOfRange for another tier's."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as exc:
            raise _invalid("resume_token is not one of ours") from exc
        digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        head, numbers = body[: len(self._head)], body[len(self._head) :]
        if not numbers or len(numbers) % _CURSOR_BYTES or head[0] != _FORMAT:
            raise _invalid("resume_token is not one of ours")
        if digest != self._digest(body):
            raise _invalid("resume_token is another watcher's: keep namespace, key and key_prefix as they were")
        if head != self._head:
            raise OutOfRange("another tier is the authority by now, which has other changes: watch with a snapshot")
        cursor, *shown = (
            int.from_bytes(numbers[at : at + _CURSOR_BYTES], "big") for at in range(0, len(numbers), _CURSOR_BYTES)
        )
        return cursor, tuple(shown)

    def _digest(self, body: bytes) -> bytes:
        hashed = self._hash.copy()
        hashed.update(body)
        return hashed.digest()


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, reason="RESUME_TOKEN_INVALID", field="resume_token")
