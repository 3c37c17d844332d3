"""From the settings and the environment to what is exported: a tracer, and the way to the collector."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from sidecar.core.modes import Tier
from sidecar.runtime.locks import StartError
from sidecar.telemetry.destinations import destination, server_attributes

if TYPE_CHECKING:
    from sidecar.runtime.settings import Settings
    from sidecar.telemetry.figures import Figures
    from sidecar.telemetry.otlp import Exports
    from sidecar.telemetry.tracing import Place, SpanTracer

log = logging.getLogger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
EXTRA = "state-sidecar[telemetry]"


class Exporting(NamedTuple):
    """`tracer` fills what `exports` sends."""

    tracer: SpanTracer
    exports: Exports


def endpoint_of(setting: str | None, environ: Mapping[str, str]) -> str:
    """Where to: what is set, also to nothing, before what the environment says. Empty: nowhere."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    return environ.get(ENDPOINT, "").strip() if setting is None else setting


def installed() -> bool:
    """Whether the exporters are."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.grpc") is not None
    except ModuleNotFoundError:  # one of the packages above it
        return False


def exporting(
    settings: Settings, environ: Mapping[str, str], figures: Callable[[], Figures | None]
) -> Exporting | None:
    """None: nothing is exported, and nothing of OpenTelemetry is imported.

    Raises StartError when an endpoint is set and the exporter is not installed.
    """
    own = settings.telemetry
    endpoint = endpoint_of(own.otlp_endpoint, environ)
    if not endpoint:
        return None
    if not installed():
        said = f"{ENDPOINT} is set, and OpenTelemetry's exporter is not installed: install {EXTRA}"
        raise StartError(f"{said}, or set telemetry.otlp_endpoint to nothing", exit_code=os.EX_USAGE)
    if (protocol := environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")) != "grpc":
        log.warning("telemetry is exported over gRPC, not as OTEL_EXPORTER_OTLP_PROTOCOL says: %s", protocol)
    from sidecar.telemetry.otlp import Exports  # noqa: PLC0415  # all of these only where something is exported
    from sidecar.telemetry.tracing import SpanQueue, SpanTracer  # noqa: PLC0415

    queue = SpanQueue()
    # What the environment says is read by the exporters, which know it for each signal.
    given = "" if own.otlp_endpoint is None else own.otlp_endpoint
    exports = Exports(queue, figures, endpoint=given, interval_s=own.export_interval_s, app=settings.app)
    return Exporting(SpanTracer(queue, ratio=own.trace_ratio, places=_places(settings)), exports)


def _places(settings: Settings) -> dict[Tier, Place]:
    from sidecar.telemetry.tracing import Place  # noqa: PLC0415

    urls = settings.tier_urls()
    made = {}
    for tier, url in ((Tier.HOT, urls.hot), (Tier.WARM, urls.warm), (Tier.COLD, urls.cold)):
        to = destination(url)
        made[tier] = Place(to.system, server_attributes(to.address, to.port))
    return made
