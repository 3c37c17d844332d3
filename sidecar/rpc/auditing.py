"""Calls that are told in the audit log, whatever becomes of them: who, what, of which namespace, and how it ended."""

from __future__ import annotations

from typing import Any

from sidecar.core.audit import Audit, AuditEvent, AuditKind, key_hash
from sidecar.rpc.access.rules import IDENTITY
from sidecar.rpc.calls import Context
from sidecar.rpc.measuring import CANCELLED, OK, UNARY, outcome_of

NAME_CHARACTERS_MAX = 128
"""Of what a caller made up: as a namespace may have."""


def namespace_of(request: Any) -> str:
    """The namespace that a request names; empty: none."""
    namespace: str = getattr(request, "namespace", "")
    return namespace


def audited(kind: AuditKind, method: str, behaviour: UNARY, audit: Audit) -> UNARY:
    """A behaviour, unary or with a stream of responses, told when it ends. `method` is its full name."""

    async def told(request: Any, context: Context) -> Any:
        outcome = CANCELLED
        try:
            reply = await behaviour(request, context)
            outcome = OK
            return reply
        except Exception:
            outcome = outcome_of(context)
            raise
        finally:
            audit.record(
                AuditEvent(
                    kind=kind,
                    identity=IDENTITY.get(),
                    method=method,
                    namespace=namespace_of(request)[:NAME_CHARACTERS_MAX],
                    key_hash=key_hash(getattr(request, "key", "")),
                    outcome=outcome,
                )
            )

    return told


def with_audit(handler: Any, kind: AuditKind | None, method: str, audit: Audit) -> Any:
    """A gRPC method handler whose calls are told; `kind` None: as it was."""
    if kind is None:
        return handler
    form = behaviour_form(handler)
    return handler._replace(**{form: audited(kind, method, getattr(handler, form), audit)})


def behaviour_form(handler: Any) -> str:
    """The field of a method handler that has its behaviour."""
    form = "stream" if handler.request_streaming else "unary"
    return f"{form}_{'stream' if handler.response_streaming else 'unary'}"
