"""What each adapter claims, asked of the adapters themselves as the daemon builds them; none is opened."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.core.store import Store
from sidecar.runtime.adapters import Backends, backends
from sidecar.runtime.ports import SystemPorts
from sidecar.runtime.settings import Settings
from sidecar.runtime.settings_sections import TierSettings

WARM = {
    "memory://": "memory://",
    "sqlite://": "sqlite:///state.db",
    "postgresql://": "postgresql://host/database",
    "dynamodb://": "dynamodb://table",
}
HOT = {
    "memory://": "memory://",
    "redis://": "redis://host",
    "redis+cluster://": "redis+cluster://host",
    "memcached://": "memcached://host",
}


def rows() -> Iterator[tuple[str, ...]]:
    """A row for each store, and for each cache."""
    for name, url in WARM.items():
        yield from _store(f"`{name}`", "warm", _built(warm=url).warm)
    for name, url in HOT.items():
        built = _built(hot=url)
        yield from _store(f"`{name}`", "hot, as authority", built.hot_store)
        if built.cache is not None:
            yield f"`{name}`", "hot, as cache", "-", _yes(built.cache.capabilities.shared), "-", "-", "-", "-"


def _built(hot: str = "none://", warm: str = "none://") -> Backends:
    settings = Settings(tiers=TierSettings(hot=hot, warm=warm, cold="none://"))
    return backends(settings, SystemPorts())


def _store(name: str, role: str, store: Store | None) -> Iterator[tuple[str, ...]]:
    if store is None:
        return
    can = store.capabilities
    largest = "by policy" if can.value_bytes_max is None else _size(can.value_bytes_max)
    flags = (can.durable, can.shared, can.transactions, can.scan, can.changes)
    yield name, role, *(_yes(flag) for flag in flags), largest


def _size(count: int) -> str:
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count // 2**10} KiB"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
