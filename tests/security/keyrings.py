"""Keyrings over key files, and a log of what they audit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sidecar.core.audit import AuditEvent
from sidecar.core.sealing import value_place
from sidecar.stores.sealed.files import FileKeys
from sidecar.stores.sealed.keyring import Keyring
from sidecar.stores.sealed.source import KeySource
from tests.support.clock import ManualClock

APP = "shop"
PERIOD_S = 3600.0
AT = value_place("session", "user/1", 2)


class Events(list[AuditEvent]):
    """What was audited."""

    def record(self, event: AuditEvent) -> None:
        self.append(event)


def write_key(directory: Path, name: str, content: bytes | None = None, *, active: bool = False) -> bytes:
    """A key file, complete from the first moment, as a mounted secret is."""
    content = os.urandom(32) if content is None else content
    replace(directory / f"{name}.key", content)
    if active:
        replace(directory / "active", f"{name}\n".encode())
    return content


def replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.chmod(0o400)
    new.rename(path)


def keyring(source: KeySource | Path, clock: ManualClock, **changed: Any) -> Keyring:
    if isinstance(source, Path):
        source = FileKeys(source, clock)
    settings: dict[str, Any] = {"app": APP, "period_s": PERIOD_S, "accept_plaintext": False, "audit": Events()}
    return Keyring(source, clock=clock, **settings | changed)
