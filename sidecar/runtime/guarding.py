"""What stands between callers and the services: the gate and the audit log, each loaded only where it is set up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.core.audit import NoAudit
from sidecar.core.ports import Clock
from sidecar.runtime.settings import Settings

if TYPE_CHECKING:
    from sidecar.rpc.gate import Gate
    from sidecar.runtime.audit import AuditLog


def audit_log(settings: Settings, clock: Clock) -> AuditLog | None:
    """Not started yet; None: nothing is audited."""
    if settings.audit.file is None:
        return None
    from sidecar.runtime import audit  # noqa: PLC0415

    return audit.audit_log(settings.audit, clock)


def gate(settings: Settings, audit: AuditLog | None) -> Gate | None:
    """What callers go through; None: they are not told apart. Raises StartError for a file that can't be used."""
    if not settings.auth.enabled:
        return None
    from sidecar.runtime import access  # noqa: PLC0415

    return access.gate(settings.auth, audit or NoAudit())
