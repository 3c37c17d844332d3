"""The form of a sealed value, and the data key that makes and opens it. No I/O.

    MAGIC · n:1 · name of the wrapping key:n · m:2 · wrapped data key:m · commitment:16 · nonce:12 · ciphertext · tag:16

All integers are big-endian. What comes before the nonce, the *header*, is the same for all values of a data key, so a value
needs no table of keys to be opened. The additional data of AES-256-GCM is header ‖ app ‖ namespace ‖ place, the app and the
namespace with their lengths. GCM does not commit to its key (one ciphertext can open under two), so the header does: a key
whose commitment differs is not used.
"""

from __future__ import annotations

import hmac
import re

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sidecar.core.sealing import MAGIC

DATA_KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
COMMITMENT_BYTES = 16
WRAPPED_BYTES_MAX = 512
"""A file's key wraps to 60 bytes, one of AWS KMS to under 200."""
KEY_NAME = re.compile(r"[A-Za-z0-9._:/+=@-]{1,255}", re.ASCII)
"""File names' stems, and ARNs."""

_NAME_AT = len(MAGIC) + 1
_DERIVATION = b"state-sidecar/1/data-key"


class NotSealedHere(Exception):
    """These bytes do not open with the keys that there are; says why."""


class DataKey:
    """Seals and opens the values of one app and namespace. Usable by many threads."""

    __slots__ = ("_bound", "_cipher", "header", "name")

    def __init__(self, name: str, wrapped: bytes, secret: bytes, *, app: str, namespace: str) -> None:
        # One HMAC gives the cipher's key and the commitment, so neither says anything of the other.
        derived = hmac.digest(secret, _DERIVATION, "sha512")
        self._cipher = AESGCM(derived[:DATA_KEY_BYTES])
        self.name = name
        """Of the key that wraps it."""
        self.header = _header(name, wrapped) + derived[DATA_KEY_BYTES:][:COMMITMENT_BYTES]
        self._bound = self.header + _sized(app) + _sized(namespace)

    def seal(self, data: bytes, at: bytes, nonce: bytes) -> bytes:
        """An envelope. A nonce is never used twice."""
        return b"".join((self.header, nonce, self._cipher.encrypt(nonce, data, self._bound + at)))

    def open(self, sealed: bytes, at: bytes) -> bytes:
        """What is in an envelope that begins with this key's header. Raises InvalidTag."""
        start = len(self.header)
        box = memoryview(sealed)[start + NONCE_BYTES :]
        return self._cipher.decrypt(sealed[start : start + NONCE_BYTES], box, self._bound + at)


def header_length(sealed: bytes) -> int:
    """Where the nonce begins, in bytes that begin with MAGIC. Raises NotSealedHere if there is no room for all."""
    wrapped_at = _NAME_AT + 2 + (sealed[_NAME_AT - 1] if len(sealed) >= _NAME_AT else 0)
    wrapped_length = int.from_bytes(sealed[wrapped_at - 2 : wrapped_at], "big")
    end = wrapped_at + wrapped_length + COMMITMENT_BYTES
    if len(sealed) < end + NONCE_BYTES + TAG_BYTES:
        raise NotSealedHere("it is cut short")
    return end


def parsed(header: bytes) -> tuple[str, bytes]:
    """The name of the wrapping key and the wrapped key, from a header of `header_length`. Raises NotSealedHere."""
    wrapped_at = _NAME_AT + header[_NAME_AT - 1] + 2
    name = header[_NAME_AT : wrapped_at - 2].decode("latin-1")
    wrapped = header[wrapped_at:-COMMITMENT_BYTES]
    if not KEY_NAME.fullmatch(name) or len(wrapped) > WRAPPED_BYTES_MAX:
        raise NotSealedHere("its header is of no key")
    return name, wrapped


def plain_size(sealed: bytes) -> int:
    """How many bytes are in it, as its lengths say; of what is not sealed, its own."""
    try:
        return (
            len(sealed) - header_length(sealed) - NONCE_BYTES - TAG_BYTES if sealed.startswith(MAGIC) else len(sealed)
        )
    except NotSealedHere:
        return len(sealed)


def _header(name: str, wrapped: bytes) -> bytes:
    if not KEY_NAME.fullmatch(name) or len(wrapped) > WRAPPED_BYTES_MAX:
        raise ValueError(f"{name[:300]!r} can't name a key, or wraps one to {len(wrapped)} bytes")
    return b"".join((MAGIC, bytes([len(name)]), name.encode(), len(wrapped).to_bytes(2, "big"), wrapped))


def _sized(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "big") + encoded
