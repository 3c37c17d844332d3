"""The engine: what the daemon does, without an event loop, a clock, or a client library of its own."""

from __future__ import annotations

from sidecar.core.limits import Limits
from sidecar.core.policy import PolicyTable
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.reads import Reads
from sidecar.engine.writes import Writes
from sidecar.tiers.placement import Placement


class Engine:
    """Reads and writes over the placements of this deployment."""

    def __init__(self, *, policies: PolicyTable, limits: Limits, hot: Placement | None, warm: Placement | None) -> None:
        self.limits = limits
        self.namespaces = Namespaces(policies, limits, hot=hot, warm=warm)
        self.reads = Reads(self.namespaces, limits)
        self.writes = Writes(self.namespaces, limits)
