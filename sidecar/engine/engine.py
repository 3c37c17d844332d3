"""The engine: what the daemon does, without an event loop, a clock, or a client library of its own."""

from __future__ import annotations

from sidecar.core.limits import Limits
from sidecar.core.policy import PolicyTable
from sidecar.engine.buffering import Buffer
from sidecar.engine.checkpoints import Checkpoints
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.reads import Reads
from sidecar.engine.replay import Replay
from sidecar.engine.writes import Writes
from sidecar.tiers.placement import Placement

BUFFERED_MS_MAX = 24 * 3_600_000


class Engine:
    """Reads and writes over the placements of this deployment."""

    def __init__(
        self,
        *,
        policies: PolicyTable,
        limits: Limits,
        hot: Placement | None,
        warm: Placement | None,
        buffer: Buffer | None = None,
        buffered_ms_max: int = BUFFERED_MS_MAX,
    ) -> None:
        self.limits = limits
        self.namespaces = Namespaces(policies, limits, hot=hot, warm=warm)
        self.buffer = None if buffer is None else Replay(buffer, self.namespaces, age_ms_max=buffered_ms_max)
        """What is kept while the authority is away; None: no namespace has its writes kept."""
        self.reads = Reads(self.namespaces, limits, buffer, self.buffer)
        self.writes = Writes(self.namespaces, limits, buffer, self.buffer)
        self.checkpoints = Checkpoints(self.namespaces, limits, self.writes)
