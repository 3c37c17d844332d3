"""The second way by which a cache hears of commits: the change rows. For writers that died, or whose cache was away.

A repairer tells the cache only that a version exists: older copies, placeholders and cached misses go, the next reader
loads the new state under a lease. It therefore never needs to read what it tells, and can't bring anything back.

One daemon at a time does it for all that share a cache: whoever claims the turn, which lasts seconds and is renewed. The
cache keeps the turn with the cursor up to which all was told. A cache that loses it lost more, and gets a new generation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sidecar.core.cache import CacheUnavailable
from sidecar.core.entry import Tombstone
from sidecar.core.errors import StoreUnavailable
from sidecar.core.failpoints import reach
from sidecar.core.ledger import LEDGER
from sidecar.core.ports import Ports
from sidecar.core.store import ChangeKind, ChangePage, ChangeRow
from sidecar.tiers.placement import Placement

CHANGES_PER_ROUND = 1_000

T = TypeVar("T")


class Repairer:
    """Follows the change rows of a placement's authority into its cache, in turn with those of other daemons."""

    def __init__(self, placement: Placement, ports: Ports) -> None:
        self._placement = placement
        self._cache = placement.cache
        self._token = ports.token
        self._owner = ports.token()

    async def round(self) -> bool:
        """Find out the cache's generation; in our turn, tell it the next changes. Whether there may be more.

        Raises what the authority raises, and StoreUnavailable while the cache is away. A change that the cache did not
        hear is not passed over: it is told again.
        """
        cursor = await self._turn()
        if cursor is None:
            return False
        page = await self._placement.changes(after=cursor, limit=CHANGES_PER_ROUND)
        if page.gap:
            # Changes that nobody can tell any more: every copy may be stale, so none is believed.
            await self._new_generation()
            return True
        reach("repair.tell.before")
        await self._tell(page)
        reach("repair.tell.after")
        renewed = await self._heard(
            "renew_repair",
            lambda: self._cache.backend.renew_repair(
                self._owner, generation=self._generation, cursor=page.cursor, now=self._placement.authority.now()
            ),
        )
        return renewed and len(page.changes) == CHANGES_PER_ROUND

    async def _turn(self, *, young_above: int | None = None) -> int | None:
        """The cursor of our turn in the cache's generation as it is now; None: it is another daemon's turn.

        A generation is used only once the cache keeps a cursor for it, and that is begun at the newest change: so the
        changes after the cursor are all that what is cached may lack. A cursor that isn't there was perhaps forgotten;
        then a new generation is begun. `young_above`: one that we raised to, so those above it have not been used.
        """
        identity = await self._heard("identity", self._cache.backend.identity)
        generation = await self._placement.cache_generation(identity)
        begin = None
        if young_above is not None and generation > young_above:
            begin = (await self._placement.changes(after=None, limit=1)).cursor
        turn = await self._heard(
            "claim_repair",
            lambda: self._cache.backend.claim_repair(
                self._owner, generation=generation, begin=begin, now=self._placement.authority.now()
            ),
        )
        if turn is not None and turn.cursor is None:
            return await self._turn(young_above=await self._new_generation()) if young_above is None else None
        if generation != self._cache.generation:
            self._cache.generation = generation
            if self._placement.near is not None:
                self._placement.near.forget_all()
        return None if turn is None else turn.cursor

    @property
    def _generation(self) -> int:
        assert self._cache.generation is not None, "a turn is of a generation"
        return self._cache.generation

    async def _new_generation(self) -> int:
        """Another name for the cache makes another generation, and its own name, in the next turn, one more."""
        self._cache.generation = None
        reach("repair.generation.before")
        return await self._placement.cache_generation(f"forgotten {self._token()}")

    async def _tell(self, page: ChangePage) -> None:
        """Tell every namespace's changes, also when some of the cache's servers hear nothing; then raise StoreUnavailable."""
        by_namespace: dict[str, list[ChangeRow]] = {}
        for change in page.changes:
            if change.namespace == LEDGER:
                continue  # never cached
            by_namespace.setdefault(change.namespace, []).append(change)
        failure: StoreUnavailable | None = None
        for namespace, changes in by_namespace.items():
            try:
                await self._tell_namespace(namespace, changes)
            except StoreUnavailable as exc:
                failure = exc
            if self._placement.near is not None:
                self._placement.near.changed(namespace, [change.key for change in changes])
        if failure is not None:
            raise failure

    async def _tell_namespace(self, namespace: str, changes: Sequence[ChangeRow]) -> None:
        cache, now = self._cache.backend, self._placement.authority.now()
        told = [
            Tombstone(namespace=namespace, key=change.key, version=change.version, delete_time=now)
            for change in changes
        ]
        await self._heard("apply", lambda: cache.apply(namespace, told, generation=self._generation))
        if touched := [change.key for change in changes if change.kind is ChangeKind.TOUCH]:
            await self._heard("invalidate", lambda: cache.invalidate(namespace, touched))

    async def _heard(self, name: str, told: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._cache.guard.call(name, told)
        except CacheUnavailable as exc:
            raise StoreUnavailable(f"the cache did not hear: {exc}") from exc
