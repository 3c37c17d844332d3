"""What an operator can set, each with its bound. `load_settings` reads the sources; `Settings(...)` in Python reads nothing.

Settings are scalars that an operator tunes; clocks and stores are components and come in elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
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
from sidecar.core.policy import Authority, OnOutage, PolicyTable
from sidecar.core.schema import Schemas
from sidecar.runtime import parsing, schemas, settings_sources, sinks
from sidecar.runtime.settings_sections import (
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
from sidecar.runtime.settings_sources import Problem, SettingsError
from sidecar.tiers.archive import LEFT_MS_MIN

__all__ = ["NamespaceSettings", "Settings", "SettingsError", "TierUrls", "load_settings"]

DEFAULT_TCP = "127.0.0.1:7420"


def _namespace(name: str) -> str:
    try:
        check_namespace(name, Limits())
    except InvalidRequest as error:
        raise ValueError(error.message) from None
    return name


def _listen_address(address: str) -> str:
    path = parsing.unix_path(address)
    if path is not None:
        if (size := len(os.fsencode(path))) > parsing.UNIX_PATH_BYTES_MAX:
            raise ValueError(
                f"the socket's path has {size} bytes and at most {parsing.UNIX_PATH_BYTES_MAX} are possible: "
                "choose a shorter one"
            )
    elif not parsing.is_loopback(parsing.parse_tcp_address(address)[0]):
        raise ValueError(
            f"{address} can be reached from other machines, and this release has no TLS: "
            "listen on 127.0.0.1, [::1], localhost or unix:///path"
        )
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

    app: str = ""
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
        return data_dir.expanduser().absolute()

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
        problems = list(_contradictions(self))
        if isinstance(info.context, list):
            info.context.extend(problems)
        elif problems:
            raise ValueError("; ".join(f"{'.'.join(problem.path)}: {problem.text}" for problem in problems))
        self._warnings.extend(_warnings(self))
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


def _contradictions(settings: Settings) -> Iterator[Problem]:
    """What is wrong only together with something else."""
    limits, urls = settings.request_limits(), settings.tier_urls()
    if limits.page_size_default > limits.page_size_max:
        yield Problem(
            ("limits", "page_size_default"),
            f"{limits.page_size_default} is above page_size_max, {limits.page_size_max}",
            (("limits", "page_size_max"),),
        )
    if limits.page_bytes_max > limits.message_bytes_max:
        yield Problem(
            ("limits", "page_bytes_max"),
            f"{limits.page_bytes_max} is above message_bytes_max, {limits.message_bytes_max}",
            (("limits", "message_bytes_max"),),
        )
    if settings.http_listen in (settings.listen or [DEFAULT_TCP]) and not settings.http_listen.endswith(":0"):
        yield Problem(
            ("http_listen",), f"{settings.http_listen} is taken by listen: choose another port", (("listen",),)
        )
    for name, namespace in settings.namespaces.items():
        yield from _policy_contradictions(name, namespace, limits, urls)
        yield from schemas.problems(name, namespace)
    yield from sinks.problems(settings)


def _policy_contradictions(
    name: str, namespace: NamespaceSettings, limits: Limits, urls: TierUrls
) -> Iterator[Problem]:
    policy, path = namespace.policy(name), ("namespaces", name)
    kind = (*path, "kind")
    authority = namespace.authority.value
    if "authority" in namespace.model_fields_set and getattr(urls, authority) == "none://":
        text = f"the authority is {authority}, and tiers.{authority} is none://: give that a URL, or leave this out"
        yield Problem((*path, "authority"), text, (("tiers", authority),))
    if policy.sliding and policy.ttl_ms is None:
        yield Problem((*path, "sliding"), "sliding needs a ttl: set one", ((*path, "ttl"), kind))
    if policy.on_outage is OnOutage.BUFFER and (policy.authority is Authority.HOT or urls.warm == "none://"):
        text = (
            "buffer keeps writes for a warm tier that is the authority: set authority to warm and tiers.warm to a URL"
        )
        yield Problem((*path, "on_outage"), text, ((*path, "authority"), ("tiers", "warm"), kind))
    if policy.ttl_ms is not None and policy.ttl_ms > limits.ttl_ms_max:
        text = f"{policy.ttl_ms / 1000:g} s is above limits.ttl_max, {limits.ttl_ms_max / 1000:g} s"
        yield Problem((*path, "ttl"), text, (("limits", "ttl_max"), kind))
    if policy.value_bytes_max >= limits.message_bytes_max:
        text = f"{policy.value_bytes_max} does not fit into limits.message_bytes_max, {limits.message_bytes_max}"
        yield Problem((*path, "value_bytes_max"), text, (("limits", "message_bytes_max"),))

    if policy.archive_after_ms is not None and (policy.authority is Authority.HOT or not keeps_values(urls)):
        text = (
            "archive_after moves values from a warm tier that is the authority, and survives a stop, to a cold one: "
            "set authority to warm, tiers.warm and tiers.cold to URLs, or leave it out"
        )
        yield Problem(
            (*path, "archive_after"), text, ((*path, "authority"), ("tiers", "warm"), ("tiers", "cold"), kind)
        )


def keeps_values(urls: TierUrls) -> bool:
    """Whether values can be in cold: what knows of them must outlive the process, or nobody would ever delete them."""
    return urls.cold != "none://" and urls.warm not in ("none://", "memory://")


def _warnings(settings: Settings) -> Iterator[str]:
    urls = settings.tier_urls()
    if urls.hot == urls.warm == "none://":
        yield "tiers.hot and tiers.warm are none://: nothing is kept, and every answer is PASSTHROUGH"
    elif urls.warm == "none://":
        yield "tiers.warm is none://: the hot tier keeps every namespace, and acknowledged writes are VOLATILE"
    elif urls.hot == "none://":
        yield "tiers.hot is none://: the warm tier keeps every namespace, also those with authority hot"
    for name, namespace in settings.namespaces.items():
        if "reconcile" in namespace.model_fields_set and namespace.on_outage is not OnOutage.BUFFER:
            yield f"namespaces.{name}.reconcile has no effect: only writes kept by on_outage buffer are reconciled"
        if namespace.near.enabled and not urls.hot.startswith("redis"):
            yield f"namespaces.{name}.near.enabled has no effect: only a hot tier on Redis tells daemons what others changed"
        yield from _cold_warnings(name, namespace, urls)
        in_redis = urls.hot.startswith("redis") and (
            namespace.policy(name).authority is Authority.HOT or urls.warm == "none://"
        )
        if namespace.checkpoint.every and in_redis:
            yield f"namespaces.{name}.checkpoint.every has no effect: an authority on Redis makes no automatic checkpoints"
        yield from schemas.warnings(name, namespace, in_redis=in_redis)
    yield from sinks.warnings(settings)


def _cold_warnings(name: str, namespace: NamespaceSettings, urls: TierUrls) -> Iterator[str]:
    policy = namespace.policy(name)
    keeps = policy.authority is Authority.WARM and keeps_values(urls)
    if "large_value_bytes" in namespace.model_fields_set and policy.large_value_bytes is not None and not keeps:
        yield f"namespaces.{name}.large_value_bytes has no effect: the tiers keep no values in cold"
    idle_ms, ttl_ms = policy.archive_after_ms, policy.ttl_ms
    if idle_ms is not None and ttl_ms is not None and ttl_ms - idle_ms < LEFT_MS_MIN:
        yield f"namespaces.{name}.archive_after has no effect: entries end with their ttl before that is worth the way"


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
