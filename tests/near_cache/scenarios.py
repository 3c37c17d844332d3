"""What a near cache has to do, step by step, on clocks that the tests move. Each is shown a wrong cache as well (planted.py)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from statesidecar import Consistency, Entry, GetResult, NearCache, ServingMode, Tier
from statesidecar._floors import Floors
from statesidecar._near import OVERHEAD_BYTES, SUSPECT_S, Near

NS, KEY = "model", "a"
MAX_AGE_S = 5.0
Make = Callable[..., Near]


class Bench:
    """A near cache, its clocks, and the client's floors."""

    def __init__(self, make: Make, *, bytes_max: int = 1 << 20) -> None:
        self.now_s = 1000.0
        self.floors = Floors()
        settings = NearCache(bytes_max=bytes_max, max_age_s=MAX_AGE_S)
        self.near = make(NS, settings, self.floors, clock=lambda: self.now_s, wall=lambda: self.now_s)

    def watched(self) -> Bench:
        """The daemon's first bookmark has come."""
        self.near.heard()
        return self

    def let(self, seconds: float) -> None:
        """Time passes, with bookmarks."""
        while seconds > 0:
            self.now_s += min(seconds, 1.0)
            seconds -= 1.0
            self.near.heard()

    def fill(self, *keys: str, schema: int = 0, **given: Any) -> None:
        """Each is read twice: the second time for keeps."""
        for key in keys or (KEY,):
            self.near.reading(key, schema)
            reading = self.near.reading(key, schema)
            assert reading is not None, "the second read is kept"
            self.near.keep(reading, found(key, **given))

    def hit(
        self, key: str = KEY, *, strong: bool = False, min_version: int | None = None, schema: int = 0
    ) -> GetResult | None:
        consistency = Consistency.STRONG if strong else Consistency.CACHED
        return self.near.hit(key, consistency, min_version, schema)


def found(key: str = KEY, *, version: int = 7, mode: ServingMode = ServingMode.NORMAL, **given: Any) -> GetResult:
    """An answer of the daemon."""
    stale = given.pop("stale_possible", False)
    entry = Entry(namespace=NS, key=key, version=version, **({"value": b"v"} | given))
    return GetResult(entry=entry, mode=mode, served_by=Tier.WARM, stale_possible=stale)


def a_hit_says_how_old_it_may_be(make: Make) -> None:
    bench = Bench(make).watched()
    bench.near.reading(KEY, 0)
    reading = bench.near.reading(KEY, 0)
    assert reading is not None
    bench.now_s += 0.5  # While it is read
    bench.near.keep(reading, found())
    bench.now_s += 1.0
    result = bench.hit()
    assert result is not None
    assert result.version == 7
    assert result.served_by is Tier.NEAR
    assert result.max_age_s == 1.5


def nothing_is_kept_before_the_watch_has_begun(make: Make) -> None:
    bench = Bench(make)
    bench.near.reading(KEY, 0)
    assert bench.near.reading(KEY, 0) is None


def a_key_that_is_read_once_is_not_kept(make: Make) -> None:
    bench = Bench(make).watched()
    assert bench.near.reading(KEY, 0) is None
    assert bench.near.reading(KEY, 0) is not None


def a_change_is_forgotten_and_raises_the_floor(make: Make) -> None:
    bench = Bench(make).watched()
    bench.floors.observe(NS, KEY, 7)
    bench.fill(KEY, "b")
    bench.near.changed(KEY, 8)
    bench.near.changed("never read", 9)
    assert bench.hit() is None
    assert bench.hit("b") is not None
    assert bench.floors.get(NS, KEY) == 8
    assert bench.floors.get(NS, "never read") == 0


def a_copy_below_the_floor_is_not_returned(make: Make) -> None:
    bench = Bench(make).watched()
    bench.fill()
    assert bench.hit(min_version=7) is not None
    assert bench.hit(min_version=8) is None
    bench.floors.observe(NS, KEY, 8)  # Our own write, or a conflict's
    assert bench.hit() is None


def what_changed_while_it_was_read_is_not_kept(make: Make) -> None:
    bench = Bench(make).watched()
    bench.near.reading(KEY, 0)
    reading = bench.near.reading(KEY, 0)
    assert reading is not None
    bench.near.changed(KEY, 8)
    bench.near.keep(reading, found())
    assert bench.near.hit(KEY, Consistency.CACHED, 0, 0) is None
    assert len(bench.near) == 0


def what_was_read_across_a_break_is_not_kept(make: Make) -> None:
    bench = Bench(make).watched()
    bench.near.reading(KEY, 0)
    reading = bench.near.reading(KEY, 0)
    assert reading is not None
    bench.near.broke()
    bench.near.heard()
    bench.near.keep(reading, found())
    assert bench.hit() is None


def silence_makes_all_suspect(make: Make) -> None:
    bench = Bench(make).watched()
    bench.fill()
    bench.now_s += SUSPECT_S
    assert bench.hit() is not None, "as late as this is in time"
    bench.now_s += 0.01
    assert bench.hit() is None
    bench.near.heard()
    assert bench.hit() is None, "what changed during the silence is not known"


def the_end_of_the_stream_forgets_all(make: Make) -> None:
    bench = Bench(make).watched()
    bench.fill()
    bench.near.broke()
    assert bench.hit() is None
    bench.near.heard()
    assert bench.hit() is None
    assert len(bench.near) == 0


def no_copy_is_older_than_its_bound(make: Make) -> None:
    bench = Bench(make).watched()
    bench.fill()
    bench.let(MAX_AGE_S - 0.5)
    assert bench.hit() is not None
    bench.let(0.5)
    assert bench.hit() is None


def an_entry_that_has_ended_is_not_returned(make: Make) -> None:
    bench = Bench(make).watched()
    bench.fill(expire_time=datetime.fromtimestamp(bench.now_s + 1, UTC))
    assert bench.hit() is not None
    bench.let(1.0)
    assert bench.hit() is None


def a_strong_read_is_not_answered(make: Make) -> None:
    bench = Bench(make).watched()
    bench.fill()
    assert bench.hit(strong=True) is None


def another_schema_is_not_answered(make: Make) -> None:
    bench = Bench(make).watched()
    bench.fill(schema=2)
    assert bench.hit(schema=2) is not None
    assert bench.hit(schema=1) is None
    assert bench.hit() is None


def what_may_be_stale_is_not_kept(make: Make) -> None:
    bench = Bench(make).watched()
    bench.fill(stale_possible=True)
    bench.fill(mode=ServingMode.DEGRADED)
    assert bench.hit() is None


def its_bytes_are_bounded(make: Make) -> None:
    bench = Bench(make, bytes_max=10 * (OVERHEAD_BYTES + 1000)).watched()
    keys = [f"{number:04}" for number in range(50)]
    for key in keys:
        bench.fill(key, value=b"v" * 900)
        assert bench.near.bytes_held <= 10 * (OVERHEAD_BYTES + 1000)
        bench.hit(keys[0])  # It is returned again and again, and stays
    kept = [key for key in keys if bench.hit(key)]
    assert len(kept) == len(bench.near) >= 9
    assert keys[0] in kept
    bench.fill("large", value=b"v" * 100_000)
    assert bench.hit("large") is None
    assert len(bench.near) == len(kept)
    bench.near.changed_any()
    assert bench.near.bytes_held == 0
    assert len(bench.near) == 0


def a_caller_cannot_change_a_copy(make: Make) -> None:
    bench = Bench(make).watched()
    bench.fill(labels={"who": "me"})
    first = bench.hit()
    assert first is not None
    assert first.entry is not None
    first.entry.labels["who"] = "you"  # type: ignore[index]  # what a caller may try
    second = bench.hit()
    assert second is not None
    assert second.entry is not None
    assert second.entry.labels == {"who": "me"}


def a_fork_has_nothing(make: Make) -> None:
    bench = Bench(make).watched()
    bench.near.begin()
    bench.fill()
    bench.near.reset()
    assert bench.hit() is None
    assert not bench.near.watched
    bench.near.heard()
    assert bench.hit() is None
    assert bench.near.begin()


def closed_it_keeps_nothing(make: Make) -> None:
    bench = Bench(make).watched()
    bench.fill()
    bench.near.close()
    assert bench.hit() is None
    bench.near.heard()
    bench.fill()
    assert bench.hit() is None


def after_a_failure_the_authority_is_left_alone(make: Make) -> None:
    bench = Bench(make).watched()
    bench.near.reading(KEY, 0)
    bench.near.failed()
    assert bench.near.reading(KEY, 0) is None
    bench.let(1.0)
    assert bench.near.reading(KEY, 0) is not None


SCENARIOS: tuple[Callable[[Make], None], ...] = (
    a_hit_says_how_old_it_may_be,
    nothing_is_kept_before_the_watch_has_begun,
    a_key_that_is_read_once_is_not_kept,
    a_change_is_forgotten_and_raises_the_floor,
    a_copy_below_the_floor_is_not_returned,
    what_changed_while_it_was_read_is_not_kept,
    what_was_read_across_a_break_is_not_kept,
    silence_makes_all_suspect,
    the_end_of_the_stream_forgets_all,
    no_copy_is_older_than_its_bound,
    an_entry_that_has_ended_is_not_returned,
    a_strong_read_is_not_answered,
    another_schema_is_not_answered,
    what_may_be_stale_is_not_kept,
    its_bytes_are_bounded,
    a_caller_cannot_change_a_copy,
    a_fork_has_nothing,
    closed_it_keeps_nothing,
    after_a_failure_the_authority_is_left_alone,
)
