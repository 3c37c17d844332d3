"""What a backend can tell about itself, where it can: for operators, never for a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from sidecar.core.histograms import Histogram
from sidecar.core.modes import Tier


class Held(NamedTuple):
    """How much of a namespace is held. `bytes`: of values and keys, without what the backend adds."""

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much a tier holds of a namespace by the latest count, and how that grows (per second, over the last hour, or
    since the count before; None: not known yet). A tier that does not tell namespaces apart is told as the namespace "".
    `estimated`: a sample was counted.
    """

    tier: Tier
    namespace: str
    entries: int
    bytes: int
    time: int
    """When it was counted, in milliseconds since 1970."""
    entries_per_s: float | None = None
    bytes_per_s: float | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Connections to a backend, or threads that work on one. `size_max` 0: not bounded here."""

    in_use: int
    idle: int
    size_max: int
    waiting: int = 0


@runtime_checkable
class Pooled(Protocol):
    """A backend with a pool."""

    @property
    def pool(self) -> Pool:
        """As it is now. Any thread may ask."""
        ...


@runtime_checkable
class Holding(Protocol):
    """Copies in this process. Any thread may ask."""

    @property
    def bytes_held(self) -> int:
        """What they take, with what it costs to keep them."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


@runtime_checkable
class Grouping(Protocol):
    """A store that commits several writes together."""

    @property
    def batches(self) -> Histogram:
        """How many writes its commits had."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """A store's own count by namespace. `away`: of the entries in `held`, those whose values are in the cold tier, and the
    bytes that are there. `estimated`: of a sample.
    """

    held: Mapping[str, Held]
    away: Mapping[str, Held] = field(default_factory=dict)
    estimated: bool = False


@runtime_checkable
class Counting(Protocol):
    """A store that can count what it holds, at a cost that does not hurt whoever else it serves."""

    async def census(self) -> Census:
        """Live entries and their bytes by namespace, none of our own bookkeeping. Raises StoreUnavailable."""
        ...


class Advice(NamedTuple):
    """What an operator should change about a backend, in a sentence that says so. `harmful`: state is lost as it is, or soon."""

    message: str
    harmful: bool = False


@runtime_checkable
class Advising(Protocol):
    """A backend that can be asked how it is set up."""

    async def advice(self) -> list[Advice]:
        """What should be otherwise. Raises StoreUnavailable."""
        ...
