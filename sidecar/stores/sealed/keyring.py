"""Keyring: the Sealer. A data key for each namespace and period, and those that opened lately."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag

from sidecar.core.audit import Audit, AuditEvent, AuditKind, key_hash
from sidecar.core.errors import DataLoss, FailedPrecondition, KeyAway, SidecarError, StoreUnavailable
from sidecar.core.ports import COMPUTED_BYTES, Clock
from sidecar.core.sealing import MAGIC, Codec, refused
from sidecar.stores.sealed.envelope import (
    NONCE_BYTES,
    DataKey,
    NotSealedHere,
    header_length,
    parsed,
    plain_size,
)
from sidecar.stores.sealed.source import KeyMissing, KeyRefused, KeySource, Owner

ENCRYPTION_KEY_MISSING = "ENCRYPTION_KEY_MISSING"
SEALS_SOFT = 1 << 30
"""Values that a data key seals before it is replaced: with random nonces, two are the same with a chance of 2⁻³⁷."""
SEALS_HARD = 1 << 32
"""Values that it ever seals, when its successor can't be had (NIST SP 800-38D, 8.3: a chance of 2⁻³²)."""
PERIODS_HARD = 8
"""Periods that it ever seals in, for the same reason."""
RETRY_S = 10.0
"""After a key service was away; what can go on with an old key does."""
KEPT_MAX = 4096
"""Data keys kept for opening, and namespaces whose sealing ones are, the latest used: about 1 KiB each."""

_CLOSED = (KeyMissing, KeyRefused, NotSealedHere, InvalidTag)

K = TypeVar("K")
T = TypeVar("T")


@dataclass(slots=True)
class Sealing:
    """The data key that seals in a namespace."""

    key: DataKey
    since: float
    seals: int = 0


class Keyring:
    """Encryption with data keys from `source`. `period_s` bounds how long one seals; `random` gives nonces.

    `accept_plaintext`: what has no seal opens as itself, as needed while old values are sealed one by one. Without it, a
    value that someone put there in the clear is refused as any other forgery.
    """

    def __init__(
        self,
        source: KeySource,
        *,
        app: str,
        clock: Clock,
        period_s: float,
        accept_plaintext: bool,
        audit: Audit,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._source = source
        self._app = app
        self._clock = clock
        self._period_s = period_s
        self._accept_plaintext = accept_plaintext
        self._audit = audit
        self._random = random
        self._sealing: OrderedDict[str, Sealing] = OrderedDict()
        self._opening: OrderedDict[tuple[str, bytes], DataKey] = OrderedDict()
        self._flights: dict[tuple[str, bytes], asyncio.Task[Any]] = {}
        self._retry_at = 0.0

    async def codec(self, namespace: str) -> Codec:
        """For what is sealed and opened without I/O. Raises StoreUnavailable where no data key is and none can be had."""
        return _Codec(self, namespace, await self._current(namespace))

    async def seal(self, namespace: str, data: bytes, at: bytes) -> bytes:
        """Encrypted with the namespace's data key of now. Raises StoreUnavailable where there is none and none can be had."""
        sealing = await self._current(namespace)
        if len(data) <= COMPUTED_BYTES:
            return self.seal_with(sealing, data, at)
        return await asyncio.to_thread(self.seal_with, sealing, data, at)

    async def open(self, sealed: bytes, at: bytes, *, namespace: str, key: str = "") -> bytes:
        """What was sealed at that place; `namespace` and `key` name it in errors.

        Raises DataLoss (ENTRY_CORRUPT) for anything else, which is audited; FailedPrecondition (ENCRYPTION_KEY_MISSING);
        StoreUnavailable.
        """
        if not sealed.startswith(MAGIC):
            return self._in_the_clear(sealed, namespace, key)
        try:
            data_key = await self._fetched(namespace, sealed)
            if len(sealed) <= COMPUTED_BYTES:
                return data_key.open(sealed, at)
            return await asyncio.to_thread(data_key.open, sealed, at)
        except _CLOSED as exc:
            raise self._refusal(exc, namespace, key) from exc

    async def fetch(self, namespace: str, sealed: bytes) -> None:
        """Have at hand the data key of what was sealed in a namespace. Raises as `open` does."""
        try:
            await self._fetched(namespace, sealed)
        except _CLOSED as exc:
            raise self._refusal(exc, namespace, "") from exc

    def seal_with(self, sealing: Sealing, data: bytes, at: bytes) -> bytes:
        """With a data key that there is."""
        sealing.seals += 1
        return sealing.key.seal(data, at, self._random(NONCE_BYTES))

    def latest(self, namespace: str) -> Sealing | None:
        """The namespace's data key that was had last, as far as it is kept."""
        return self._sealing.get(namespace)

    def open_now(self, sealed: bytes, at: bytes, *, namespace: str, key: str = "") -> bytes:
        """As `open`; raises KeyAway where the data key is not at hand."""
        if not sealed.startswith(MAGIC):
            return self._in_the_clear(sealed, namespace, key)
        try:
            data_key = self._opening.get((namespace, sealed[: header_length(sealed)]))
            if data_key is None:
                raise KeyAway(namespace, sealed)
            return data_key.open(sealed, at)
        except _CLOSED as exc:
            raise self._refusal(exc, namespace, key) from exc

    def is_current(self, sealed: bytes) -> bool:
        """Whether the key that new values are sealed under is what this one was. False for what is not sealed.

        With a key service that is asked by an alias, False until something was sealed: only then is the key known.
        """
        try:
            return sealed.startswith(MAGIC) and parsed(sealed[: header_length(sealed)])[0] == self._source.active
        except NotSealedHere:
            return False

    async def close(self) -> None:
        """Let go of the source. Idempotent."""
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
        await self._source.close()

    # The key that seals.

    async def _current(self, namespace: str) -> Sealing:
        sealing = self._sealing.get(namespace)
        if sealing is None or self._is_due(sealing):
            return await self._replaced(namespace)
        self._sealing.move_to_end(namespace)
        return sealing

    def _is_due(self, sealing: Sealing) -> bool:
        return (
            sealing.key.name != self._source.active
            or sealing.seals >= SEALS_SOFT
            or self._clock.monotonic() - sealing.since >= self._period_s
        )

    async def _replaced(self, namespace: str) -> Sealing:
        old = self._sealing.get(namespace)
        usable = (
            old is not None
            and old.seals < SEALS_HARD
            and self._clock.monotonic() - old.since < self._period_s * PERIODS_HARD
        )
        if old is not None and usable and self._clock.monotonic() < self._retry_at:
            return old
        try:
            return await self._flight((namespace, b""), lambda: self._new(namespace))
        except StoreUnavailable:
            if old is not None and usable:
                return old
            raise

    async def _new(self, namespace: str) -> Sealing:
        try:
            name, wrapped, secret = await self._source.new(Owner(self._app, namespace))
        except StoreUnavailable:
            self._retry_at = self._clock.monotonic() + RETRY_S
            raise
        key = DataKey(name, wrapped, secret, app=self._app, namespace=namespace)
        sealing = Sealing(key, self._clock.monotonic())
        _keep(self._sealing, namespace, sealing)
        _keep(self._opening, (namespace, key.header), key)
        return sealing

    # The keys that open.

    async def _fetched(self, namespace: str, sealed: bytes) -> DataKey:
        name = namespace, sealed[: header_length(sealed)]
        data_key = self._opening.get(name)
        if data_key is None:
            return await self._flight(name, lambda: self._unwrapped(*name))
        self._opening.move_to_end(name)
        return data_key

    async def _unwrapped(self, namespace: str, header: bytes) -> DataKey:
        name, wrapped = parsed(header)
        secret = await self._source.unwrap(name, wrapped, Owner(self._app, namespace))
        key = DataKey(name, wrapped, secret, app=self._app, namespace=namespace)
        if key.header != header:
            raise KeyRefused(f"its data key, from {name}, is not the one that it was sealed with")
        _keep(self._opening, (namespace, header), key)
        return key

    async def _flight(self, name: tuple[str, bytes], work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do it once for all who want it now. It goes on without those who don't want it any more."""
        flight: asyncio.Task[T] | None = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = asyncio.create_task(work())
            flight.add_done_callback(lambda done: self._landed(name, done))
        await asyncio.wait((flight,))
        try:
            return flight.result()
        except StoreUnavailable as exc:  # one each: an error that many raise gathers the frames of all
            raise StoreUnavailable(exc.message, reason=exc.reason, metadata=exc.metadata) from exc

    def _landed(self, name: tuple[str, bytes], flight: asyncio.Task[Any]) -> None:
        del self._flights[name]
        if not flight.cancelled():
            flight.exception()  # read, also where all who wanted it have gone

    # What does not open.

    def _in_the_clear(self, data: bytes, namespace: str, key: str) -> bytes:
        if self._accept_plaintext:
            return data
        raise self._tampered(namespace, key, "it is in the clear")

    def _refusal(self, exc: Exception, namespace: str, key: str) -> SidecarError:
        if isinstance(exc, KeyMissing):
            return FailedPrecondition(
                f"a value is sealed under the key {exc}, which is not configured here",
                reason=ENCRYPTION_KEY_MISSING,
                metadata={"namespace": namespace, "encryption_key": str(exc)},
            )
        return self._tampered(namespace, key, str(exc) or "it was changed, or is from another place")

    def _tampered(self, namespace: str, key: str, why: str) -> DataLoss:
        error = refused(namespace, key, why)
        self._audit.record(
            AuditEvent(
                kind=AuditKind.TAMPERING,
                namespace=namespace,
                key_hash=key_hash(key),
                outcome="data_loss",
                reason=error.reason,
                details={"why": why},
            )
        )
        return error


class _Codec:
    """The keyring, for one namespace's seals. It follows when the data key is replaced."""

    __slots__ = ("_keyring", "_namespace", "_sealing", "open")

    def __init__(self, keyring: Keyring, namespace: str, sealing: Sealing) -> None:
        self._keyring = keyring
        self._namespace = namespace
        self._sealing = sealing
        self.open = keyring.open_now

    def seal(self, data: bytes, at: bytes) -> bytes:
        """Encrypted with the namespace's data key."""
        self._sealing = self._keyring.latest(self._namespace) or self._sealing
        return self._keyring.seal_with(self._sealing, data, at)

    def plain_size(self, sealed: bytes) -> int:
        """How many bytes were sealed."""
        return plain_size(sealed)


def _keep(kept: OrderedDict[K, T], name: K, value: T) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > KEPT_MAX:
        kept.popitem(last=False)
