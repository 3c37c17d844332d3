"""`inject`: a workload's manifest with the daemon beside it.

`workloads` finds the pods in a document, `pods` says what one with a sidecar has, `documents` writes it back.
"""

from __future__ import annotations

from sidecar.cli.inject.command import inject

__all__ = ["inject"]
