"""What a caller who is not known is told."""

from __future__ import annotations

from sidecar.core.errors import Unauthenticated


def missing() -> Unauthenticated:
    """Nothing that says who calls came with the call."""
    return Unauthenticated(
        "no token: send `authorization: Bearer`, or a client certificate where this daemon takes one",
        reason="TOKEN_MISSING",
    )


def invalid(why: str) -> Unauthenticated:
    """One text for all that is wrong with a token. `why` is the error's cause, for the log, and holds nothing of the token."""
    error = Unauthenticated(
        "the token is not accepted: it may have ended, or be for something else; take a new one", reason="TOKEN_INVALID"
    )
    error.__cause__ = ValueError(why)
    return error
