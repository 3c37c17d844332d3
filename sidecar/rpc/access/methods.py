"""Every method that a daemon serves: the group that rules name it by, what its effect is bounded by, and what is audited.

It holds no pattern and no default: a method that is not here is served to nobody where callers are told apart.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import NamedTuple

from sidecar.core.audit import AuditKind


class Group(StrEnum):
    """What a rule may say instead of methods."""

    READ = "read"
    WRITE = "write"
    WATCH = "watch"
    CHECKPOINT = "checkpoint"
    OUTBOX = "outbox"
    ADMIN = "admin"
    HEALTH = "health"
    REFLECTION = "reflection"


class Scope(Enum):
    """What a call's effect is bounded by."""

    NAMESPACE = "namespace"
    """The namespace that its first request names. An empty one stands for all, and takes a rule for all."""
    DAEMON = "daemon"
    """Nothing: it tells of, or works on, every namespace, and takes a rule for all."""
    NOTHING = "nothing"
    """It has no part in any namespace."""


class Method(NamedTuple):
    """One method. `group` None: only its own name names it. `audited`: every call is told, whatever becomes of it."""

    group: Group | None
    scope: Scope = Scope.NAMESPACE
    audited: AuditKind | None = None


_STATE, _OUTBOX, _ADMIN = (f"statesidecar.v1.{name}Service" for name in ("State", "Outbox", "Admin"))
_HEALTH, _REFLECTION = "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"


def _named(service: str, names: str, method: Method) -> dict[str, Method]:
    return {f"{service}/{name}": method for name in names.split()}


METHODS: dict[str, Method] = {
    **_named(_STATE, "Get BatchGet List", Method(Group.READ)),
    **_named(_STATE, "Set CAS Delete Touch Update DeletePrefix Transact", Method(Group.WRITE)),
    **_named(_STATE, "Watch", Method(Group.WATCH)),
    **_named(_STATE, "Checkpoint GetCheckpoint ListCheckpoints DeleteCheckpoint", Method(Group.CHECKPOINT)),
    **_named(_STATE, "Restore", Method(Group.CHECKPOINT, audited=AuditKind.RESTORE)),
    # Its calls are checked one by one: whoever may make one may open it.
    **_named(_STATE, "Connect", Method(None, Scope.NOTHING)),
    **_named(_OUTBOX, "Consume ListDeadLetters Redrive", Method(Group.OUTBOX)),
    # Names of namespaces, and how much they hold, are in it.
    **_named(_ADMIN, "GetStatus", Method(Group.ADMIN, Scope.DAEMON)),
    **_named(_ADMIN, "CollectGarbage", Method(Group.ADMIN, Scope.DAEMON, AuditKind.ADMIN)),
    **_named(
        _ADMIN, "ListDeadWrites RedriveDeadWrites DiscardDeadWrites", Method(Group.ADMIN, audited=AuditKind.ADMIN)
    ),
    **_named(_ADMIN, "Migrate", Method(Group.ADMIN, audited=AuditKind.MIGRATION)),
    **_named(_ADMIN, "Reseal", Method(Group.ADMIN, audited=AuditKind.ROTATION)),
    **_named(_HEALTH, "Check List Watch", Method(Group.HEALTH, Scope.NOTHING)),
    **_named(_REFLECTION, "ServerReflectionInfo", Method(Group.REFLECTION, Scope.NOTHING)),
}
"""By full name, like `statesidecar.v1.StateService/Get`. On the wire a slash comes before it, and nothing else is one."""
CONNECT = f"{_STATE}/Connect"
CARRIED = frozenset(
    name
    for name, method in METHODS.items()
    if name.startswith(_STATE) and method.group in {Group.READ, Group.WRITE, Group.CHECKPOINT}
)
"""What calls of that stream stand for."""


def of_rule(name: str) -> frozenset[str]:
    """The methods that a rule names by a group or by a full name, with the stream that carries them.

    Raises ValueError for anything else.
    """
    if name in METHODS:
        return _with_stream({name})
    if name in set(Group):
        return _with_stream({full for full, method in METHODS.items() if method.group == name})
    raise ValueError(f"{name!r} is no method and no group: write {', '.join(Group)}, or a method's full name")


def _with_stream(methods: set[str]) -> frozenset[str]:
    return frozenset(methods if CARRIED.isdisjoint(methods) else {*methods, CONNECT})
