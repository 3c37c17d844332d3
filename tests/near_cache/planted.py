"""Wrong near caches, each with the scenario that has to notice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from statesidecar import Consistency, GetResult
from statesidecar._near import Near, Reading
from tests.near_cache import scenarios


class NeverSuspects(Near):
    """Takes silence for nothing new."""

    def hit(self, *asked: Any) -> GetResult | None:
        self._heard_s = max(self._heard_s, self._clock())
        return super().hit(*asked)


class ForgetsNothingAfterSilence(Near):
    """Goes on with what it had when the daemon is heard again."""

    def heard(self) -> None:
        self._heard_s = self._clock()


class KeepsWhatChangedMeanwhile(Near):
    """Whatever was told during the read."""

    def keep(self, reading: Reading, result: GetResult) -> None:
        now = reading._replace(changes=self._changes[hash(reading.key) % len(self._changes)])
        super().keep(now, result)


class KeepsAcrossBreaks(Near):
    """Whatever was missed during the read."""

    def keep(self, reading: Reading, result: GetResult) -> None:
        super().keep(reading._replace(era=self._era), result)


class NeverTooOld(Near):
    """A copy is good until its key changes."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._max_age_s = math.inf


class CountsFromTheAnswer(Near):
    """A copy's age begins when it has come."""

    def keep(self, reading: Reading, result: GetResult) -> None:
        super().keep(reading._replace(begin_s=self._clock()), result)


class DeafToChanges(Near):
    """Forgets nothing that it is told of."""

    def changed(self, key: str, version: int) -> None:
        del key, version


class RaisesNoFloor(Near):
    """Forgets, and reads the same from the daemon's cache."""

    def changed(self, key: str, version: int) -> None:
        del version
        super().changed(key, 0)


class BelowTheFloor(Near):
    """Returns what is older than what the client has seen."""

    def hit(self, key: str, consistency: Consistency, min_version: int | None, max_schema_version: int) -> Any:
        del min_version
        return super().hit(key, consistency, 0, max_schema_version)


class AnySchema(Near):
    """Returns what was read for a newer reader."""

    def hit(self, key: str, consistency: Consistency, min_version: int | None, max_schema_version: int) -> Any:
        held = self._held.get(key)
        schema = max_schema_version if held is None else held.schema
        return super().hit(key, consistency, min_version, schema)


class KeepsWhatMayBeStale(Near):
    """Whatever the daemon said of its answer."""

    def keep(self, reading: Reading, result: GetResult) -> None:
        super().keep(reading, replace(result, stale_possible=False))


class ReturnsWhatHasEnded(Near):
    """Looks at no clock but its own."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named | {"wall": lambda: 0.0})


class GrowsForEver(Near):
    """Keeps all."""

    def _evict(self) -> None:
        return


class SurvivesAFork(Near):
    """A child has its parent's copies."""

    _made = False

    def reset(self) -> None:
        if not self._made:
            super().reset()
        self._made = True


PLANTED: tuple[tuple[type[Near], Callable[[scenarios.Make], None]], ...] = (
    (NeverSuspects, scenarios.silence_makes_all_suspect),
    (ForgetsNothingAfterSilence, scenarios.silence_makes_all_suspect),
    (KeepsWhatChangedMeanwhile, scenarios.what_changed_while_it_was_read_is_not_kept),
    (KeepsAcrossBreaks, scenarios.what_was_read_across_a_break_is_not_kept),
    (NeverTooOld, scenarios.no_copy_is_older_than_its_bound),
    (CountsFromTheAnswer, scenarios.a_hit_says_how_old_it_may_be),
    (DeafToChanges, scenarios.a_change_is_forgotten_and_raises_the_floor),
    (RaisesNoFloor, scenarios.a_change_is_forgotten_and_raises_the_floor),
    (BelowTheFloor, scenarios.a_copy_below_the_floor_is_not_returned),
    (AnySchema, scenarios.another_schema_is_not_answered),
    (KeepsWhatMayBeStale, scenarios.what_may_be_stale_is_not_kept),
    (ReturnsWhatHasEnded, scenarios.an_entry_that_has_ended_is_not_returned),
    (GrowsForEver, scenarios.its_bytes_are_bounded),
    (SurvivesAFork, scenarios.a_fork_has_nothing),
)
