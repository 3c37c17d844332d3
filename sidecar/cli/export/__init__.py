"""`export`: a namespace's entries, or its checkpoints, as files that a data lake reads.

`command` is what a shell sees; `job` is the order of things, which keeps every row exactly once through crashes.
"""

from __future__ import annotations

from sidecar.cli.export.command import export

__all__ = ["export"]
