"""What seals values, tried once: a data key is made and opened."""

from __future__ import annotations

import asyncio

from sidecar.core.audit import NoAudit
from sidecar.core.errors import SidecarError
from sidecar.core.ports import Clock
from sidecar.core.sealing import place
from sidecar.runtime.findings import Finding, note, ok, wrong
from sidecar.runtime.sealing import keyring
from sidecar.runtime.settings import Settings

_NAMESPACE = "state-sidecar-doctor"
"""Of no consequence: the data key is thrown away."""


async def examine(settings: Settings, clock: Clock, *, timeout_s: float) -> list[Finding]:
    """The keys of `encryption`; none where nothing is sealed."""
    own = settings.encryption
    ring = keyring(settings, clock, NoAudit())
    if ring is None:
        return []
    name = "encryption.keys" if own.keys is not None else "encryption.kms_key"
    subject = str(own.keys or own.kms_key)
    at = place("doctor")
    try:
        async with asyncio.timeout(timeout_s):
            sealed = await ring.seal(_NAMESPACE, b"doctor", at)
            await ring.open(sealed, at, namespace=_NAMESPACE)
        found = [ok(name, subject, "a data key was made with it, and opens")]
    except TimeoutError:
        found = [wrong(name, subject, f"no answer within {timeout_s:g} s: check the key service's address")]
    except SidecarError as exc:
        found = [wrong(name, subject, exc.message)]
    finally:
        await ring.close()
    if own.accept_plaintext:
        text = "what is not sealed is believed: run `state-sidecar reseal`, then remove this"
        found.append(note("encryption.accept_plaintext", "true", text))
    return found
