"""JSON Web Tokens (RFC 7519): verified once each, then known by their SHA-256 until they end or the keys change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt

from sidecar.rpc.access.jwks import KeySource
from sidecar.rpc.access.refusals import invalid

REMEMBERED_MAX = 4096
CLAIMS = ("exp", "iss", "aud", "sub")
"""What a token must say: one without an end would be good for ever."""


class Jwts:
    """Verifies tokens of one issuer for one audience. Whom a token is of, its `sub` says.

    Only algorithms with a public key are ever given; the key of a set fixes which one, whatever a token's header says.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audience: str,
        algorithms: Sequence[str],
        leeway_s: float,
        now: Callable[[], float],
    ) -> None:
        """`now`: seconds since 1970 (UTC). `leeway_s`: how far the issuer's clock may be off."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = list(algorithms)
        self._leeway_s = leeway_s
        self._now = now
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._generation = keys.generation

    def subject(self, token: str, digest: bytes) -> str | None:
        """Whom a token is of; `digest` is its SHA-256. None: its key is not here, and may be a new one.

        Raises TOKEN_INVALID for whatever else is wrong with it.
        """
        if (generation := self._keys.generation) != self._generation:
            self._known.clear()
            self._generation = generation
        if (known := self._known.get(digest)) is not None and self._now() < known[1]:
            self._known.move_to_end(digest)
            return known[0]
        if (claims := self._verified(token)) is None:
            return None
        self._known[digest] = claims["sub"], claims["exp"] + self._leeway_s
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        subject: str = claims["sub"]
        return subject

    async def learn(self) -> None:
        """Ask for keys that are not here. Raises Unavailable."""
        await self._keys.learn()

    def _verified(self, token: str) -> Mapping[str, Any] | None:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError as exc:
            raise invalid(f"no JWT: {type(exc).__name__}") from None
        if not isinstance(kid, str):
            raise invalid("its header names no key")
        if (key := self._keys.key(kid)) is None:
            return None
        try:
            # Times are compared here, by the clock that tells when a token that is known ends.
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                options={"require": list(CLAIMS), "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as exc:
            raise invalid(type(exc).__name__) from None
        self._check_times(claims)
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._now()
        for name in ("exp", "nbf", "iat"):
            value = claims.get(name, now)
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
                raise invalid(f"its {name} is no time")
        if now >= claims["exp"] + self._leeway_s:
            raise invalid("it has ended")
        if now < max(claims.get("nbf", now), claims.get("iat", now)) - self._leeway_s:
            raise invalid("it has not begun")
