"""A process that writes an audit log until it is killed: `python -m tests.security.audit_writer FILE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sidecar.core.audit import AuditEvent, AuditKind
from sidecar.runtime.audit import audit_log
from sidecar.runtime.ports import SystemClock
from sidecar.runtime.settings_security import AuditSettings


async def main(path: Path) -> None:
    """Write without end; says so once the first line is there."""
    log = audit_log(AuditSettings(file=str(path), size_max=64 * 1024, keep=1000), SystemClock())
    assert log is not None
    await log.start()
    number = 0
    while True:
        # Many identities: nothing is suppressed.
        log.record(
            AuditEvent(
                kind=AuditKind.ADMIN, identity=f"operator-{number % 1000}", method="Redrive", namespace="n" * 100
            )
        )
        number += 1
        if log.recorded and number % 100 == 0:
            print(log.recorded, flush=True)  # whoever started us waits for it
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
