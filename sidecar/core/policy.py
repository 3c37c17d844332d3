"""What a namespace promises: authority, expiry, behaviour in an outage. Everything that decides it lives here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

VALUE_BYTES_MAX = 4 * 1024 * 1024
"""Default bound of a value: what one gRPC message carried by default, and far above any session."""
LARGE_VALUE_BYTES = 1024 * 1024
"""Values above this are kept in the cold tier, if there is one."""


class Kind(StrEnum):
    """The four kinds of state a model server keeps, and anything else."""

    SESSION = "session"
    PROCESS = "process"
    MODEL = "model"
    SYSTEM = "system"
    DEFAULT = "default"


class Authority(StrEnum):
    """The tier whose commit is the truth."""

    WARM = "warm"
    HOT = "hot"


class OnOutage(StrEnum):
    """What Set, Update and a CACHED Get do while the authority is away."""

    PASSTHROUGH = "passthrough"
    BUFFER = "buffer"
    REJECT = "reject"


class Reconcile(StrEnum):
    """What a buffered write does when its base has moved."""

    REJECT = "reject"
    LAST_WRITE_WINS = "last_write_wins"
    MERGE = "merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """Automatic checkpoints: one every `every` updates of a key (0: none), the last `keep` kept, none older than `max_age_ms`."""

    every: int = 0
    keep: int = 20
    max_age_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NearPolicy:
    """Whether copies may be held in the daemon's process, and for how long."""

    enabled: bool = False
    max_age_ms: int = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaPolicy:
    """The schema that the namespace's values have now, and the steps that lead to it, as they are written in the settings.

    The last step leads to `version`, the one before to one less. `version` 0: the namespace has no schemas.
    """

    version: int = 0
    migrations: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A namespace's policy. Durations are in milliseconds; None: without end."""

    kind: Kind = Kind.DEFAULT
    authority: Authority = Authority.WARM
    ttl_ms: int | None = None
    sliding: bool = False
    on_outage: OnOutage = OnOutage.PASSTHROUGH
    reconcile: Reconcile = Reconcile.REJECT
    checkpoint: CheckpointPolicy = CheckpointPolicy()
    near: NearPolicy = NearPolicy()
    value_bytes_max: int = VALUE_BYTES_MAX
    large_value_bytes: int | None = LARGE_VALUE_BYTES
    """Values above this are kept in the cold tier; None: none for its size."""
    schema: SchemaPolicy = SchemaPolicy()
    archive_after_ms: int | None = None
    history: int = 0


PRESETS: dict[Kind, Policy] = {
    Kind.SESSION: Policy(kind=Kind.SESSION, ttl_ms=30 * MINUTE_MS, sliding=True),
    Kind.PROCESS: Policy(kind=Kind.PROCESS, on_outage=OnOutage.REJECT, checkpoint=CheckpointPolicy(every=5, keep=20)),
    Kind.MODEL: Policy(kind=Kind.MODEL, near=NearPolicy(enabled=True)),
    Kind.SYSTEM: Policy(kind=Kind.SYSTEM, authority=Authority.HOT, ttl_ms=HOUR_MS),
    Kind.DEFAULT: Policy(),
}


class PolicyTable:
    """The policy of every namespace: configured ones, then the preset of that name, then `default`."""

    def __init__(self, configured: dict[str, Policy] | None = None) -> None:
        presets: dict[str, Policy] = {kind.value: policy for kind, policy in PRESETS.items()}
        self._policies = presets | (configured or {})
        self._default = self._policies[Kind.DEFAULT.value]

    def of(self, namespace: str) -> Policy:
        """The policy of a namespace; every name has one."""
        return self._policies.get(namespace, self._default)
