"""The engine: what the daemon does, without an event loop, a clock, or a client library of its own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sidecar.core.limits import Limits
from sidecar.core.policy import PolicyTable
from sidecar.core.schema import Schemas
from sidecar.engine.buffering import Buffer
from sidecar.engine.checkpoints import Checkpoints
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.reads import Reads
from sidecar.engine.replay import Replay
from sidecar.engine.resealing import Resealings
from sidecar.engine.schemas.fleet import Fleet
from sidecar.engine.schemas.migration import Migrations
from sidecar.engine.schemas.views import Views
from sidecar.engine.schemas.writing import SchemaWriting
from sidecar.engine.watching import Watching
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
        schemas: Mapping[str, Schemas] = MappingProxyType({}),
    ) -> None:
        """`schemas`: of the namespaces that have some."""
        self.limits = limits
        self.namespaces = Namespaces(policies, limits, hot=hot, warm=warm, schemas=schemas)
        self.fleet = Fleet(schemas, self.namespaces)
        """Which schemas all daemons know."""
        self.migrations = Migrations(self.namespaces, schemas, self.fleet)
        self.resealings = Resealings(self.namespaces)
        self.buffer = None if buffer is None else Replay(buffer, self.namespaces, age_ms_max=buffered_ms_max)
        """What is kept while the authority is away; None: no namespace has its writes kept."""
        self.views = Views(self.fleet)
        """What readers see of values in schemas that they don't know."""
        self.reads = Reads(self.namespaces, limits, buffer, self.buffer, views=self.views)
        self.writes = Writes(self.namespaces, limits, buffer, self.buffer, schemas=SchemaWriting(self.fleet))
        self.checkpoints = Checkpoints(self.namespaces, limits, self.writes, self.views)
        self.watching = Watching(self.namespaces, limits, self.views)
