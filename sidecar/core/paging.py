"""Page tokens: where a listing goes on, bound to what was listed."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from sidecar.core.errors import InvalidRequest

T = TypeVar("T")
_DIGEST_BYTES = 8


def page_token(namespace: str, prefix: str, after: str) -> str:
    """A token that continues the listing of `prefix` after a key."""
    return base64.urlsafe_b64encode(_digest(namespace, prefix, after) + after.encode()).decode().rstrip("=")


def after_key(token: str, namespace: str, prefix: str) -> str:
    """The key that a token continues after; PAGE_TOKEN_INVALID if it is none, or another list's."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        after = raw[_DIGEST_BYTES:].decode()
    except (binascii.Error, ValueError) as exc:
        raise _invalid("page_token is not one of ours") from exc
    if raw[:_DIGEST_BYTES] != _digest(namespace, prefix, after):
        raise _invalid("page_token belongs to another list: keep namespace and key_prefix through all pages")
    return after


def fitting(found: Sequence[T], size_of: Callable[[T], int], bytes_max: int) -> Sequence[T]:
    """The first of what was found, as many as have `bytes_max` together; at least one."""
    size = 0
    for count, each in enumerate(found):
        size += size_of(each)
        if count and size > bytes_max:
            return found[:count]
    return found


def _digest(namespace: str, prefix: str, after: str) -> bytes:
    parts = "".join(f"{len(part)}:{part}" for part in (namespace, prefix, after))
    return hashlib.blake2b(parts.encode(), digest_size=_DIGEST_BYTES, person=b"page-token").digest()


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, reason="PAGE_TOKEN_INVALID", field="page_token")
