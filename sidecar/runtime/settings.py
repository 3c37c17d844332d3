"""What an operator can set, each with its bound. `load_settings` reads the sources; `Settings(...)` in Python reads nothing.

Settings are scalars that an operator tunes; clocks and stores are components and come in elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sidecar.core.errors import InvalidRequest
from sidecar.core.limits import Limits, check_namespace
from sidecar.core.policy import PolicyTable
from sidecar.core.schema import Schemas
from sidecar.runtime import parsing, schemas, settings_checks, settings_sources
from sidecar.runtime.settings_access import AuthSettings
from sidecar.runtime.settings_sections import (
    DEFAULT_TCP,
    MIB,
    Bytes,
    Count,
    LimitSettings,
    NamespaceSettings,
    OutboxSettings,
    Seconds,
    Section,
    TelemetrySettings,
    TierSettings,
    comma_separated,
)
from sidecar.runtime.settings_security import AuditSettings, EncryptionSettings, TlsSettings
from sidecar.runtime.settings_sources import Problem, SettingsError

APP_BYTES_MAX = 128

__all__ = ["NamespaceSettings", "Settings", "SettingsError", "TierUrls", "load_settings"]


def _namespace(name: str) -> str:
    try:
        check_namespace(name, Limits())
    except InvalidRequest as error:
        raise ValueError(error.message) from None
    return name


def _app(name: str) -> str:
    if len(name.encode()) > APP_BYTES_MAX or not name.isprintable():
        raise ValueError(f"an app's name has at most {APP_BYTES_MAX} bytes, and no control characters")
    return name


def _listen_address(address: str) -> str:
    path = parsing.unix_path(address)
    if path is not None:
        if (size := len(os.fsencode(path))) > parsing.UNIX_PATH_BYTES_MAX:
            raise ValueError(
                f"the socket's path has {size} bytes and at most {parsing.UNIX_PATH_BYTES_MAX} are possible: "
                "choose a shorter one"
            )
    else:
        parsing.parse_tcp_address(address)
    return address


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class TierUrls:
    """The URL of each tier, defaults filled in and paths absolute. They may hold passwords: `shown` is for people."""

    hot: str = field(repr=False)
    warm: str = field(repr=False)
    cold: str = field(repr=False)

    def shown(self) -> TierUrls:
        """Without credentials."""
        return TierUrls(**{name: parsing.without_credentials(getattr(self, name)) for name in ("hot", "warm", "cold")})


class Settings(Section):
    """The daemon's settings, valid as a whole. Names ending in `_s` are seconds, in `_bytes_max` bytes."""

    app: Annotated[str, AfterValidator(_app)] = ""
    data_dir: Path = Field(default=Path(".state-sidecar"), validate_default=True)
    listen: Annotated[
        list[Annotated[str, AfterValidator(_listen_address)]] | None, BeforeValidator(comma_separated)
    ] = None
    http_listen: str = "127.0.0.1:7421"
    tiers: TierSettings = TierSettings()
    namespaces: dict[Annotated[str, AfterValidator(_namespace)], NamespaceSettings] = Field(default_factory=dict)
    limits: LimitSettings = LimitSettings()
    outbox: OutboxSettings = OutboxSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    tls: TlsSettings = TlsSettings()
    auth: AuthSettings = AuthSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    audit: AuditSettings = AuditSettings()
    cache_bytes_max: Bytes = 256 * MIB
    near_bytes_max: Bytes = 64 * MIB
    journal_bytes_max: Bytes = 256 * MIB
    journal_age_max_s: Seconds = 86_400.0
    write_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 5.0
    grace_period_s: Seconds = 20.0
    sweep_interval_s: Seconds = 5.0
    cleaning_interval_s: Seconds = 1.0
    tombstone_retention_s: Seconds = 3_600.0
    request_id_retention_s: Seconds = 86_400.0
    requests_max: Count = 10_000
    watches_max: Count = 1_000
    commit_queue_max: Count = 10_000
    followups_max: Count = 10_000
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    log_format: Annotated[Literal["text", "json"], BeforeValidator(_lower)] = "text"

    _warnings: list[str] = PrivateAttr(default_factory=list)

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, data_dir: Path) -> Path:
        return parsing.absolute(data_dir)

    @field_validator("listen")
    @classmethod
    def _some_address(cls, listen: list[str] | None) -> list[str] | None:
        if listen is not None and not listen:
            raise ValueError("no address: leave it out to listen on the defaults")
        if listen is not None and len(set(listen)) < len(listen):
            raise ValueError("the same address twice")
        return listen

    @field_validator("http_listen")
    @classmethod
    def _off_or_tcp(cls, address: str) -> str:
        # Any address is allowed: probes and scrapers come from outside the pod, and find no keys or values there.
        if address:
            parsing.parse_tcp_address(address)
        return address

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        problems = list(settings_checks.contradictions(self))
        if isinstance(info.context, list):
            info.context.extend(problems)
        elif problems:
            raise ValueError("; ".join(f"{'.'.join(problem.path)}: {problem.text}" for problem in problems))
        self._warnings.extend(settings_checks.warnings(self))
        return self

    @property
    def warnings(self) -> list[str]:
        """What is allowed and probably not meant, one line each; for the log at start."""
        return list(self._warnings)

    def listen_addresses(self) -> list[str]:
        """`host:port` and `unix:///path` to serve gRPC on.

        Of the defaults, the Unix socket is left out, with a warning, where its path is too long or the data directory
        can't be made; an address that was asked for is never left out.
        """
        if self.listen is not None:
            return list(self.listen)
        socket = self.data_dir / "state.sock"
        problem = _socket_problem(socket)
        if problem:
            warning = f"not listening on unix://{socket}: {problem}"
            self._warnings += [] if warning in self._warnings else [warning]
            return [DEFAULT_TCP]
        return [DEFAULT_TCP, f"unix://{socket}"]

    def tier_urls(self) -> TierUrls:
        """The URL of each tier."""

        def absolute(url: str) -> str:
            scheme = url.partition("://")[0]
            return f"{scheme}://{parsing.url_path(url)}" if scheme in {"sqlite", "file"} else url

        return TierUrls(
            hot=self.tiers.hot,
            warm=absolute(self.tiers.warm or f"sqlite://{self.data_dir}/state.db"),
            cold=absolute(self.tiers.cold or f"file://{self.data_dir}/cold"),
        )

    def policy_table(self) -> PolicyTable:
        """The policy of every namespace."""
        return PolicyTable({name: namespace.policy(name) for name, namespace in self.namespaces.items()})

    def schemas(self) -> dict[str, Schemas]:
        """The schemas of the namespaces that have some."""
        return schemas.schemas({name: namespace.policy(name).schema for name, namespace in self.namespaces.items()})

    def request_limits(self) -> Limits:
        """Bounds of a request. Unless it was set, a message has room for the largest value of any namespace."""
        limits = Limits(**self.limits.changes())
        if "message_bytes_max" in self.limits.model_fields_set:
            return limits
        values = [namespace.policy(name).value_bytes_max for name, namespace in self.namespaces.items()]
        return replace(limits, message_bytes_max=max([limits.message_bytes_max, *(size + MIB for size in values)]))


def load_settings(config: Path | None, overrides: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Settings from `--set key=value`, then `environ`, then the file, then the defaults.

    `config` wins over STATE_SIDECAR_CONFIG. Raises SettingsError with every problem of every source.
    """
    sources = settings_sources.read(config, overrides, environ, frozenset(Settings.model_fields))
    problems = list(sources.problems)
    contradictions: list[Problem] = []
    try:
        settings = Settings.model_validate(sources.values, context=contradictions)
    except ValidationError as error:
        found = settings_sources.explain(error, Settings)
        problems += found
        # Once more without what is wrong, to hear what else is.
        settings = Settings.model_validate(sources.without(found), context=contradictions)
    problems += [contradiction for contradiction in contradictions if not contradiction.follows_from(problems)]
    if problems:
        raise SettingsError([sources.line(problem) for problem in problems])
    settings._warnings[:0] = sources.warnings  # noqa: SLF001  # the class's own module
    return settings


def _socket_problem(socket: Path) -> str:
    """Why the default socket can't be bound; empty: it can. Makes its directory."""
    size = len(os.fsencode(socket))
    if size > parsing.UNIX_PATH_BYTES_MAX:
        return (
            f"its path has {size} bytes and at most {parsing.UNIX_PATH_BYTES_MAX} are possible; set data_dir or listen"
        )
    try:
        socket.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    return "" if os.access(socket.parent, os.W_OK | os.X_OK) else f"{socket.parent} is not writable"
