"""Keyrings for tests, over real key files."""

from __future__ import annotations

import os
from pathlib import Path

from sidecar.core.audit import Audit, NoAudit
from sidecar.core.ports import Clock
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.sealed.files import FileKeys
from sidecar.stores.sealed.keyring import Keyring

DAY_S = 86_400.0


def write_key(directory: Path, name: str, *, active: bool = True) -> None:
    """A new key of 32 random bytes, which seals from now on unless it is not to be `active`."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{name}.key"
    path.write_bytes(os.urandom(32))
    path.chmod(0o600)
    if active:
        (directory / "active").write_text(name)


def keyring(
    directory: Path,
    *,
    app: str = "shop",
    clock: Clock | None = None,
    accept_plaintext: bool = False,
    audit: Audit | None = None,
    period_s: float = DAY_S,
) -> Keyring:
    """A keyring that knows no data key yet, over the keys in a directory; one is made if there is none."""
    if not any(directory.glob("*.key")):
        write_key(directory, "first")
    clock = clock or SystemPorts().clock
    return Keyring(
        FileKeys(directory, clock),
        app=app,
        clock=clock,
        period_s=period_s,
        accept_plaintext=accept_plaintext,
        audit=audit or NoAudit(),
    )
