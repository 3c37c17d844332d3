"""The settings that say who may call what, and what is wrong only together with the addresses and with TLS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, field_validator

from sidecar.core.errors import InvalidRequest
from sidecar.core.limits import Limits, check_namespace
from sidecar.rpc.access.methods import of_rule
from sidecar.runtime import parsing
from sidecar.runtime.settings_sections import Bytes, Count, Section, comma_separated
from sidecar.runtime.settings_security import TlsSettings
from sidecar.runtime.settings_sources import Problem

EXTRA = "state-sidecar[auth]"
"""What has the library for JWTs."""


def _pattern(pattern: str) -> str:
    try:
        check_namespace(pattern, Limits())
    except InvalidRequest as error:
        raise ValueError(error.message) from None
    if "*" in pattern[:-1]:
        raise ValueError(f"{pattern!r}: a * stands at the end, for any rest")
    return pattern


def _method(name: str) -> str:
    of_rule(name)
    return name


Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Those with a public key. None with a shared secret, and not `none`."""
Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@/-]{0,127}$")]


class JwtSettings(Section):
    """Whose tokens are accepted. `jwks`: a file, or an https address."""

    jwks: Text | None = None
    issuer: Text | None = None
    audience: Text = "state-sidecar"
    algorithms: Annotated[tuple[Algorithm, ...], BeforeValidator(comma_separated), Field(min_length=1)] = (
        "RS256",
        "ES256",
        "EdDSA",
    )
    leeway_s: Annotated[float, Field(ge=0.0, le=300.0)] = 10.0

    @field_validator("jwks")
    @classmethod
    def _usable(cls, jwks: str | None) -> str | None:
        if jwks is None:
            return None
        if "://" in jwks and (urlsplit(jwks).scheme != "https" or not urlsplit(jwks).hostname):
            raise ValueError("write the path of a file, or an https:// address: keys must come from who they say")
        if urlsplit(jwks).username is not None:
            raise ValueError("credentials in an address end up in logs: the keys are public, leave them out")
        if find_spec("jwt") is None or find_spec("cryptography") is None:
            raise ValueError(f"this needs PyJWT with cryptography: install {EXTRA}")
        return jwks


class QuotaSettings(Section):
    """What an identity may use; unset: without a bound. `watches`: streams that are open at once."""

    ops_per_s: Annotated[float, Field(gt=0.0)] | None = None
    bytes_per_s: Bytes | None = None
    watches: Count | None = None


class IdentitySettings(Section):
    """How a caller is known to be this identity, beside a line of its name in the tokens file, and what it may."""

    certificate: Text | None = None
    jwt_subject: Text | None = None
    namespaces: Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], BeforeValidator(comma_separated)] = ()
    methods: Annotated[tuple[Annotated[str, AfterValidator(_method)], ...], BeforeValidator(comma_separated)] = ()
    quota: QuotaSettings = QuotaSettings()


class AuthSettings(Section):
    """Who may call. Nothing of it set: everybody who reaches a socket may call everything."""

    tokens: Path | None = None
    jwt: JwtSettings = JwtSettings()
    identities: dict[Name, IdentitySettings] = Field(default_factory=dict)

    @property
    def enabled(self) -> bool:
        """Whether callers are told apart."""
        return bool(self.tokens or self.jwt.jwks or self.identities)


def contradictions(listen: Sequence[str], tls: TlsSettings, auth: AuthSettings) -> Iterator[Problem]:
    """What is wrong only together with something else."""
    yield from _listening(listen, tls, auth)
    for name in ("certificate", "key"):
        other = "key" if name == "certificate" else "certificate"
        if getattr(tls, name) is None and (getattr(tls, other) or tls.client_ca):
            yield Problem(("tls", name), "TLS takes a certificate and its key: set both", (("tls", other),))
    if auth.jwt.jwks is not None and auth.jwt.issuer is None:
        yield Problem(("auth", "jwt", "issuer"), "jwks needs the issuer of the tokens: set it", (("auth", "jwt"),))
    if auth.jwt.jwks is None and auth.jwt.model_fields_set:
        yield Problem(("auth", "jwt", "jwks"), "no keys to verify tokens with: set it", (("auth", "jwt"),))
    for what, need, there in (
        ("certificate", "tls.client_ca", tls.client_ca is not None),
        ("jwt_subject", "auth.jwt.jwks", auth.jwt.jwks is not None),
    ):
        named = {name: text for name, one in auth.identities.items() if (text := getattr(one, what)) is not None}
        twice = Counter(named.values())
        for name, text in named.items():
            path = ("auth", "identities", name, what)
            if not there:
                yield Problem(path, f"nobody can be known by it: set {need}", (tuple(need.split(".")),))
            elif twice[text] > 1:
                yield Problem(path, "another identity has the same: a caller would be both")


def _listening(listen: Sequence[str], tls: TlsSettings, auth: AuthSettings) -> Iterator[Problem]:
    known = auth.tokens or auth.jwt.jwks or (tls.client_ca and auth.identities)
    for address in listen:
        if parsing.unix_path(address) is not None or parsing.is_loopback(parsing.parse_tcp_address(address)[0]):
            continue
        if tls.certificate is None:
            text = f"{address} can be reached from other machines: set tls and auth, or listen on 127.0.0.1, [::1], "
            yield Problem(("listen",), f"{text}localhost or unix:///path", (("tls",), ("auth",)))
        elif not known:
            text = f"{address} can be reached from other machines, and no caller is told from another: set auth"
            yield Problem(("listen",), text, (("tls",), ("auth",)))


def warnings(listen: Sequence[str], tls: TlsSettings, auth: AuthSettings) -> Iterator[str]:
    """What is allowed and probably not meant."""
    for name, one in auth.identities.items():
        if auth.tokens is None and one.certificate is None and one.jwt_subject is None:
            yield f"auth.identities.{name} is nobody: set its certificate or jwt_subject, or auth.tokens"
    if tls.certificate is not None and all(parsing.unix_path(address) is not None for address in listen):
        yield "tls has no effect: only Unix sockets are listened on"
    if auth.enabled and not auth.identities:
        yield "auth has no identities: every call is denied"
