"""What a daemon sends to: the sinks of its messages, and the collector of its telemetry."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc

from sidecar.core.errors import SidecarError
from sidecar.core.ports import Clock
from sidecar.runtime import exporting
from sidecar.runtime.findings import Finding, ok, wrong
from sidecar.runtime.settings import Settings
from sidecar.runtime.settings_sections import NO_SINK
from sidecar.sinks import build, shown

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
OTLP_PORT = 4317
_PORTS = {"http": 80, "https": 443}


async def examine(settings: Settings, environ: Mapping[str, str], clock: Clock, *, timeout_s: float) -> list[Finding]:
    """Each sink once, then the collector; each has `timeout_s`."""
    found = await asyncio.gather(
        *(_sink(name, url, settings.app, clock, timeout_s) for url, name in _sinks(settings).items()),
        _collector(settings, environ, timeout_s),
    )
    return [finding for finding in found if finding is not None]


# ---- sinks


def _sinks(settings: Settings) -> dict[str, str]:
    """The first setting that names each URL."""
    named = {"outbox.sink": settings.outbox.sink}
    named |= {f"namespaces.{name}.outbox.sink": each.outbox.sink for name, each in settings.namespaces.items()}
    return {url: name for name, url in reversed(named.items()) if url is not None and url != NO_SINK}


async def _sink(setting: str, url: str, app: str, clock: Clock, timeout_s: float) -> Finding:
    sink = build(url, app=app, clock=clock)
    began_s = clock.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            await sink.open()
            told = await _met(url)
    except TimeoutError:
        return wrong(setting, shown(url), f"no answer within {timeout_s:g} s: check the address, and what may block it")
    except SidecarError as exc:
        return wrong(setting, shown(url), exc.message)
    except OSError as exc:
        return wrong(setting, shown(url), f"nobody answers there ({exc.strerror or 'unknown host'}): check the address")
    finally:
        await sink.close()
    return ok(setting, shown(url), told or f"opened in {(clock.monotonic() - began_s) * 1000:.0f} ms")


async def _met(url: str) -> str:
    """Of a kind of sink that opens without asking anybody: what else is known. Raises OSError."""
    parts = urlsplit(url)
    if parts.scheme == "sns":
        return "not asked: a topic is met with the first message"
    if parts.scheme not in _PORTS:
        return ""
    _, writer = await asyncio.open_connection(parts.hostname, parts.port or _PORTS[parts.scheme])
    writer.close()
    return "somebody listens there; an endpoint is met with the first message"


# ---- the collector


async def _collector(settings: Settings, environ: Mapping[str, str], timeout_s: float) -> Finding | None:
    """None: nothing is exported."""
    url = exporting.endpoint_of(settings.telemetry.otlp_endpoint, environ)
    if not url:
        return None
    setting = "telemetry.otlp_endpoint" if settings.telemetry.otlp_endpoint else exporting.ENDPOINT
    shown_url = f"{urlsplit(url).scheme}://{urlsplit(url).netloc.rpartition('@')[2]}"
    if not exporting.installed():
        return wrong(setting, shown_url, f"OpenTelemetry's exporter is not installed: install {exporting.EXTRA}")
    try:
        await _export_nothing(url, environ, timeout_s)
    except OSError as exc:
        return wrong(setting, shown_url, f"OTEL_EXPORTER_OTLP_CERTIFICATE can't be read ({exc.strerror}): correct it")
    except grpc.aio.AioRpcError as exc:
        return wrong(setting, shown_url, _refused(exc.code()))
    return ok(setting, shown_url, "a collector answers there")


async def _export_nothing(url: str, environ: Mapping[str, str], timeout_s: float) -> None:
    parts = urlsplit(url)
    target = parts.netloc.rpartition("@")[2]
    target = target if parts.port else f"{target.rstrip(':')}:{OTLP_PORT}"
    headers = [one.partition("=") for one in environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",") if "=" in one]
    metadata = [(name.strip().lower(), unquote(value.strip())) for name, _, value in headers]
    if parts.scheme == "https":
        file = environ.get("OTEL_EXPORTER_OTLP_CERTIFICATE", "")
        authorities = await asyncio.to_thread(Path(file).read_bytes) if file else None
        channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(authorities))
    else:
        channel = grpc.aio.insecure_channel(target)
    async with channel:
        export: Any = channel.unary_unary(EXPORT)  # of bytes, where nothing makes them from messages
        await export(b"", timeout=timeout_s, metadata=metadata)


def _refused(code: grpc.StatusCode) -> str:
    match code:
        case grpc.StatusCode.UNIMPLEMENTED:
            return "what answers there takes no traces: name the collector's port for OTLP over gRPC"
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return f"the collector refuses us ({code.name}): set OTEL_EXPORTER_OTLP_HEADERS"
        case grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.UNAVAILABLE:
            return "no collector answers there by OTLP over gRPC: check address, port, TLS, and what may block it"
        case _:
            return f"the collector answers {code.name}: look at its log"
