"""All that this daemon cleans, and the collection that an operator asks for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from sidecar.engine.cleaning.progress import Part, Progress
from sidecar.engine.cleaning.tally import Tally


class Cleaner:
    """The parts in the order in which one leaves work for the next, and what they have cleaned."""

    def __init__(self, parts: Sequence[Part], tally: Tally) -> None:
        self.parts = tuple(parts)
        self.tally = tally

    async def collect(self, *, dry_run: bool) -> AsyncGenerator[Progress, None]:
        """A whole pass of each part, one after the other; one that fails does not stop the others.

        Whoever gives it up closes it: what is under way is finished first, and others may go on where it was.
        """
        for part in self.parts:
            async with aclosing(part.collect(dry_run=dry_run)) as passing:
                async for progress in passing:
                    yield progress
