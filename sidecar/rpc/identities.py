"""From a call to who makes it: a bearer token, or a client certificate where there is no token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sidecar.rpc.access.refusals import invalid, missing
from sidecar.rpc.access.rules import Identity
from sidecar.rpc.access.tokens import Tokens

if TYPE_CHECKING:
    from sidecar.rpc.access.jwts import Jwts

HEADER = "authorization"
SCHEME = "bearer "
NAME_CHARACTERS_MAX = 256
"""Of a name that no rule has, as it is told in the audit log."""

Metadata = Iterable[tuple[str, str | bytes]]
AuthContext = Mapping[str, Iterable[bytes]]


class Identities:
    """The rules by name, and the ways to find out which one is a caller's.

    `subjects` and `certificates`: the names of identities by a JWT's `sub`, and by what a certificate says
    (`certificate_names`). A caller that is verified and has no rule is an identity that may nothing.
    """

    def __init__(
        self,
        rules: Mapping[str, Identity],
        *,
        tokens: Tokens | None = None,
        jwts: Jwts | None = None,
        subjects: Mapping[str, str] | None = None,
        certificates: Mapping[str, str] | None = None,
    ) -> None:
        self._rules = rules
        self._tokens = tokens
        self._jwts = jwts
        self._subjects = subjects or {}
        self._certificates = certificates or {}

    def at_once(self, metadata: Metadata) -> Identity | None:
        """By what is here already; None: `later` has to find out. Raises Unauthenticated."""
        token = _bearer(metadata)
        if token is not None:
            return self._by_token(token)
        if self._certificates:
            return None
        raise missing()

    async def later(self, metadata: Metadata, auth_context: AuthContext) -> Identity:
        """Whatever it takes. Raises Unauthenticated, and Unavailable where keys that verify can't be had."""
        token = _bearer(metadata)
        if token is None:
            return self._by_certificate(auth_context)
        if (known := self._by_token(token)) is not None:
            return known
        assert self._jwts is not None, "only a JWT's key is looked for"
        await self._jwts.learn()
        if (known := self._by_token(token)) is None:
            raise invalid("its key is not known")
        return known

    # ----

    def _by_token(self, token: str) -> Identity | None:
        """None: its key is not known, and may be a new one."""
        digest = hashlib.sha256(token.encode()).digest()
        if self._tokens is not None and (name := self._tokens.name(digest)) is not None:
            return self._named(name)
        if self._jwts is None:
            raise invalid("it is in no file")
        subject = self._jwts.subject(token, digest)
        return None if subject is None else self._named(self._subjects.get(subject, ""), subject)

    def _by_certificate(self, auth_context: AuthContext) -> Identity:
        """A certificate that says two identities is of none: which rule is meant, nobody knows."""
        said = _said(auth_context)
        if not said:
            raise missing()
        names = {self._certificates[text] for text in said if text in self._certificates}
        return self._named(names.pop() if len(names) == 1 else "", said[0])

    def _named(self, name: str, verified: str = "") -> Identity:
        if (rule := self._rules.get(name)) is not None:
            return rule
        return Identity(name=(name or verified)[:NAME_CHARACTERS_MAX])


def _bearer(metadata: Metadata) -> str | None:
    """The token of the one `authorization`; None: there is none."""
    given = [value for key, value in metadata if key == HEADER]
    if not given:
        return None
    [header, *others] = given
    if others or not isinstance(header, str) or header[: len(SCHEME)].lower() != SCHEME:
        raise invalid("not one `authorization: Bearer` with a token")
    return header[len(SCHEME) :].strip()


def _said(auth_context: AuthContext) -> list[str]:
    """The names that a verified certificate has: its subject's alternative ones; the common one only where it has none."""
    kinds = ("uri", "dns", "email", "ip")
    said = [
        f"{kind}:{value.decode(errors='replace')}" for kind in kinds for value in auth_context.get(f"peer_{kind}", ())
    ]
    if said or auth_context.get("x509_subject_alternative_name"):
        return said
    return [f"cn:{value.decode(errors='replace')}" for value in auth_context.get("x509_common_name", ())]


def certificate_names(text: str) -> tuple[str, ...]:
    """What a rule's `certificate` stands for, with its kind: a name of one kind is no name of another."""
    if "://" in text:
        return (f"uri:{text}",)
    return (f"email:{text}",) if "@" in text else tuple(f"{kind}:{text}" for kind in ("dns", "ip", "cn"))
