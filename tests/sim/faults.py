"""The network between a sidecar and its backends: requests and replies that are slow, lost, or late.

The backends behind it are the production memory adapters, whose methods never suspend: each call is one atomic effect,
with suspension points on the way there and on the way back. An error says what the adapters' contract demands: nothing
written (StoreUnavailable) where the request was lost, OutcomeUnknown where a write's reply was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Protocol, TypeVar

from sidecar.core.cache import CacheCapabilities, CacheUnavailable, Fill, Hit, Miss, Turn
from sidecar.core.entry import Copy
from sidecar.core.errors import OutcomeUnknown, SidecarError, StoreUnavailable
from sidecar.core.operations import Write, WriteId
from sidecar.core.store import (
    ChangePage,
    Outcome,
    Page,
    PrefixProgress,
    StoreCapabilities,
    SweepOrder,
    Swept,
    Touch,
    Touched,
)
from sidecar.stores.memory import MemoryCache, MemoryStore
from tests.sim.plan import CALM, Rates
from tests.sim.scheduler import TURN, Process, Scheduler, sleep

T = TypeVar("T")
LATE_MS = 6_000
"""The most that a lost request may still be under way."""


class Witness(Protocol):
    """Sees every effect of the authority in the instant it happens."""

    def committed(self, write: Write, outcome: Outcome) -> None: ...

    def touched(self, namespace: str, touches: Sequence[Touch], touched: Sequence[Touched]) -> None: ...

    def prefix_deleted(self, request: WriteId | None, before: PrefixProgress | None, after: PrefixProgress) -> None: ...

    def swept(self, swept: Swept) -> None: ...


def effect(operation: Coroutine[Any, Any, T]) -> T:
    """What a backend's method answers; it doesn't suspend, so nothing happens in between."""
    try:
        operation.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # StopIteration is not generic
    raise AssertionError("a memory backend suspended: its methods would no longer be atomic")


class Network:
    """What all links share: the seed's rates, and the requests that are lost but still under way."""

    def __init__(self, scheduler: Scheduler, random: Random) -> None:
        self.scheduler = scheduler
        self.random = random
        self.process = Process("network")
        self.calm = False
        self.faults: Counter[str] = Counter()

    def late(self, what: tuple[object, ...], land: Callable[[], object]) -> None:
        """An effect that happens some time after everybody gave it up."""

        async def arrive() -> None:
            await sleep(self.random.randint(0, LATE_MS))
            with suppress(SidecarError):  # a refusal that nobody hears
                self.scheduler.note("late:", *what, "->", land())

        self.scheduler.spawn(self.process, arrive())


class Link:
    """A sidecar's way to one backend. `cut`: nothing gets through, in no direction."""

    def __init__(self, network: Network, rates: Rates, name: str) -> None:
        self.cut = False
        self.failed_tick = -1
        self._network = network
        self._random = network.random.random
        self._rates = rates
        self._name = name

    async def call(
        self,
        what: tuple[object, ...],
        land: Callable[[], T],
        lost: Callable[[], Exception],
        no: Callable[[], Exception],
    ) -> T:
        """`land` with faults: `no()` is raised when it did not happen, `lost()` when nobody can know."""
        note = self._network.scheduler.note
        rates = CALM if self._network.calm else self._rates
        await self._travel(rates)
        draw = self._random()
        if self._is_cut() or draw < rates.before:
            raise self._fail("before", no(), what)
        draw -= rates.before
        if draw < rates.late and not self._network.calm:
            self._network.late(what, land)
            raise self._fail("late", lost(), what)
        result = land()
        note(self._name, *what, "->", result)
        await self._travel(rates)
        if self._is_cut() or (rates.late <= draw < rates.late + rates.after):
            raise self._fail("after", lost(), what)
        return result

    async def travel(self) -> None:
        """The time that a message takes which nobody waits for."""
        await self._travel(CALM if self._network.calm else self._rates)

    def _is_cut(self) -> bool:
        return self.cut

    async def _travel(self, rates: Rates) -> None:
        if rates.slow and self._random() < rates.slow:
            await sleep(int(self._random() * rates.slow_ms))
        else:
            await TURN

    def _fail(self, kind: str, error: Exception, what: tuple[object, ...]) -> Exception:
        self._network.scheduler.note(self._name, *what, "FAILS:", "cut" if self.cut else kind, type(error).__name__)
        self.failed_tick = self._network.scheduler.tick
        self._network.faults[f"{self._name}: {'cut' if self.cut else kind}"] += 1
        return error


def _away() -> Exception:
    return StoreUnavailable("the simulated authority does not answer")


def _unknown() -> Exception:
    return OutcomeUnknown("the simulated reply was lost")


def _cache_away() -> Exception:
    return CacheUnavailable("the simulated cache does not answer")


class FaultyStore:
    """The shared authority, as one sidecar reaches it."""

    capabilities = StoreCapabilities(durable=True, shared=True)

    def __init__(self, store: MemoryStore, link: Link, witness: Witness) -> None:
        self.link = link
        self._store = store
        self._witness = witness

    def now(self) -> int:
        return self._store.now()

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:
        def land() -> list[Copy | None]:
            return effect(self._store.get(namespace, keys, deadline=deadline))

        return await self.link.call(("get", namespace, keys), land, _away, _away)

    async def commit(self, write: Write) -> Outcome:
        def land() -> Outcome:
            outcome = effect(self._store.commit(write))
            if not outcome.replayed:
                self._witness.committed(write, outcome)
            return outcome

        return await self.link.call(("commit", write.namespace, write.operations, write.request), land, _unknown, _away)

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        def land() -> list[Touched]:
            touched = effect(self._store.touch(namespace, touches, announce=announce))
            self._witness.touched(namespace, touches, touched)
            return touched

        return await self.link.call(("touch", namespace, touches), land, _unknown, _away)

    async def scan(
        self,
        namespace: str,
        prefix: str,
        *,
        after: str | None,
        limit: int,
        bytes_max: int,
        keys_only: bool,
        deadline: float | None = None,
    ) -> Page:
        def land() -> Page:
            return effect(
                self._store.scan(
                    namespace,
                    prefix,
                    after=after,
                    limit=limit,
                    bytes_max=bytes_max,
                    keys_only=keys_only,
                    deadline=deadline,
                )
            )

        return await self.link.call(("scan", namespace, prefix, after), land, _away, _away)

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        def land() -> PrefixProgress:
            after = effect(
                self._store.delete_prefix(namespace, prefix, limit=limit, request=request, progress=progress)
            )
            self._witness.prefix_deleted(request, progress, after)
            return after

        return await self.link.call(("delete_prefix", namespace, prefix, request, progress), land, _unknown, _away)

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        return await self.link.call(
            ("changes", after), lambda: effect(self._store.changes(after=after, limit=limit)), _away, _away
        )

    async def sweep(self, order: SweepOrder) -> Swept:
        def land() -> Swept:
            swept = effect(self._store.sweep(order))
            self._witness.swept(swept)
            return swept

        return await self.link.call(("sweep",), land, _unknown, _away)

    async def cache_generation(self, cache_identity: str) -> int:
        return await self.link.call(
            ("cache_generation", cache_identity),
            lambda: effect(self._store.cache_generation(cache_identity)),
            _away,
            _away,
        )


class FaultyCache:
    """The shared cache, as one sidecar reaches it."""

    capabilities = CacheCapabilities(shared=True)

    def __init__(self, cache: MemoryCache, link: Link) -> None:
        self.link = link
        self._cache = cache

    async def _call(self, operation: Callable[[], Coroutine[Any, Any, T]], *what: object) -> T:
        return await self.link.call(what, lambda: effect(operation()), _cache_away, _cache_away)

    async def identity(self) -> str:
        return await self._call(self._cache.identity, "identity")

    async def get(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[Hit | Miss]:
        return await self._call(
            lambda: self._cache.get(namespace, keys, generation=generation, now=now), "get", namespace, keys, generation
        )

    async def lease(self, namespace: str, keys: Sequence[str], *, generation: int, now: int) -> list[str | None]:
        return await self._call(
            lambda: self._cache.lease(namespace, keys, generation=generation, now=now),
            "lease",
            namespace,
            keys,
            generation,
        )

    async def fill(self, namespace: str, fills: Sequence[Fill], *, generation: int, now: int) -> int:
        return await self._call(
            lambda: self._cache.fill(namespace, fills, generation=generation, now=now),
            "fill",
            namespace,
            fills,
            generation,
        )

    async def apply(self, namespace: str, copies: Sequence[Copy], *, generation: int) -> None:
        await self._call(
            lambda: self._cache.apply(namespace, copies, generation=generation), "apply", namespace, copies, generation
        )

    async def invalidate(self, namespace: str, keys: Sequence[str]) -> None:
        await self._call(lambda: self._cache.invalidate(namespace, keys), "invalidate", namespace, keys)

    async def release(self, namespace: str, leases: Sequence[tuple[str, str]]) -> None:
        await self._call(lambda: self._cache.release(namespace, leases), "release", namespace, leases)

    async def claim_repair(self, owner: str, *, generation: int, begin: int | None, now: int) -> Turn | None:
        return await self._call(
            lambda: self._cache.claim_repair(owner, generation=generation, begin=begin, now=now), "claim", generation
        )

    async def renew_repair(self, owner: str, *, generation: int, cursor: int, now: int) -> bool:
        return await self._call(
            lambda: self._cache.renew_repair(owner, generation=generation, cursor=cursor, now=now), "renew", cursor
        )

    async def close(self) -> None:
        pass
