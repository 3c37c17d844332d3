"""What calls about checkpoints answer."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.core.checkpoints import Record
from sidecar.core.entry import Entry
from sidecar.core.modes import ServingMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A checkpoint with its entries, in key order, as they were."""

    record: Record
    entries: tuple[Entry, ...]
    mode: ServingMode = ServingMode.NORMAL


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPage:
    """A page of checkpoints, newest first; `next_page_token` empty: the last."""

    records: tuple[Record, ...]
    next_page_token: str
    mode: ServingMode = ServingMode.NORMAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore wrote: the entries as they are now, under one version."""

    record: Record
    entries: tuple[Entry, ...]
    version: int
    mode: ServingMode = ServingMode.NORMAL
