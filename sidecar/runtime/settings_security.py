"""The sections of the settings that say who may call, how values are kept at rest, and what is written down of it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from sidecar.runtime.settings_sections import Bytes, Seconds, Section, comma_separated
from sidecar.runtime.settings_sources import Problem


class TlsSettings(Section):
    """The server's certificate and key, in PEM, and the authority of client certificates: with it, callers need one."""

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None


class EncryptionSettings(Section):
    """Values are sealed before any tier sees them, where `keys` or `kms_key` is set.

    `keys`: a directory of `NAME.key` files, and a file `active` with the NAME that seals. `kms_key`: id, ARN or alias of
    a key of AWS KMS; `kms_former`: ARNs of keys that were it, and still open.
    """

    keys: Path | None = None
    kms_key: str | None = None
    kms_former: Annotated[tuple[str, ...], BeforeValidator(comma_separated)] = ()
    kms_endpoint_url: str | None = None
    period_s: Annotated[Seconds, Field(ge=60.0)] = 86_400.0
    accept_plaintext: bool = False

    @property
    def enabled(self) -> bool:
        """Whether values are sealed."""
        return self.keys is not None or self.kms_key is not None


class AuditSettings(Section):
    """Where events go: a file, `-` for the daemon's log; none: nowhere.

    From `size_max` on the file becomes FILE.1, and so on; `keep` of them stay.
    """

    file: Annotated[str, Field(min_length=1)] | None = None
    size_max: Annotated[Bytes, Field(ge=64 * 1024)] = 64 * 1024 * 1024
    keep: Annotated[int, Field(ge=1, le=1000)] = 8


def contradictions(encryption: EncryptionSettings) -> Iterator[Problem]:
    """What is wrong with the keys, which are looked at."""
    if encryption.keys is not None and encryption.kms_key is not None:
        yield Problem(("encryption", "keys"), "kms_key is set too: keep one of them", (("encryption", "kms_key"),))
    if encryption.kms_key is None and (encryption.kms_former or encryption.kms_endpoint_url):
        yield Problem(("encryption", "kms_key"), "no key to seal with: set it")
    if not encryption.enabled:
        if encryption.accept_plaintext:
            text = "it has no effect without keys or kms_key: leave it out, or nobody would see that nothing is sealed"
            yield Problem(("encryption", "accept_plaintext"), text)
        return
    name = "keys" if encryption.keys is not None else "kms_key"
    for library, extra in (("cryptography", "encryption"), *([("botocore", "aws")] if encryption.kms_key else [])):
        if find_spec(library) is None:
            yield Problem(("encryption", name), f"this needs {library}: install state-sidecar[{extra}]")
            return
    if encryption.keys is not None:
        from sidecar.runtime.ports import SystemPorts  # noqa: PLC0415
        from sidecar.stores.sealed.files import FileKeys, KeyFilesInvalid  # noqa: PLC0415  # only where values are sealed

        try:
            FileKeys(encryption.keys, SystemPorts().clock)
        except KeyFilesInvalid as exc:
            yield Problem(("encryption", "keys"), str(exc))
