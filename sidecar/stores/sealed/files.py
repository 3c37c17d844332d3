"""FileKeys: wrapping keys in a directory, as a secret that is mounted. A change is noticed without a restart.

`NAME.key` holds 32 bytes: as they are, as 64 hexadecimal digits, or in base64. `active` holds the NAME that wraps new data keys;
it may be left out where there is one key. A wrapped key is nonce:12 · ciphertext:32 · tag:16 of AES-256-GCM, with the
wrapping key's name, the app and the namespace as additional data.
"""

from __future__ import annotations

import base64
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sidecar.core.ports import Clock
from sidecar.core.sealing import place
from sidecar.stores.sealed.envelope import DATA_KEY_BYTES, KEY_NAME, NONCE_BYTES
from sidecar.stores.sealed.source import KeyMissing, KeyRefused, Owner

LOOK_S = 1.0
"""Between two looks at the directory, unless a key is missing."""
KEYS_MAX = 1024
_FILE_BYTES_MAX = 256
_SUFFIX = ".key"
_ACTIVE = "active"
_MODE_MAX = 0o640

_log = logging.getLogger(__name__)

_Signature = tuple[tuple[str, int, int, int], ...]
"""What a directory's files were when they were looked at: name, time of change, number and size."""


class KeyFilesInvalid(Exception):
    """A directory of keys can't be used; names the file, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class _Keys:
    active: str
    by_name: Mapping[str, AESGCM]


class FileKeys:
    """Keys of a directory. Raises KeyFilesInvalid if it can't be used at the start; later, what was known is kept."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._signature = _signature(directory)
        self._keys = _read(directory, self._signature)
        self._look_at = clock.monotonic() + LOOK_S
        self._told = ""

    @property
    def active(self) -> str:
        """The name of the key that new data keys are wrapped under."""
        if self._clock.monotonic() >= self._look_at:
            self._look()
        return self._keys.active

    async def new(self, owner: Owner) -> tuple[str, bytes, bytes]:
        """A new data key: the wrapping key's name, the wrapped key, the key."""
        name = self.active
        secret, nonce = os.urandom(DATA_KEY_BYTES), os.urandom(NONCE_BYTES)
        return name, nonce + self._keys.by_name[name].encrypt(nonce, secret, _bound(name, owner)), secret

    async def unwrap(self, name: str, wrapped: bytes, owner: Owner) -> bytes:
        """The data key. Raises KeyMissing, KeyRefused."""
        if name not in self._keys.by_name:
            self._look()
        if (key := self._keys.by_name.get(name)) is None:
            raise KeyMissing(name)
        try:
            return key.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(name, owner))
        except (InvalidTag, ValueError) as exc:
            raise KeyRefused(
                f"its data key is not of the key {name} that is here, or of another namespace or app"
            ) from exc

    async def close(self) -> None:
        """Nothing is held."""

    def _look(self) -> None:
        self._look_at = self._clock.monotonic() + LOOK_S
        try:
            signature = _signature(self._directory)
            if signature == self._signature:
                return
            self._keys = _read(self._directory, signature)
        except KeyFilesInvalid as exc:
            # Not remembered as seen, so it is tried again; a key that is half written now is whole soon.
            if str(exc) != self._told:
                _log.error("encryption keys are not read again, and the known ones are used: %s", exc)
            self._told = str(exc)
        else:
            self._signature, self._told = signature, ""
            _log.info("encryption keys were read again: %d, active %s", len(self._keys.by_name), self._keys.active)


def _signature(directory: Path) -> _Signature:
    try:
        with os.scandir(directory) as entries:
            found = [
                (entry.name, about.st_mtime_ns, about.st_ino, about.st_size)
                for entry in entries
                if entry.name == _ACTIVE or entry.name.endswith(_SUFFIX)
                for about in (entry.stat(),)
            ]
    except OSError as exc:
        raise KeyFilesInvalid(f"{exc.filename or directory}: {exc.strerror or exc}") from exc
    return tuple(sorted(found))


def _read(directory: Path, signature: _Signature) -> _Keys:
    files = [directory / name for name, *_ in signature if name != _ACTIVE]
    if not files or len(files) > KEYS_MAX:
        raise KeyFilesInvalid(f"{directory}: there are {len(files)} files NAME{_SUFFIX}; 1 to {KEYS_MAX} are expected")
    by_name = {path.name.removesuffix(_SUFFIX): AESGCM(_key(path)) for path in files}
    active = next(iter(by_name))
    if any(name == _ACTIVE for name, *_ in signature):
        active = _bytes(directory / _ACTIVE).decode("utf-8", "replace").strip()
    elif len(by_name) > 1:
        raise KeyFilesInvalid(f"{directory / _ACTIVE}: with more than one key, it has to name the one that seals")
    if active not in by_name:
        raise KeyFilesInvalid(f"{directory / _ACTIVE}: it names a key that has no file NAME{_SUFFIX} here")
    return _Keys(active, by_name)


def _key(path: Path) -> bytes:
    if not KEY_NAME.fullmatch(path.name.removesuffix(_SUFFIX)):
        raise KeyFilesInvalid(f"{path}: a key's name has letters, digits and . _ - only")
    content = _bytes(path)
    text = content.strip()
    key = content
    if len(content) != DATA_KEY_BYTES:
        try:
            key = (
                bytes.fromhex(text.decode())
                if len(text) == 2 * DATA_KEY_BYTES
                else base64.b64decode(text, validate=True)
            )
        except ValueError:
            key = b""
    elif text.isascii() and text.decode().isprintable():
        key = b""  # a password, or half as many digits as there have to be
    if len(key) != DATA_KEY_BYTES:
        raise KeyFilesInvalid(f"{path}: it is not 32 random bytes, as they are, in hexadecimal or in base64")
    return key


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise KeyFilesInvalid(f"{path}: {exc.strerror or exc}") from exc
    if path.name != _ACTIVE and mode & ~_MODE_MAX:
        _log.warning("%s has mode %04o: anyone on this machine may read or change it; 0400 is enough", path, mode)
    if len(content) > _FILE_BYTES_MAX:
        raise KeyFilesInvalid(f"{path}: it has more than {_FILE_BYTES_MAX} bytes")
    return content


def _bound(name: str, owner: Owner) -> bytes:
    return place("data-key", name, owner.app, owner.namespace)
