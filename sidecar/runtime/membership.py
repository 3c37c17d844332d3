"""The daemon among those that share its namespaces' schemas: it says what it knows from before it serves until it has stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from sidecar.core.errors import SidecarError
from sidecar.engine.schemas.fleet import LOOK_S, Fleet
from sidecar.runtime.tasks import Rounds

log = logging.getLogger(__name__)

JOIN_S = 1.0
"""What a start spends on it. Until the others were seen, values are stored in the oldest schema that we know."""
LEAVE_S = 1.0
"""What a stop spends on it; the row ends by itself."""


class Membership:
    """`join`, then `start` once, then `stop`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._rounds = Rounds("the look at other daemons' schemas", fleet.look, interval_s=LOOK_S, delay_s=LOOK_S)

    async def join(self) -> None:
        """Be seen, and see the others, if the authority answers soon."""
        try:
            async with asyncio.timeout(JOIN_S):
                await self._fleet.look()
        except SidecarError as exc:
            log.warning("other daemons' schemas are not known yet: %s", exc.message, extra={"reason": exc.reason})
        except TimeoutError:
            log.warning("other daemons' schemas are not known yet: the authority has not answered")

    def start(self) -> None:
        """Go on looking."""
        if not self._fleet.alone:
            self._rounds.start()

    async def stop(self) -> None:
        """Be seen no more. Idempotent."""
        await self._rounds.stop()
        with contextlib.suppress(TimeoutError, SidecarError):
            async with asyncio.timeout(LEAVE_S):
                await self._fleet.leave()
