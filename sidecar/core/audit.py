"""Audit: the port to a log of what a security review asks for. It tells who did what to which namespace; never a value, and
of a key only a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from sidecar.core.entry import NO_LABELS


class AuditKind(StrEnum):
    """What happened."""

    DENIED = "denied"
    ADMIN = "admin"
    RESTORE = "restore"
    MIGRATION = "migration"
    ROTATION = "rotation"
    TAMPERING = "tampering"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """`identity` is who asked; empty: the daemon itself, or nobody that is known. `outcome` is a gRPC code in lower case."""

    kind: AuditKind
    identity: str = ""
    method: str = ""
    namespace: str = ""
    key_hash: str = ""
    outcome: str = "ok"
    reason: str = ""
    details: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)


class Audit(Protocol):
    """Keeps events. Costs its caller no I/O, and never fails."""

    def record(self, event: AuditEvent) -> None:
        """Keep one."""
        ...


class NoAudit:
    """Keeps nothing."""

    def record(self, event: AuditEvent) -> None:
        """Nothing."""


def key_hash(key: str) -> str:
    """How an event names a key: 16 hex digits of its SHA-256; empty for none."""
    return hashlib.sha256(key.encode()).hexdigest()[:16] if key else ""
