"""Encryption at rest, from settings: where it is set up, what leaves this process is sealed. Loaded only where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.core.audit import Audit
from sidecar.core.cache import Cache
from sidecar.core.ports import Clock
from sidecar.core.sealing import Sealer
from sidecar.core.store import Store
from sidecar.runtime.settings import Settings

if TYPE_CHECKING:
    from sidecar.stores.sealed.keyring import Keyring


def keyring(settings: Settings, clock: Clock, audit: Audit) -> Keyring | None:
    """What seals; None: nothing is sealed."""
    own = settings.encryption
    if not own.enabled:
        return None
    from sidecar.stores.sealed.keyring import Keyring  # noqa: PLC0415
    from sidecar.stores.sealed.source import KeySource  # noqa: PLC0415

    source: KeySource
    if own.keys is not None:
        from sidecar.stores.sealed.files import FileKeys  # noqa: PLC0415

        source = FileKeys(own.keys, clock)
    else:
        from sidecar.stores.sealed.kms import KmsKeys  # noqa: PLC0415

        assert own.kms_key is not None, "one of the two is set"
        source = KmsKeys(own.kms_key, former=own.kms_former, endpoint_url=own.kms_endpoint_url)
    return Keyring(
        source,
        app=settings.app,
        clock=clock,
        period_s=own.period_s,
        accept_plaintext=own.accept_plaintext,
        audit=audit,
    )


def sealed_store(store: Store, sealer: Sealer | None) -> Store:
    """The store, sealed, unless nothing of it leaves this process."""
    claimed = store.capabilities
    if sealer is None or not (claimed.durable or claimed.shared):
        return store
    from sidecar.stores.sealed.store import sealed  # noqa: PLC0415

    return sealed(store, sealer)


def sealed_cache(cache: Cache | None, sealer: Sealer | None) -> Cache | None:
    """The cache, sealed, unless nothing of it leaves this process."""
    if cache is None or sealer is None or not cache.capabilities.shared:
        return cache
    from sidecar.stores.sealed.cache import SealedCache  # noqa: PLC0415

    return SealedCache(cache, sealer)
