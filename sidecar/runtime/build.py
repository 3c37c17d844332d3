"""From settings and backends to placements and the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sidecar.core.cleaning import Job
from sidecar.core.entry import Copy, Entry
from sidecar.core.modes import Tier
from sidecar.core.policy import OnOutage
from sidecar.core.ports import Ports
from sidecar.core.sealing import Sealer
from sidecar.engine.buffering import Buffer
from sidecar.engine.engine import Engine
from sidecar.runtime.adapters import Backends
from sidecar.runtime.sealing import sealed_cache, sealed_store
from sidecar.runtime.settings import Settings
from sidecar.tiers.archive import Archive
from sidecar.tiers.blob_jobs import BlobCollection, OrphanSearch
from sidecar.tiers.near import At, Held, Near
from sidecar.tiers.placement import Placement

HELD_OVERHEAD_BYTES = 700
KNOWN_BYTES_MAX = 64 << 20
"""States that buffered writes may be based on."""


def engine(settings: Settings, opened: Backends, ports: Ports, buffer: Buffer | None = None) -> Engine:
    """The engine over those backends. What the hot tier does as cache and as store is one tier's, with one breaker."""
    seal = opened.sealer
    hot = None
    if opened.hot_store is not None:
        hot = Placement(sealed_store(opened.hot_store, seal), tier=Tier.HOT, ports=ports)
    warm = None
    if opened.warm is not None:
        warm = Placement(
            sealed_store(opened.warm, seal),
            tier=Tier.WARM,
            ports=ports,
            cache=sealed_cache(opened.cache, seal),
            cache_guard=None if hot is None else hot.guard,
            near=None if opened.bus is None else _near(settings, ports),
            # What knows of large objects must outlive the process, or nobody would ever delete them.
            cold=opened.cold if opened.warm.capabilities.durable else None,
            large_bytes=_large_bytes(settings),
        )
        if warm.blobs is not None:
            warm.blobs.sealer = seal
        if warm.blobs is not None and "cold" in opened.away:
            warm.blobs.guard.trip(opened.away["cold"])
        if "warm" in opened.away:
            warm.guard.trip(opened.away["warm"])
    for placement in (hot, warm):
        if placement is not None and "hot" in opened.away:
            guard = placement.guard if placement.tier is Tier.HOT else placement.cache.guard
            guard.trip(opened.away["hot"])
    return Engine(
        policies=settings.policy_table(),
        limits=settings.request_limits(),
        hot=hot,
        warm=warm,
        buffer=buffer,
        buffered_ms_max=int(settings.journal_age_max_s * 1000),
        schemas=settings.schemas(),
    )


def cold_jobs(settings: Settings, placement: Placement, names: Callable[[], Iterable[str]]) -> tuple[Job, ...]:
    """The background jobs of what a placement keeps in cold. `names` are the namespaces that were heard of."""
    if placement.cold is None:
        return ()
    table = settings.policy_table()

    def archiving() -> dict[str, int]:
        idle = {name: table.of(name).archive_after_ms for name in {*settings.namespaces, *names()}}
        return {name: after_ms for name, after_ms in idle.items() if after_ms is not None}

    blobs = placement.cold.blobs
    return (
        Archive(placement, placement.cold, archiving),
        BlobCollection(blobs, placement.rows),
        OrphanSearch(blobs),
    )


async def buffer(settings: Settings, ports: Ports, sealer: Sealer | None = None) -> Buffer | None:
    """The journal, opened, where a namespace has its writes kept, or had, and some are left; None: no need of one.

    Raises StoreUnavailable, StoreCorrupt.
    """
    from sidecar.stores.journal import FileJournal  # noqa: PLC0415
    from sidecar.stores.memory.tinylfu import TinyLfuMap  # noqa: PLC0415

    directory, policies = settings.data_dir / "journal", settings.policy_table()
    buffers = any(policies.of(name).on_outage is OnOutage.BUFFER for name in settings.namespaces)
    if not buffers and not directory.exists():
        return None

    def size(at: At, copy: Copy) -> int:
        return HELD_OVERHEAD_BYTES + 4 * len(at[1]) + (len(copy.value) if isinstance(copy, Entry) else 0)

    made = Buffer(
        FileJournal(directory, bytes_max=settings.journal_bytes_max, sealer=sealer),
        TinyLfuMap(KNOWN_BYTES_MAX, size),
        ports,
    )
    await made.journal.open()
    made.load()
    return made


def _large_bytes(settings: Settings) -> Callable[[str], int | None]:
    table = settings.policy_table()
    return lambda namespace: table.of(namespace).large_value_bytes


def _near(settings: Settings, ports: Ports) -> Near:
    from sidecar.stores.memory.tinylfu import TinyLfuMap  # noqa: PLC0415

    def size(at: At, held: Held) -> int:
        return HELD_OVERHEAD_BYTES + 4 * len(at[1]) + len(held.entry.value)

    table = settings.policy_table()

    def max_age_ms(namespace: str) -> int | None:
        near = table.of(namespace).near
        return near.max_age_ms if near.enabled else None

    return Near(TinyLfuMap(settings.near_bytes_max, size), clock=ports.clock, max_age_ms=max_age_ms)
