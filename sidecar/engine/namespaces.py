"""Which policy and which placement a namespace has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sidecar.core.errors import LimitExceeded, Passthrough, Unsupported
from sidecar.core.limits import Limits, check_namespace
from sidecar.core.policy import Authority, OnOutage, Policy, PolicyTable
from sidecar.core.schema import Schemas
from sidecar.tiers.placement import Placement

REMEMBERED_MAX = 4096
ROOM_AGAIN_S = 5.0
"""When a writer may ask again whether there is room in the outbox: it is counted now and then."""


def _never(_namespace: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace that was named in a request; `placement` None: no authority is configured; `schemas`: it has none."""

    name: str
    policy: Policy
    placement: Placement | None
    schemas: Schemas | None = None
    crowded: Callable[[str], bool] = _never
    """Whether too many messages of a namespace wait."""

    @property
    def passes_through(self) -> bool:
        """Whether an outage is answered with an empty OK instead of an error."""
        return self.policy.on_outage is not OnOutage.REJECT

    @property
    def buffers(self) -> bool:
        """Whether an outage's writes are kept for the authority."""
        return self.policy.on_outage is OnOutage.BUFFER

    @property
    def quiet(self) -> bool:
        """Whether its authority can store what nobody is told of."""
        return self.placement is not None and self.placement.authority.capabilities.quiet

    @property
    def checkpoint_every(self) -> int:
        """After how many changes of a key its checkpoint is made in the same commit; 0: never."""
        return self.policy.checkpoint.every if self.quiet else 0

    def check_outbox(self) -> None:
        """Raises Unsupported where messages can't be committed with a write, LimitExceeded where too many wait."""
        if self.placement is not None:
            self.outbox_authority()
        if self.crowded(self.name):
            raise LimitExceeded(
                "too many messages of this namespace wait to be delivered: nothing was written; see that they are "
                "consumed, or that their sink takes them",
                reason="OUTBOX_FULL",
                retry_after_s=ROOM_AGAIN_S,
                metadata={"namespace": self.name},
            )

    def outbox_authority(self) -> Placement:
        """The placement, which keeps messages; PASSTHROUGH if there is none, CAPABILITY_MISSING if it can't."""
        placement = self.authority()
        if not self.quiet:
            raise Unsupported(
                "this namespace's authority can't commit messages with a write: choose a warm tier that is the authority",
                metadata={"operation": "outbox"},
            )
        return placement

    def authority(self) -> Placement:
        """The placement; PASSTHROUGH if there is none."""
        if self.placement is None:
            raise Passthrough("no tier is configured that could be this namespace's authority")
        return self.placement


class Namespaces:
    """Resolves names. Where the policy's authority isn't configured, the other tier is the authority."""

    def __init__(
        self,
        policies: PolicyTable,
        limits: Limits,
        *,
        hot: Placement | None,
        warm: Placement | None,
        schemas: Mapping[str, Schemas] = MappingProxyType({}),
    ) -> None:
        self.hot = hot
        self.warm = warm
        self._policies = policies
        self._limits = limits
        self._schemas = schemas
        self._known: dict[str, Namespace] = {}
        self.crowded: Callable[[str], bool] = _never
        """Whether too many messages of a namespace wait; whoever counts them sets it."""

    def of(self, name: str) -> Namespace:
        """A namespace by name; NAMESPACE_INVALID if it can't be one."""
        known = self._known.get(name)
        if known is None:
            check_namespace(name, self._limits)
            policy = self._policies.of(name)
            first, second = (self.hot, self.warm) if policy.authority is Authority.HOT else (self.warm, self.hot)
            known = Namespace(name, policy, first or second, self._schemas.get(name), self._is_crowded)
            if len(self._known) < REMEMBERED_MAX:
                self._known[name] = known
        return known

    def _is_crowded(self, name: str) -> bool:
        return self.crowded(name)

    @property
    def named(self) -> tuple[str, ...]:
        """Those that requests named since the start, as far as they are remembered."""
        return tuple(self._known)

    def placements(self) -> tuple[Placement, ...]:
        """Those that are configured."""
        return tuple(placement for placement in (self.hot, self.warm) if placement is not None)
