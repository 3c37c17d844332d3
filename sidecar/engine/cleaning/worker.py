"""A job as this daemon does it: a step at a time, while it is this daemon's turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress

from sidecar.core.cleaning import Job, Step
from sidecar.core.errors import SidecarError, VersionConflict
from sidecar.core.failpoints import reach
from sidecar.core.modes import Tier
from sidecar.core.ports import Ports
from sidecar.engine.cleaning.owners import LEASE_MS, Turn, look
from sidecar.engine.cleaning.progress import Progress, State
from sidecar.engine.cleaning.tally import Tally
from sidecar.tiers.ledger import Ledger

STEP_LIMIT = 100
"""Things that a step looks at."""
REST_S = 30.0
"""After a failure, and after a pass that could do nothing of what there was to do."""
WAIT_S = LEASE_MS / 1000 + 1
"""How long a collection waits for another daemon's turn: a dead one's is over by then."""
LOOK_AGAIN_S = 0.5


class Worker:
    """One job of one placement. `interval_ms`: from the end of a pass to the next."""

    def __init__(
        self,
        job: Job,
        ledger: Ledger,
        *,
        tier: Tier,
        ports: Ports,
        tally: Tally,
        interval_ms: int = 0,
        duty: float = 0.1,
    ) -> None:
        self.tier = tier
        self.duty = duty
        self._job = job
        self._ledger = ledger
        self._ports = ports
        self._tally = tally
        self._interval_ms = interval_ms
        self._turn: Turn | None = None
        self._taken = False
        """A step is under way, or a collection."""
        self._fruitful = False
        """Whether the pass has done something."""
        self._failure: SidecarError | None = None
        self._rests_until_s = 0.0

    @property
    def name(self) -> str:
        """The job's."""
        return self._job.name

    async def round(self) -> bool:
        """The next step, if it is our turn, or can be. Whether more is left in this pass.

        Raises what the job raises, and again what it raised, without trying, until it has rested.
        """
        if self._taken:
            return False
        if self._ports.clock.monotonic() < self._rests_until_s:
            if self._failure is not None:
                raise self._failure
            return False
        self._taken, self._failure = True, None
        turn, self._turn = self._turn, None
        try:
            turn = turn or await self._begin()
            if turn is None:
                return False
            step = await self._step(turn)
            if step is not None and step.cursor:
                self._turn = turn
            elif step is not None and not self._fruitful:
                self._rest()
        except SidecarError as exc:
            self._failure = exc
            self._rest()
            if turn is not None:
                await _release(turn)  # another daemon may have what we lack
            raise
        else:
            return self._turn is not None
        finally:
            self._taken = False

    def _rest(self) -> None:
        self._rests_until_s = self._ports.clock.monotonic() + REST_S

    async def release(self) -> None:
        """Let another daemon go on at once; what can't be told now ends by itself."""
        turn, self._turn = self._turn, None
        if turn is not None:
            await _release(turn)

    async def collect(self, *, dry_run: bool) -> AsyncGenerator[Progress, None]:
        """A whole pass from the beginning."""
        counts: Counter[str] = Counter()
        passing = self._dry_pass(counts) if dry_run else self._pass(counts)
        try:
            async for state in passing:
                yield self._progress(state, counts)
        except SidecarError as exc:
            yield self._progress(State.FAILED, counts, exc)
        finally:
            await passing.aclose()

    def _progress(self, state: State, counts: Mapping[str, int], error: SidecarError | None = None) -> Progress:
        return Progress(tier=self.tier, job=self.name, state=state, counts=dict(counts), error=error)

    # ---- a turn

    async def _begin(self) -> Turn | None:
        """Our turn; None: it is another's, a pass ended lately, or there is nothing to do, which needs no owner."""
        claim = await look(self._ledger, self.name)
        if claim.held or claim.rests(self._interval_ms):
            return None
        if not claim.owner.cursor and _idle(await self._try("", limit=STEP_LIMIT)):
            self._worked(more=False)
            return None
        self._fruitful = False
        turn = await claim.take(self._ports.token())
        reach("clean.claim.after")
        return turn

    async def _step(self, turn: Turn) -> Step | None:
        """What it did; None: the turn was lost, and nothing was done by us that another did not want."""
        try:
            if turn.worn:
                await turn.renew(turn.cursor)
            step = await self._job.step(turn.cursor, limit=STEP_LIMIT, fence=(turn.fence,), dry_run=False)
            self._tally.add(step.counts)
            self._fruitful = self._fruitful or any(step.counts.values())
            reach("clean.step.after")
            if not step.cursor:
                await turn.finish()
            elif any(step.counts.values()):
                await turn.renew(step.cursor)
            else:
                turn.cursor = step.cursor  # to look at the same again costs less than a commit
        except VersionConflict as exc:
            if turn.lost_by(exc):
                return None
            raise
        self._worked(more=bool(step.cursor))
        return step

    def _worked(self, *, more: bool) -> None:
        self._tally.worked(self.tier, self.name, now=self._ledger.now(), more=more)

    async def _try(self, cursor: str, *, limit: int) -> Step:
        return await self._job.step(cursor, limit=limit, fence=(), dry_run=True)

    # ---- a collection

    async def _dry_pass(self, counts: Counter[str]) -> AsyncGenerator[State, None]:
        cursor, more = "", True
        while more:
            step = await self._try(cursor, limit=STEP_LIMIT)
            counts.update(step.counts)
            cursor, more = step.cursor, bool(step.cursor)
            yield State.RUNNING if more else State.DONE

    async def _pass(self, counts: Counter[str]) -> AsyncGenerator[State, None]:
        """As the owner: our own background work makes room, another daemon's is waited for, within a bound."""
        turn: Turn | None = None
        mine = False
        end_s = self._ports.clock.monotonic() + WAIT_S
        try:
            while turn is None:
                mine = mine or not self._taken
                if mine:
                    self._taken = True
                    turn, self._turn = self._turn or await self._claim(), None
                if turn is None and self._ports.clock.monotonic() >= end_s:
                    yield State.BUSY
                    return
                if turn is None:
                    yield State.WAITING
                    await self._ports.sleep(LOOK_AGAIN_S)
            turn.cursor = ""
            while (step := await self._step(turn)) is not None:
                counts.update(step.counts)
                if not step.cursor:
                    turn = None
                    yield State.DONE
                    return
                yield State.RUNNING
            turn = None
            yield State.BUSY
        finally:
            if turn is not None:
                await _release(turn)
            if mine:
                self._taken = False

    async def _claim(self) -> Turn | None:
        claim = await look(self._ledger, self.name)
        return None if claim.held else await claim.take(self._ports.token())


def _idle(step: Step) -> bool:
    return not step.cursor and not any(step.counts.values())


async def _release(turn: Turn) -> None:
    # Where the authority is away, or the job is another's already, the lease ends by itself.
    with suppress(SidecarError):
        await turn.release()
