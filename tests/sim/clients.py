"""What callers do, and what each answer lets them conclude: reads here, writes in `writers`."""

from __future__ import annotations

from random import Random

from sidecar.core.entry import Entry
from sidecar.core.errors import SidecarError, Unavailable
from sidecar.core.modes import ServingMode, Tier
from sidecar.engine.replies import Listed
from sidecar.tiers.reading import Lookup
from tests.sim.model import Moment
from tests.sim.plan import ENDLESS, POLICIES, Plan
from tests.sim.promises import Ledger, Promise
from tests.sim.scheduler import Scheduler, sleep
from tests.sim.sidecars import Lost, Refused, Sidecar
from tests.sim.truth import Truth

Key = tuple[str, str]


class Fleet:
    """The sidecars as callers see them; a restart puts another incarnation in a place."""

    def __init__(self) -> None:
        self.places: list[Sidecar] = []


class Keys:
    """The keys of a world by what they hold. `sum` and `log` only ever grow, so that their ends can be audited."""

    def __init__(self, plan: Plan) -> None:
        pairs = [(namespace, str(number)) for namespace in plan.namespaces for number in range(plan.keys)]
        self.registers = [(namespace, f"r{number}") for namespace, number in pairs]
        self.counters = [(namespace, f"n{number}") for namespace, number in pairs if number == "0"]
        self.lists = [(namespace, f"l{number}") for namespace, number in pairs if number == "0"]
        self.documents = [(namespace, f"d{number}") for namespace, number in pairs if number == "0"]
        self.endless = next(namespace for namespace in plan.namespaces if namespace in ENDLESS)
        self.sum = (self.endless, "sum")
        self.log = (self.endless, "log")
        self.mortal = self.registers + self.counters + self.lists + self.documents
        self.all = [*self.mortal, self.sum, self.log]


class Reader:
    """The reading half of a client: answers are checked against the truth, and raise the floors of later calls."""

    def __init__(
        self,
        name: str,
        *,
        scheduler: Scheduler,
        random: Random,
        fleet: Fleet,
        keys: Keys,
        plan: Plan,
        truth: Truth,
        ledger: Ledger,
    ) -> None:
        self.name = name
        self.floors: dict[Key, int] = {}
        self.tokens: dict[Key, list[int]] = {}
        """Versions seen of a key, oldest first: what a careless caller may still guard with."""
        self.count = 0
        self._scheduler = scheduler
        self._random = random
        self._fleet = fleet
        self._keys = keys
        self._plan = plan
        self._truth = truth
        self._require = ledger.require

    def _sidecar(self) -> Sidecar:
        return self._random.choice(self._fleet.places)

    def _patience(self) -> int:
        return self._random.choice((300, 3_000, 8_000))

    def _deadline(self, patience_ms: int) -> float:
        return self._scheduler.clock.monotonic() + patience_ms / 1000

    def _pick(self, among: list[Key]) -> Key:
        """A key; the plan may have a favourite, on which everybody meets."""
        return among[0] if self._random.random() < self._plan.favourite else self._random.choice(among)

    def _learn(self, at: Key, version: int) -> None:
        if version > self.floors.get(at, 0):
            self.floors[at] = version
        seen = self.tokens.setdefault(at, [])
        if version and version not in seen:
            seen.append(version)

    async def get(self) -> None:
        await self._get([self._pick(self._keys.all)], strong=False)

    async def get_strong(self) -> None:
        await self._get([self._pick(self._keys.all)], strong=True)

    async def batch_get(self) -> None:
        namespace = self._pick(self._keys.all)[0]
        within = [at for at in self._keys.all if at[0] == namespace]
        # Keys may come twice, with different floors.
        await self._get(self._random.choices(within, k=self._random.randint(1, 5)), strong=self._random.random() < 0.2)

    async def _get(self, at: list[Key], *, strong: bool) -> None:
        sidecar = self._sidecar()
        floors = [self.floors.get(one, 0) if self._random.random() < 0.8 else 0 for one in at]
        await self.read(sidecar, at, floors, strong=strong)

    async def read(self, sidecar: Sidecar, at: list[Key], floors: list[int], *, strong: bool) -> list[Lookup] | None:
        """Get keys through a sidecar and check the answer; None: there was none."""
        begin, patience = self._truth.now(), self._patience()
        namespace = at[0][0]
        try:
            read = await sidecar.call(
                lambda engine: engine.reads.get(
                    namespace,
                    [key for _, key in at],
                    floors=floors,
                    strong=strong,
                    deadline=self._deadline(patience),
                ),
                patience_ms=patience,
                read=True,
            )
        except (Lost, Refused):
            return None
        except SidecarError as exc:
            self._unavailable(exc, sidecar, begin)
            return None
        for one, floor, lookup in zip(at, floors, read.lookups, strict=True):
            self._looked_up(one, floor, lookup, begin, sidecar, strong=strong)
        return list(read.lookups)

    def _unavailable(self, error: SidecarError, sidecar: Sidecar, begin: Moment) -> None:
        self._require(
            Promise.HONEST_MODE,
            isinstance(error, Unavailable) and sidecar.was_away(begin.tick),
            f"{type(error).__name__} ({error}) without a failure since {begin}",
        )

    def _looked_up(self, at: Key, floor: int, lookup: Lookup, begin: Moment, sidecar: Sidecar, *, strong: bool) -> None:
        namespace, key = at
        self._scheduler.note(self.name, sidecar.name, "strong" if strong else f"cached from {floor}", at, "->", lookup)
        entry, mode = lookup.entry, lookup.mode
        if strong:
            honest = mode is ServingMode.NORMAL and lookup.tier is Tier.WARM and not lookup.stale_possible
        elif mode is ServingMode.PASSTHROUGH:
            passes = POLICIES.of(namespace).on_outage != "reject"
            down = sidecar.was_away(begin.tick)
            honest = entry is None and lookup.tier is Tier.NONE and lookup.stale_possible and passes and down
        else:
            normal = mode is ServingMode.NORMAL and lookup.tier in (Tier.NEAR, Tier.HOT, Tier.WARM)
            degraded = mode is ServingMode.DEGRADED and lookup.tier in (Tier.NEAR, Tier.HOT)
            honest = (normal and not lookup.stale_possible) or (degraded and lookup.stale_possible)
        self._require(Promise.HONEST_MODE, honest, f"{lookup} (strong: {strong}) since {begin}", f"{namespace}/{key}")
        if mode is ServingMode.PASSTHROUGH:
            return
        if entry is None:
            if strong:
                self._truth.saw_nothing(namespace, key, begin)
            else:
                self._truth.saw_cached_nothing(namespace, key, floor)
            return
        if strong:
            self._truth.saw_entry(namespace, entry, begin)
        else:
            self._truth.saw_cached_entry(namespace, entry, begin, floor)
        self._learn(at, entry.version)

    async def list(self) -> None:
        """Two pages at most, each complete in the interval of its own call."""
        namespace = self._pick(self._keys.all)[0]
        prefix, size = self._random.choice(("", "r")), self._random.choice((0, 1, 2))
        keys_only = self._random.random() < 0.2
        token, after = "", ""
        for _ in range(2):
            begin = self._truth.now()
            listed = await self._page(namespace, prefix, size, token, keys_only=keys_only)
            if listed is None:
                return
            more = bool(listed.next_page_token)
            self._listed(namespace, prefix, after, listed.entries, begin, more=more, bare=keys_only)
            if not more:
                return
            token, after = listed.next_page_token, listed.entries[-1].key

    async def _page(self, namespace: str, prefix: str, size: int, token: str, *, keys_only: bool) -> Listed | None:
        begin, patience, sidecar = self._truth.now(), self._patience(), self._sidecar()
        try:
            return await sidecar.call(
                lambda engine: engine.reads.list(
                    namespace,
                    prefix,
                    page_size=size,
                    page_token=token,
                    keys_only=keys_only,
                    deadline=self._deadline(patience),
                ),
                patience_ms=patience,
                read=True,
            )
        except (Lost, Refused):
            return None
        except SidecarError as exc:
            self._unavailable(exc, sidecar, begin)
            return None

    def _listed(
        self,
        namespace: str,
        prefix: str,
        after: str,
        entries: tuple[Entry, ...],
        begin: Moment,
        *,
        more: bool,
        bare: bool,
    ) -> None:
        keys = [entry.key for entry in entries]
        ordered = keys == sorted(set(keys)) and all(key > after and key.startswith(prefix) for key in keys)
        self._require(Promise.NO_LOST_UPDATE, ordered, f"listed {keys} after {after!r} of {prefix!r}")
        for entry in entries:
            if not bare:
                self._truth.saw_entry(namespace, entry, begin)
        for at, key in self._keys.all:
            covered = key > after and (not more or key <= keys[-1])
            if at == namespace and key.startswith(prefix) and covered and key not in keys:
                self._truth.saw_nothing(namespace, key, begin)

    async def pause(self, milliseconds: int) -> None:
        """Think."""
        await sleep(int(self._random.random() * milliseconds))
