"""The sections of the settings: a namespace's policy, the tiers' URLs, the limits of a request.

A key that this release knows but cannot honour is refused: ignoring it silently would promise what nothing keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from sidecar import sinks
from sidecar.core.limits import DAY_MS, Limits
from sidecar.core.policy import (
    LARGE_VALUE_BYTES,
    PRESETS,
    VALUE_BYTES_MAX,
    Authority,
    Kind,
    OnOutage,
    Policy,
    Reconcile,
)
from sidecar.runtime import exporting, parsing

SCHEMES = {
    "hot": ("memory", "redis", "rediss", "redis+cluster", "redis+sentinel", "memcached", "none"),
    "warm": ("sqlite", "postgresql", "dynamodb", "memory", "none"),
    "cold": ("file", "s3", "none"),
}
"""Every scheme of the contract, by tier."""
TARGETS = {
    "redis": "sidecar.stores.redis.target",
    "rediss": "sidecar.stores.redis.target",
    "redis+cluster": "sidecar.stores.redis.target",
    "redis+sentinel": "sidecar.stores.redis.target",
    "memcached": "sidecar.stores.memcached.target",
    "postgresql": "sidecar.stores.postgres.target",
    "dynamodb": "sidecar.stores.dynamodb.target",
    "s3": "sidecar.stores.s3.target",
}
"""The module whose `parse_target` reads a backend's URL; imported only when a URL asks for it."""
LIBRARIES = {
    "sidecar.stores.redis.target": ("hiredis", "redis"),
    "sidecar.stores.postgres.target": ("psycopg", "postgres"),
    "sidecar.stores.dynamodb.target": ("botocore", "aws"),
    "sidecar.stores.s3.target": ("botocore", "aws"),
}
"""The library that a backend's adapter needs, and the extra of pyproject.toml that has it."""
MIB = 1024 * 1024
DEFAULT_TCP = "127.0.0.1:7420"
NO_SINK = "none"
"""For a sink's URL: messages wait for consumers."""
_LIMITS = Limits()


def _seconds(value: Any) -> float:
    return parsing.parse_duration_ms(value) / 1000


def comma_separated(value: Any) -> Any:
    """A list, from text with commas; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


DurationMs = Annotated[int, BeforeValidator(parsing.parse_duration_ms)]
OptionalDurationMs = Annotated[int | None, BeforeValidator(parsing.parse_optional_duration_ms)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(le=3650 * DAY_MS / 1000)]
Bytes = Annotated[int, BeforeValidator(parsing.parse_bytes), Field(gt=0)]
OptionalBytes = Annotated[Annotated[int, Field(gt=0)] | None, BeforeValidator(parsing.parse_optional_bytes)]
Count = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Unknown keys are refused, and a value is never repeated by an error: it may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    def changes(self) -> dict[str, Any]:
        """What was set, by the names of the core's dataclasses: durations there end in their unit."""
        renamed = {
            "ttl": "ttl_ms",
            "max_age": "max_age_ms",
            "archive_after": "archive_after_ms",
            "ttl_max": "ttl_ms_max",
        }
        return {renamed.get(name, name): getattr(self, name) for name in self.model_fields_set}


def _check_url(scheme: str, url: str, targets: Mapping[str, str], libraries: Mapping[str, tuple[str, str]]) -> None:
    module = targets[scheme]
    library, extra = libraries.get(module, ("", ""))
    if library and find_spec(library) is None:
        raise ValueError(f"{scheme}:// needs {library}: install state-sidecar[{extra}]")
    import_module(module).parse_target(url)


class CheckpointSettings(Section):
    """Automatic checkpoints: every so many updates of a key (0: none), how many are kept, and how long."""

    every: Annotated[int, Field(ge=0)] = 0
    keep: Count = 20
    max_age: OptionalDurationMs = None


class NearSettings(Section):
    """Copies in the daemon's own process, and their greatest age."""

    enabled: bool = False
    max_age: DurationMs = 5_000


class SchemaSettings(Section):
    """The schema that values have now, and the steps that lead to it, which `runtime/schemas.py` reads."""

    version: Annotated[int, Field(ge=0, le=(1 << 32) - 1)] = 0
    migrations: Annotated[tuple[Any, ...], BeforeValidator(comma_separated)] = ()


def _check_sink(url: str) -> str:
    # Never the URL itself in a message: it may hold a password.
    scheme, separator, _ = url.partition("://")
    if url != NO_SINK and (not separator or scheme not in sinks.TARGETS):
        known = ", ".join(f"{name}://" for name in sinks.TARGETS)
        raise ValueError(f"not the URL of a sink: write one of {known}, or {NO_SINK}")
    if url != NO_SINK:
        _check_url(scheme, url, sinks.TARGETS, sinks.LIBRARIES)
    return url


SinkUrl = Annotated[str, AfterValidator(_check_sink)]


class OutboxSettings(Section):
    """Where messages go, and how they are delivered."""

    sink: SinkUrl | None = Field(default=None, repr=False)
    in_flight_max: Annotated[Count, Field(le=10_000)] = 64
    attempts_max: Annotated[Count, Field(le=1_000)] = 10
    retry_delay_s: Annotated[Seconds, Field(le=60.0)] = 0.5
    lease_s: Annotated[Seconds, Field(ge=1.0, le=300.0)] = 5.0
    poll_interval_s: Annotated[Seconds, Field(ge=0.01, le=60.0)] = 0.25
    pending_max: Count = 1_000_000
    dead_letter_retention_s: Seconds = 1_209_600.0


class TelemetrySettings(Section):
    """Where traces and metrics go besides `/metrics`, and how much is measured."""

    otlp_endpoint: str | None = None
    trace_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    export_interval_s: Annotated[Seconds, Field(ge=0.1, le=3600.0)] = 15.0
    census_interval_s: Annotated[Seconds, Field(ge=1.0)] = 60.0

    @field_validator("otlp_endpoint")
    @classmethod
    def _usable(cls, url: str | None) -> str | None:
        if url is None or not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("not the URL of a collector: write http://host:4317, or https:// for TLS")
        if parts.username is not None:
            raise ValueError("credentials in a URL end up in logs: set OTEL_EXPORTER_OTLP_HEADERS in the environment")
        if not exporting.installed():
            raise ValueError(f"this needs OpenTelemetry's exporter: install {exporting.EXTRA}")
        return url


class NamespaceOutboxSettings(Section):
    """Where the messages of a namespace go, if not where all go."""

    sink: SinkUrl | None = Field(default=None, repr=False)


class NamespaceSettings(Section):
    """A namespace's policy: what is set here, over the preset of `kind` (unset: the preset of that name, else `default`)."""

    kind: Kind | None = None
    authority: Authority = Authority.WARM
    ttl: OptionalDurationMs = None
    sliding: bool = False
    on_outage: OnOutage = OnOutage.PASSTHROUGH
    reconcile: Reconcile = Reconcile.REJECT
    checkpoint: CheckpointSettings = CheckpointSettings()
    near: NearSettings = NearSettings()
    value_bytes_max: Bytes = VALUE_BYTES_MAX
    large_value_bytes: OptionalBytes = LARGE_VALUE_BYTES
    schema_: SchemaSettings = Field(default=SchemaSettings(), alias="schema")
    archive_after: OptionalDurationMs = None
    history: Annotated[int, Field(ge=0)] = 0
    outbox: NamespaceOutboxSettings = NamespaceOutboxSettings()

    @field_validator("history")
    @classmethod
    def _nothing_yet(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value:
            raise ValueError(f"{info.field_name} is not in this release: leave it out")
        return value

    def policy(self, name: str) -> Policy:
        """The policy of the namespace called `name`."""
        preset = PRESETS[self.kind or (Kind(name) if name in set(Kind) else Kind.DEFAULT)]
        changes = self.changes()
        for other in ("kind", "outbox"):
            changes.pop(other, None)
        nested = {
            "checkpoint": replace(preset.checkpoint, **self.checkpoint.changes()),
            "near": replace(preset.near, **self.near.changes()),
            "schema": replace(preset.schema, **changes.pop("schema_", self.schema_).changes()),
        }
        return replace(preset, **(changes | nested))


class LimitSettings(Section):
    """Bounds of a request that an operator tunes; the contract fixes the others."""

    ttl_max: DurationMs = _LIMITS.ttl_ms_max
    labels_max: Count = _LIMITS.labels_max
    batch_keys_max: Count = _LIMITS.batch_keys_max
    operations_max: Count = _LIMITS.operations_max
    items_max: Count = _LIMITS.items_max
    page_size_max: Count = _LIMITS.page_size_max
    page_size_default: Count = _LIMITS.page_size_default
    page_bytes_max: Bytes = _LIMITS.page_bytes_max
    message_bytes_max: Annotated[Bytes, Field(ge=64 * 1024, le=1024 * MIB)] = _LIMITS.message_bytes_max


class TierSettings(Section):
    """A URL each. Unset: warm is `sqlite://<data_dir>/state.db`, cold is `file://<data_dir>/cold`."""

    hot: str = "memory://"
    warm: str | None = None
    cold: str | None = None

    @field_validator("hot", "warm", "cold")
    @classmethod
    def _known_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None or info.field_name is None:
            return url
        # Never the URL itself in a message: it may hold a password.
        scheme, separator, rest = url.partition("://")
        known = SCHEMES[info.field_name]
        schemes = ", ".join(f"{name}://" for name in known)
        if not separator:
            raise ValueError(f"not a URL: write one of {schemes}")
        if scheme not in known:
            raise ValueError(f"{scheme}:// is no {info.field_name} tier; known are {schemes}")
        if scheme in TARGETS:
            _check_url(scheme, url, TARGETS, LIBRARIES)
        elif bool(rest) != (scheme in {"sqlite", "file"}):
            raise ValueError(f"{scheme}:// takes no more than that" if rest else f"{scheme}:// needs a path after it")
        elif rest:
            parsing.url_path(url)
        return url
