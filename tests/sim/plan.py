"""What a seed switches on. Swarm testing (Groce et al., 2012): runs that leave things out find what a mix of all hides."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from sidecar.core.policy import Kind, NearPolicy, OnOutage, Policy, PolicyTable

NEAR = NearPolicy(enabled=True)
POLICIES = PolicyTable(
    {
        "plain": Policy(near=NEAR),
        "strict": Policy(kind=Kind.PROCESS, on_outage=OnOutage.REJECT),
        "fixed": Policy(ttl_ms=6_000),
        "sliding": Policy(kind=Kind.SESSION, ttl_ms=8_000, sliding=True, near=NEAR),
    }
)
ENDLESS, ENDING = ("plain", "strict"), ("fixed", "sliding")

OPERATIONS = (
    ("get", 30),
    ("get_strong", 10),
    ("batch_get", 8),
    ("set", 10),
    ("cas", 14),
    ("delete", 6),
    ("increment", 8),
    ("append", 8),
    ("patch", 5),
    ("transact", 6),
    ("touch", 6),
    ("list", 4),
    ("delete_prefix", 2),
)
PHASES = 4
"""Chaos, then calm, so many times: each calm shows what the chaos before it left."""
NEMESES = ("crash", "pause", "cut_authority", "cut_cache", "evict", "flush", "rollback", "drain")


@dataclass(frozen=True, slots=True)
class Rates:
    """How likely each thing happens to one call to a backend."""

    before: float = 0.0
    """The call fails, and had no effect."""
    after: float = 0.0
    """The effect happens, its reply is lost."""
    late: float = 0.0
    """The call fails, and its effect comes later."""
    slow: float = 0.0
    """The way there or back takes up to `slow_ms`."""
    slow_ms: int = 0


CALM = Rates()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One seed's world."""

    sidecars: int
    clients: int
    operations: int
    """Of each client, in each phase."""
    authority: Rates
    cache: Rates
    nemeses: tuple[str, ...]
    nemesis_pause_ms: int
    weights: tuple[tuple[str, int], ...]
    namespaces: tuple[str, ...]
    keys: int
    favourite: float
    """Part of all choices of a key that fall on the first of those that could be chosen."""
    think_ms: int
    request_ids: float
    starts_down: bool
    changes_max: int
    repair_interval_ms: int
    sweep_interval_ms: int
    cache_bytes: int

    @property
    def near_max_age_ms(self) -> int:
        """So old that announcements and heartbeats alone keep what is near true; but whoever dies can't announce."""
        return 8_000 if "crash" in self.nemeses else 3_600_000


def _rates(random: Random) -> Rates:
    def rate(most: float) -> float:
        return random.uniform(0.005, most) if random.random() < 0.5 else 0.0

    return Rates(
        before=rate(0.08), after=rate(0.06), late=rate(0.12), slow=rate(0.3), slow_ms=random.choice((40, 1_500, 4_500))
    )


def draw(random: Random, *, operations: int) -> Plan:
    """The world of a seed."""
    clients = random.randint(3, 6)
    nemeses = tuple(name for name in NEMESES if random.random() < 0.5)
    weights = tuple(pair for pair in OPERATIONS if random.random() < 0.8) or OPERATIONS
    return Plan(
        sidecars=random.randint(2, 4),
        clients=clients,
        operations=-(-operations // (PHASES * clients)),
        authority=_rates(random),
        cache=_rates(random),
        nemeses=nemeses,
        nemesis_pause_ms=random.choice((200, 800, 2_500)),
        weights=weights,
        namespaces=(random.choice(ENDLESS), random.choice(ENDING)),
        keys=random.randint(1, 3),
        favourite=random.choice((0.0, 0.5, 0.9)),
        think_ms=random.choice((0, 30, 300)),
        request_ids=random.choice((0.5, 0.9, 1.0)),
        starts_down=random.random() < 0.25,
        # A log of changes that overflows makes repairers see gaps.
        changes_max=30 if random.random() < 0.3 else 100_000,
        repair_interval_ms=random.choice((300, 1_000)),
        # About five entries, or about sixteen: a small cache evicts all the time.
        cache_bytes=random.choice((4_000, 12_000)),
        sweep_interval_ms=random.choice((1_000, 5_000, 60_000)),
    )
