"""Checkpoints: made, read, listed, deleted, restored; stored by what changed, and pruned by policy."""

from sidecar.engine.checkpoints.checkpoints import Checkpoints
from sidecar.engine.checkpoints.replies import CheckpointPage, Restored, Snapshot

__all__ = ["CheckpointPage", "Checkpoints", "Restored", "Snapshot"]
