"""KmsKeys: wrapping keys of AWS KMS, which never leave it. The context binds each data key to its app and namespace.

Only the configured keys are ever asked to open, whatever an envelope names: a key of somebody else's, whose policy lets
everybody use it, is no way to forge values.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from botocore import exceptions as boto  # type: ignore[import-untyped]  # it has no types
from botocore.config import Config  # type: ignore[import-untyped]  # the same
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]  # the same
from botocore.session import Session  # type: ignore[import-untyped]  # the same
from urllib3.exceptions import HTTPError

import sidecar
from sidecar.core.errors import StoreUnavailable
from sidecar.stores.sealed.source import KeyMissing, KeyRefused, Owner

THREADS = 4
WAITING_MAX = 256
"""Calls that are under way or wait for a thread."""
TIMEOUT_S = 3.0
"""For a connection, and for each wait for an answer."""
ATTEMPTS = 2
"""Both operations can be repeated without harm."""

_PLAIN = " !#$&'()*+,/:;<=>?@[]^`{|}~"
_LIBRARY_ERRORS = (boto.BotoCoreError, boto.ClientError, ResponseParserError, HTTPError, OSError)
_NO_CREDENTIALS = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)
_WHY = {
    "NotFoundException": "there is no such key: correct its name, region or account",
    "DisabledException": "the key is disabled: enable it",
    "KMSInvalidStateException": "the key can't be used in its state: see whether it is to be deleted",
    "AccessDeniedException": "access denied: allow kms:GenerateDataKey and kms:Decrypt to these credentials",
    "UnrecognizedClientException": "the credentials are not known there",
}


class KmsKeys:
    """Keys of AWS KMS: `key_id`, an id, an ARN or an alias, wraps; `former` are ARNs of keys that still open.

    Credentials come from the places where AWS's own tools look, the region from the ARN, else from there too. Nothing is asked before the first call.
    """

    def __init__(self, key_id: str, *, former: Collection[str] = (), endpoint_url: str | None = None) -> None:
        self._key_id = key_id
        self._former = frozenset(former)
        self._endpoint_url = endpoint_url
        parts = key_id.split(":")
        self._region = parts[3] if key_id.startswith("arn:") and len(parts) > 3 else None
        self._active = ""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kms")
        self._waiting = 0
        self._lock = threading.Lock()
        self._library: Any = None

    @property
    def active(self) -> str:
        """The ARN of the key that wraps; empty before KMS first told it."""
        return self._active

    async def new(self, owner: Owner) -> tuple[str, bytes, bytes]:
        """A new data key: the wrapping key's ARN, the wrapped key, the key. Raises StoreUnavailable."""
        answer = await self._call(
            "generate_data_key", KeyId=self._key_id, KeySpec="AES_256", EncryptionContext=_context(owner)
        )
        self._active = answer["KeyId"]
        return self._active, answer["CiphertextBlob"], answer["Plaintext"]

    async def unwrap(self, name: str, wrapped: bytes, owner: Owner) -> bytes:
        """The data key. Raises KeyMissing, KeyRefused, StoreUnavailable."""
        key_id = name if name in self._former else self._key_id
        try:
            answer = await self._call(
                "decrypt", KeyId=key_id, CiphertextBlob=wrapped, EncryptionContext=_context(owner)
            )
        except _WrongKeyError as exc:
            raise KeyMissing(name) from exc
        if not _same(answer["KeyId"], name):
            raise KeyMissing(name)
        secret: bytes = answer["Plaintext"]
        return secret

    async def close(self) -> None:
        """Wait for what was begun, and let go. Idempotent."""
        await asyncio.shield(asyncio.to_thread(self._threads.shutdown))
        if self._library is not None:
            self._library.close()
            self._library = None

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        if self._waiting >= WAITING_MAX:
            raise StoreUnavailable(f"{WAITING_MAX} calls wait for AWS KMS")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._blocking, operation, parameters)
        finally:
            self._waiting -= 1

    # In a thread.

    def _blocking(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._connected(), operation)(**parameters)
        except _LIBRARY_ERRORS as exc:
            if isinstance(exc, _NO_CREDENTIALS):
                self._library = None  # it keeps the credentials that it was made with, or their absence
            raise failure(exc) from exc
        return answer

    def _connected(self) -> Any:
        with self._lock:
            if self._library is None:
                # At debug the library logs what it is answered: data keys.
                logging.getLogger("botocore").setLevel(logging.INFO)
                session = Session()
                self._library = session.create_client(
                    "kms",
                    region_name=self._region or session.get_config_variable("region"),
                    endpoint_url=self._endpoint_url,
                    config=Config(
                        connect_timeout=TIMEOUT_S,
                        read_timeout=TIMEOUT_S,
                        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                        max_pool_connections=THREADS,
                        tcp_keepalive=True,
                        user_agent_extra=f"state-sidecar/{sidecar.__version__}",
                    ),
                )
            return self._library


class _WrongKeyError(Exception):
    """The key that was asked is not the one that wrapped."""


def failure(exc: Exception) -> Exception:
    """What an exception of the library says of a call."""
    if isinstance(exc, boto.ClientError):
        code = str(exc.response.get("Error", {}).get("Code", ""))
        if code == "InvalidCiphertextException":
            return KeyRefused("AWS KMS does not open its data key: it was changed, or is of another namespace or app")
        if code == "IncorrectKeyException":
            return _WrongKeyError()
        return StoreUnavailable(f"AWS KMS: {_WHY.get(code, 'it refuses now')} ({code})")
    if isinstance(exc, _NO_CREDENTIALS):
        return StoreUnavailable("AWS KMS: no credentials were found: set AWS_ACCESS_KEY_ID and so on, or a role")
    if isinstance(exc, boto.NoRegionError):
        return StoreUnavailable("AWS KMS: no region is known: give the key's ARN, or set AWS_DEFAULT_REGION")
    return StoreUnavailable(f"AWS KMS: no answer ({type(exc).__name__})")


def _context(owner: Owner) -> dict[str, str]:
    # KMS promises nothing of other characters than these, nor of empty values; the ledger's namespace is a control character.
    named = (("app", owner.app), ("namespace", owner.namespace))
    return {name: quote(value, safe=_PLAIN) for name, value in named if value}


def _same(used: str, named: str) -> bool:
    # A key of many regions has another ARN in each, and one id.
    one, other = used.rpartition("/")[2], named.rpartition("/")[2]
    return used == named or (one == other and one.startswith("mrk-"))
