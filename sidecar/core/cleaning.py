"""Background jobs that clean: what one of them is, and what a step of it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sidecar.core.operations import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step did (in a dry run: would have done), by kind. `cursor` is where the next begins; empty: the pass is done."""

    cursor: str
    counts: Mapping[str, int] = field(default_factory=dict)


class Job(Protocol):
    """Work through everything of a kind in small steps, again and again; a pass goes from one end to the other."""

    @property
    def name(self) -> str:
        """Its name in metrics, in the ledger, and to people."""
        ...

    async def step(self, cursor: str, *, limit: int, fence: tuple[Check, ...], dry_run: bool) -> Step:
        """Look at most at `limit` things after `cursor`. Every write carries `fence`, so that who lost the job changes nothing."""
        ...
