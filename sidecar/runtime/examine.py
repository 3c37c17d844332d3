"""What `state-sidecar doctor` finds out: whether a daemon with these settings could start here and reach its backends.

It does what a start does and nothing that stays: files and directories are looked at, not made. A shared backend is
opened as by a daemon, which makes the tables that are missing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from sidecar.core.blobs import Blobs
from sidecar.core.cache import CacheUnavailable
from sidecar.core.errors import SidecarError
from sidecar.core.observed import Advice, Advising
from sidecar.core.policy import Authority
from sidecar.core.ports import Clock, Ports
from sidecar.core.store import Store
from sidecar.runtime import adapters, examine_files, examine_keys, examine_listening, examine_machine, examine_outside
from sidecar.runtime.findings import Finding, Verdict, note, ok, wrong
from sidecar.runtime.parsing import url_path, without_credentials
from sidecar.runtime.ports import SystemPorts
from sidecar.runtime.settings import Settings

CLOCK_OFFSET_MS_MAX = 60_000
"""Beyond it ends of copies are far from the authority's, and signatures of requests to AWS soon invalid."""


async def examine(settings: Settings, *, timeout_s: float) -> list[Finding]:
    """Every setting that names something outside of the daemon, in the order of the settings; each tier has `timeout_s`."""
    ports = SystemPorts()
    keys = await examine_keys.examine(settings, ports.clock, timeout_s=timeout_s)
    machine, kept, data_dir, listening, tiers, outside = await asyncio.gather(
        asyncio.to_thread(examine_machine.examine, settings, now=ports.clock.now()),
        asyncio.to_thread(examine_machine.kept, settings),
        asyncio.to_thread(examine_files.data_dir, settings.data_dir),
        examine_listening.examine(settings, timeout_s=timeout_s),
        _tiers(settings, ports, timeout_s),
        examine_outside.examine(settings, os.environ, ports.clock, timeout_s=timeout_s),
    )
    warnings = [note("settings", "", warning) for warning in settings.warnings]
    return [*warnings, *machine, data_dir, *listening, *tiers, *kept, *keys, *outside]


async def _tiers(settings: Settings, ports: Ports, timeout_s: float) -> list[Finding]:
    backends = adapters.backends(settings, ports)
    try:
        found = await asyncio.gather(
            *(
                _tier(name, url, backends, ports, app=settings.app, timeout_s=timeout_s)
                for name, url in _urls(settings).items()
            )
        )
        well = {finding.setting: finding.subject for finding in found if finding.verdict is not Verdict.WRONG}
        return [*found, *await _advice(settings, backends, well, timeout_s)]
    finally:
        await backends.close()


def _urls(settings: Settings) -> dict[str, str]:
    urls = settings.tier_urls()
    return {"hot": urls.hot, "warm": urls.warm, "cold": urls.cold}


async def _tier(
    name: str, url: str, backends: adapters.Backends, ports: Ports, *, app: str, timeout_s: float
) -> Finding:
    setting, shown = f"tiers.{name}", without_credentials(url)
    match urlsplit(url).scheme:
        case "none":
            return ok(setting, shown, "left out")
        case "memory":
            return ok(setting, shown, "in the daemon's memory")
        case "sqlite":
            return await asyncio.to_thread(examine_files.database, setting, shown, url_path(url), app)
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


def _openings(name: str, backends: adapters.Backends) -> list[Callable[[], Awaitable[object]]]:
    backend: Store | Blobs | None = getattr(backends, _ATTRIBUTES[name])
    openings: list[Callable[[], Awaitable[object]]] = [] if backend is None else [backend.open]
    if name == "hot" and backends.cache is not None:
        openings.append(backends.cache.identity)
    return openings


def _opened(setting: str, shown: str, backend: Store | Blobs | None, told: str, clock: Clock) -> Finding:
    if found := getattr(backend, "server", ""):
        told = f"{found}, {told}"
    capabilities = getattr(backend, "capabilities", None)
    if capabilities is None or not capabilities.shared:
        return ok(setting, shown, told)
    offset_ms = clock.now() - backend.now()  # type: ignore[union-attr]  # what has capabilities is a store
    side = "ahead of" if offset_ms > 0 else "behind"
    whose = "authority's" if setting == "tiers.warm" else "server's"
    told = f"{told}, this machine's clock is {abs(offset_ms) / 1000:.3g} s {side} the {whose}"
    if abs(offset_ms) > CLOCK_OFFSET_MS_MAX:
        return wrong(setting, shown, f"{told}: set it")
    return ok(setting, shown, told)


# ---- what should be set up otherwise


async def _advice(
    settings: Settings, backends: adapters.Backends, well: Mapping[str, str], timeout_s: float
) -> list[Finding]:
    """Of the servers that answer, by setting and what it names."""
    asked: dict[str, Callable[[], Awaitable[list[Advice]]]] = {}
    if backends.redis is not None:
        from sidecar.stores.redis.advice import advice  # noqa: PLC0415  # only with its library

        client, keeps = backends.redis, _keeps_hot(settings)
        asked["tiers.hot"] = lambda: advice(client, keeps=keeps)
    if isinstance(backends.warm, Advising):
        asked["tiers.warm"] = backends.warm.advice
    found: list[Finding] = []
    for setting in asked.keys() & well.keys():
        try:
            async with asyncio.timeout(timeout_s):
                given = await asked[setting]()
        except TimeoutError:
            given = [Advice(f"it was not heard within {timeout_s:g} s how it is set up")]
        except SidecarError as exc:
            given = [Advice(f"it could not be asked how it is set up: {exc.message}")]
        found += [(wrong if one.harmful else note)(setting, well[setting], one.message) for one in given]
    return sorted(found, key=lambda finding: finding.setting)


def _keeps_hot(settings: Settings) -> bool:
    """Whether the hot tier was chosen as the authority of anything, beside the presets."""
    chosen = (each.policy(name).authority for name, each in settings.namespaces.items())
    return settings.tier_urls().warm == "none://" or Authority.HOT in chosen
