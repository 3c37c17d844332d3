"""The public keys that tokens are verified with: a JSON Web Key Set (RFC 7517) from a file, or from an https address."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from jwt import PyJWK
from jwt.exceptions import PyJWKError, PyJWTError

from sidecar.core.errors import Unavailable
from sidecar.rpc.access.files import FILE_BYTES_MAX, Watched

KEYS_MAX = 100
ASYMMETRIC = frozenset({"RSA", "EC", "OKP"})
"""Key types whose public part is all that is needed. A shared secret would let every verifier sign."""
REFRESH_S = 300.0
"""Age of keys from an address at which they are asked for again."""
RETRY_S = 10.0
"""An unknown key is asked for, and an address that failed is tried again, once in this time."""
FETCH_S = 5.0

log = logging.getLogger(__name__)

Keys = Mapping[str, PyJWK]


class KeySource(Protocol):
    """Where keys come from. `generation` rises when they change."""

    @property
    def generation(self) -> int:
        """Of what `key` answers from now."""
        ...

    def key(self, kid: str) -> PyJWK | None:
        """A key by its id, of those that are here."""
        ...

    async def learn(self) -> None:
        """Ask again, if that may bring a key that is not here. Raises Unavailable where there are no keys at all."""
        ...


def parse(content: bytes) -> Keys:
    """The keys of a set that can verify, by their ids. Raises ValueError where there is none."""
    try:
        listed = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("jwks: not a JSON Web Key Set") from None
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise ValueError(f"jwks: not a list of at most {KEYS_MAX} keys")
    keys = {given["kid"]: key for given in listed if (key := _key(given)) is not None}
    if not keys:
        raise ValueError("jwks: no key with a `kid` that can verify signatures (RSA, EC, OKP)")
    return keys


def _key(given: Any) -> PyJWK | None:
    """None: not for signatures, or of a kind that isn't known. Sets hold such keys beside others."""
    if not isinstance(given, dict) or not isinstance(given.get("kid"), str):
        return None
    if given.get("kty") not in ASYMMETRIC or given.get("use", "sig") != "sig":
        return None
    try:
        return PyJWK(given)
    except (PyJWKError, PyJWTError, ValueError, TypeError):
        log.warning("a key of the JSON Web Key Set is not usable", extra={"kid": given["kid"][:64]})
        return None


class KeyFile:
    """A set in a file, which is read again when it changes; for an unknown key, at once."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float]) -> None:
        """Raises OSError and ValueError."""
        self._file = Watched([path], lambda contents: parse(contents[0]), monotonic=monotonic)

    @property
    def generation(self) -> int:
        """Rises with a change of the file."""
        self._file.get()
        return self._file.generation

    def key(self, kid: str) -> PyJWK | None:
        """As `KeySource`."""
        return self._file.get().get(kid) or self._file.get(at_once=True).get(kid)

    async def learn(self) -> None:
        """There is nobody else to ask."""


class KeyAddress:
    """A set behind an https address: kept, refreshed while it is used, and kept on while the address is away.

    The certificate is verified against the system's authorities, or those that SSL_CERT_FILE names. No redirect is
    followed. For one event loop.
    """

    def __init__(
        self, url: str, *, monotonic: Callable[[], float], refresh_s: float = REFRESH_S, retry_s: float = RETRY_S
    ) -> None:
        self._url = url
        self._monotonic = monotonic
        self._refresh_s, self._retry_s = refresh_s, retry_s
        self._keys: Keys = {}
        self._content = b""
        self._generation = 0
        self._asked_s: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    @property
    def generation(self) -> int:
        """Rises with a change of the set."""
        if self._keys and self._age_s() >= self._refresh_s:
            self._begin()
        return self._generation

    def key(self, kid: str) -> PyJWK | None:
        """As `KeySource`."""
        return self._keys.get(kid)

    async def learn(self) -> None:
        """Wait for the set, if it is being asked for or may be asked for again."""
        if self._age_s() >= self._retry_s:
            self._begin()
        if self._fetching is not None:
            await asyncio.wait({self._fetching})
        if not self._keys:
            raise Unavailable("the keys that verify tokens can't be had now", reason="TOKEN_KEYS_UNAVAILABLE")

    def _age_s(self) -> float:
        return float("inf") if self._asked_s is None else self._monotonic() - self._asked_s

    def _begin(self) -> None:
        if self._fetching is None:
            self._asked_s = self._monotonic()
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())

    async def _fetch(self) -> None:
        try:
            content = await asyncio.to_thread(self._download)
            if content != self._content:
                self._keys, self._content = parse(content), content
                self._generation += 1
        except (OSError, ValueError, http.client.HTTPException) as exc:
            log.warning("the JSON Web Key Set can't be had: %s", exc, extra={"host": urlsplit(self._url).hostname})
        finally:
            self._fetching = None

    def _download(self) -> bytes:
        parts = urlsplit(self._url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=FETCH_S, context=ssl.create_default_context()
        )
        try:
            connection.request("GET", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise ValueError(f"status {response.status}")
            content = response.read(FILE_BYTES_MAX + 1)
        finally:
            connection.close()
        if len(content) > FILE_BYTES_MAX:
            raise ValueError(f"larger than {FILE_BYTES_MAX} bytes")
        return content
