"""From settings to the gate: the rules, and the files and addresses that say who calls."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.core.audit import Audit
from sidecar.rpc.access.methods import of_rule
from sidecar.rpc.access.rules import Identity, spaces
from sidecar.rpc.access.tokens import Tokens
from sidecar.rpc.gate import Gate
from sidecar.rpc.identities import Identities, certificate_names
from sidecar.rpc.quotas import Quota
from sidecar.runtime.locks import StartError
from sidecar.runtime.settings_access import AuthSettings, IdentitySettings, JwtSettings

if TYPE_CHECKING:
    from sidecar.rpc.access.jwts import Jwts


def gate(
    auth: AuthSettings,
    audit: Audit,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
) -> Gate | None:
    """What callers go through; None: they are not told apart. Raises StartError for a file that can't be used.

    `monotonic`: seconds since some instant; `now`: seconds since 1970 (UTC).
    """
    if not auth.enabled:
        return None
    rules = {name: _identity(name, one, monotonic) for name, one in auth.identities.items()}
    certificates = {
        text: name
        for name, one in auth.identities.items()
        if one.certificate is not None
        for text in certificate_names(one.certificate)
    }
    subjects = {one.jwt_subject: name for name, one in auth.identities.items() if one.jwt_subject is not None}
    try:
        tokens = None if auth.tokens is None else Tokens(auth.tokens, monotonic=monotonic)
        jwts = None if auth.jwt.jwks is None else _jwts(auth.jwt, auth.jwt.jwks, monotonic, now)
    except OSError as exc:
        raise _unusable(f"{exc.filename}: {exc.strerror}") from exc
    except ValueError as exc:
        raise _unusable(str(exc)) from exc
    return Gate(Identities(rules, tokens=tokens, jwts=jwts, subjects=subjects, certificates=certificates), audit)


def _identity(name: str, one: IdentitySettings, monotonic: Callable[[], float]) -> Identity:
    quota = Quota(**one.quota.changes(), monotonic=monotonic) if one.quota.model_fields_set else None
    methods = frozenset[str]().union(*(of_rule(method) for method in one.methods))
    return Identity(name=name, methods=methods, spaces=spaces(one.namespaces), quota=quota)


def _jwts(settings: JwtSettings, jwks: str, monotonic: Callable[[], float], now: Callable[[], float]) -> Jwts:
    # With their libraries, only where there are tokens of that kind.
    from sidecar.rpc.access.jwks import KeyAddress, KeyFile  # noqa: PLC0415
    from sidecar.rpc.access.jwts import Jwts  # noqa: PLC0415

    keys = KeyAddress(jwks, monotonic=monotonic) if "://" in jwks else KeyFile(Path(jwks), monotonic=monotonic)
    return Jwts(
        keys,
        issuer=settings.issuer or "",
        audience=settings.audience,
        algorithms=settings.algorithms,
        leeway_s=settings.leeway_s,
        now=now,
    )


def _unusable(why: str) -> StartError:
    return StartError(f"auth can't be used: {why}", exit_code=os.EX_USAGE)
