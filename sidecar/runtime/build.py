"""From settings to stores, placements and engine. Adapters are imported here, each only when a URL asks for it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sidecar.core.blobs import Blobs
from sidecar.core.cache import Cache
from sidecar.core.errors import SidecarError
from sidecar.core.modes import Tier
from sidecar.core.ports import Ports
from sidecar.core.store import Store
from sidecar.engine.engine import Engine
from sidecar.runtime import parsing
from sidecar.runtime.settings import Settings
from sidecar.tiers.placement import Placement
from sidecar.tiers.stats import TierStats

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """What the URLs name; whoever opens them closes them."""

    hot_store: Store | None
    cache: Cache | None
    warm: Store | None
    cold: Blobs | None

    async def open(self) -> None:
        """Prepare all at once. One that can't be opened is said, and asked again by whoever needs it: we start anyway."""
        await asyncio.gather(*(_open(name, backend) for name, backend in self._opened()))

    async def close(self) -> None:
        """Close all, the authority last."""
        for _, backend in reversed(self._opened()):
            await backend.close()
        if self.cache is not None:
            await self.cache.close()

    def _opened(self) -> list[tuple[str, Store | Blobs]]:
        named: list[tuple[str, Store | Blobs | None]] = [
            ("warm", self.warm),
            ("hot", self.hot_store),
            ("cold", self.cold),
        ]
        return [(name, backend) for name, backend in named if backend is not None]


async def _open(name: str, backend: Store | Blobs) -> None:
    try:
        await backend.open()
    except SidecarError as exc:
        log.error("the %s tier can't be opened: %s", name, exc.message, extra={"reason": exc.reason})  # noqa: TRY400  # the message says all


def backends(settings: Settings, ports: Ports) -> Backends:
    """The adapters for the tiers' URLs, not opened yet."""
    urls = settings.tier_urls()
    return Backends(
        hot_store=_store(urls.hot, settings, ports),
        cache=_cache(urls.hot, settings, ports),
        warm=_store(urls.warm, settings, ports),
        cold=_blobs(urls.cold),
    )


def engine(settings: Settings, opened: Backends, ports: Ports) -> Engine:
    """The engine over those backends. What the hot tier does as cache and as store is one tier's figures."""
    hot = None if opened.hot_store is None else Placement(opened.hot_store, tier=Tier.HOT, ports=ports)
    warm = None
    if opened.warm is not None:
        cache_stats = TierStats() if hot is None else hot.stats
        warm = Placement(opened.warm, tier=Tier.WARM, ports=ports, cache=opened.cache, cache_stats=cache_stats)
    return Engine(policies=settings.policy_table(), limits=settings.request_limits(), hot=hot, warm=warm)


def _store(url: str, settings: Settings, ports: Ports) -> Store | None:
    match urlsplit(url).scheme:
        case "memory":
            from sidecar.stores.memory import MemoryStore  # noqa: PLC0415

            return MemoryStore(clock=ports.clock)
        case "sqlite":
            from sidecar.stores.sqlite import SqliteStore  # noqa: PLC0415

            return SqliteStore(_path(url), clock=ports.clock, queue_max=settings.commit_queue_max)
        case "none":
            return None
        case scheme:
            raise AssertionError(f"{scheme}: the settings let through what can't be built")


def _cache(url: str, settings: Settings, ports: Ports) -> Cache | None:
    match urlsplit(url).scheme:
        case "memory":
            from sidecar.stores.memory import MemoryCache  # noqa: PLC0415

            return MemoryCache(bytes_max=settings.cache_bytes_max, identity=ports.token())
        case "none":
            return None
        case scheme:
            raise AssertionError(f"{scheme}: the settings let through what can't be built")


def _blobs(url: str) -> Blobs | None:
    match urlsplit(url).scheme:
        case "file":
            from sidecar.stores.files import FileBlobs  # noqa: PLC0415

            return FileBlobs(_path(url))
        case "none":
            return None
        case scheme:
            raise AssertionError(f"{scheme}: the settings let through what can't be built")


def _path(url: str) -> Path:
    return parsing.url_path(url)
