"""What `state-sidecar doctor` finds out: whether a daemon with these settings could start here and reach its backends.

It does what a start does and nothing that stays: files and directories are looked at, not made. A shared backend is
opened as by a daemon, which makes the tables that are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from sidecar.core.blobs import Blobs
from sidecar.core.cache import CacheUnavailable
from sidecar.core.errors import SidecarError
from sidecar.core.ports import Clock, Ports
from sidecar.core.store import Store
from sidecar.runtime import build, examine_files, examine_listening
from sidecar.runtime.findings import Finding, note, ok, wrong
from sidecar.runtime.parsing import url_path, without_credentials
from sidecar.runtime.ports import SystemPorts
from sidecar.runtime.settings import Settings

CLOCK_OFFSET_MS_MAX = 60_000
"""Beyond it ends of copies are far from the authority's, and signatures of requests to AWS soon invalid."""


async def examine(settings: Settings, *, timeout_s: float) -> list[Finding]:
    """Every setting that names something outside of the daemon, in the order of the settings; each tier has `timeout_s`."""
    parts = await asyncio.gather(
        asyncio.to_thread(examine_files.data_dir, settings.data_dir),
        examine_listening.examine(settings, timeout_s=timeout_s),
        _tiers(settings, timeout_s),
    )
    data_dir, listening, tiers = parts
    return [*(note("settings", "", warning) for warning in settings.warnings), data_dir, *listening, *tiers]


async def _tiers(settings: Settings, timeout_s: float) -> list[Finding]:
    ports = SystemPorts()
    backends = build.backends(settings, ports)
    try:
        return list(
            await asyncio.gather(
                *(_tier(name, url, backends, ports, timeout_s) for name, url in _urls(settings).items())
            )
        )
    finally:
        await backends.close()


def _urls(settings: Settings) -> dict[str, str]:
    urls = settings.tier_urls()
    return {"hot": urls.hot, "warm": urls.warm, "cold": urls.cold}


async def _tier(name: str, url: str, backends: build.Backends, ports: Ports, timeout_s: float) -> Finding:
    setting, shown = f"tiers.{name}", without_credentials(url)
    match urlsplit(url).scheme:
        case "none":
            return ok(setting, shown, "left out")
        case "memory":
            return ok(setting, shown, "in the daemon's memory")
        case "sqlite":
            return await asyncio.to_thread(examine_files.database, setting, shown, url_path(url))
        case "file":
            return await asyncio.to_thread(examine_files.directory, setting, shown, url_path(url))
    began = ports.clock.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            for opening in _openings(name, backends):
                await opening()
    except TimeoutError:
        return wrong(setting, shown, f"no answer within {timeout_s:g} s: check the address, and that nothing blocks it")
    except SidecarError as exc:
        return wrong(setting, shown, exc.message)
    except CacheUnavailable as exc:
        return wrong(setting, shown, str(exc))
    took_ms = (ports.clock.monotonic() - began) * 1000
    return _opened(setting, shown, getattr(backends, _ATTRIBUTES[name]), f"opened in {took_ms:.0f} ms", ports.clock)


_ATTRIBUTES = {"hot": "hot_store", "warm": "warm", "cold": "cold"}


def _openings(name: str, backends: build.Backends) -> list[Callable[[], Awaitable[object]]]:
    backend: Store | Blobs | None = getattr(backends, _ATTRIBUTES[name])
    openings: list[Callable[[], Awaitable[object]]] = [] if backend is None else [backend.open]
    if name == "hot" and backends.cache is not None:
        openings.append(backends.cache.identity)
    return openings


def _opened(setting: str, shown: str, backend: Store | Blobs | None, told: str, clock: Clock) -> Finding:
    if found := getattr(backend, "server", ""):
        told = f"{found}, {told}"
    capabilities = getattr(backend, "capabilities", None)
    if setting != "tiers.warm" or capabilities is None or not capabilities.shared:
        return ok(setting, shown, told)
    offset_ms = clock.now() - backend.now()  # type: ignore[union-attr]  # what has capabilities is a store
    side = "ahead of" if offset_ms > 0 else "behind"
    told = f"{told}, this machine's clock is {abs(offset_ms) / 1000:.3g} s {side} the authority's"
    if abs(offset_ms) > CLOCK_OFFSET_MS_MAX:
        return wrong(setting, shown, f"{told}: set it")
    return ok(setting, shown, told)
