"""Wrong relays, each with the test of `tests/unit` that has to catch it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from sidecar.core.operations import Check, Forget, Operation, Put
from sidecar.core.outbox import Pending
from sidecar.core.sinks import Delivery
from sidecar.core.store import Outcome
from sidecar.engine.outbox import settling
from sidecar.engine.outbox.group import Group
from sidecar.engine.outbox.intake import Intake
from sidecar.engine.outbox.marker import Marker
from sidecar.engine.outbox.outlets import Outlet
from sidecar.engine.outbox.parking import At, Parking
from sidecar.engine.outbox.queues import Batch, Queue, Queues
from sidecar.engine.outbox.relay import Relay
from sidecar.engine.outbox.walk import Run
from tests.unit import test_outbox_group as group
from tests.unit import test_outbox_relay as relay

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class WrongRelay:
    """`plant` makes the relays of this process wrong; `caught_by` has to fail then."""

    name: str
    plant: Callable[[Patch], None]
    caught_by: Callable[..., Any]


def polls_by_cursor(patch: Patch) -> None:
    """`id > last`: what is committed late is behind it."""
    decoded, last = Intake._decoded, [""]

    def after_the_last(intake: Intake, run: Run) -> tuple[list[Pending], str]:
        messages, reason = decoded(intake, run)
        fresh = [message for message in messages if message.id > last[0]]
        last[0] = max([last[0], *(message.id for message in fresh)])
        return fresh, reason

    patch.setattr(Intake, "_decoded", after_the_last)


def _without(patch: Patch, unfenced: Callable[[Sequence[Operation]], bool]) -> None:
    flush = Marker.flush

    async def bare(marker: Marker) -> None:
        whole: Any = marker._ledger

        class Bare:
            async def commit(self, operations: Sequence[Operation]) -> Outcome:
                kept = [one for one in operations if not (unfenced(operations) and isinstance(one, Check))]
                outcome: Outcome = await whole.commit(kept)
                return outcome

        for mark in marker.waiting:
            mark.hold.lost = False
        patch.setattr(marker, "_ledger", Bare())
        try:
            await flush(marker)
        finally:
            patch.setattr(marker, "_ledger", whole)

    patch.setattr(Marker, "flush", bare)


def keeps_without_a_fence(patch: Patch) -> None:
    """An owner that was stopped parks and buries what another has delivered."""
    _without(patch, lambda operations: any(isinstance(one, Put) for one in operations))


def forgets_without_a_fence(patch: Patch) -> None:
    """An owner that was stopped forgets what it does not own any more."""
    _without(patch, lambda operations: not any(isinstance(one, Put) for one in operations))


def forgets_before_it_publishes(patch: Patch) -> None:
    """What dies with the daemon in between is lost."""
    deliver = Relay.deliver

    async def early(one: Relay, batch: Batch) -> None:
        await one._ledger.commit([Forget(key=delivery.message.row) for delivery in batch.deliveries])
        await deliver(one, batch)

    patch.setattr(Relay, "deliver", early)


def reads_keys_in_flight(patch: Patch) -> None:
    """The next messages of a key overtake those that are not stored yet."""

    def add(queues: Queues, queue: Queue, messages: Iterable[Pending]) -> None:
        queue.waiting.extend(messages)
        queues._tracked.setdefault(queue.at, queue)
        queues._ready.setdefault(queue.outlet, deque()).append(queue)

    patch.setattr(Queues, "get", lambda _queues, _at: None)
    patch.setattr(Queues, "add", add)
    patch.setattr(Queues, "_remove", lambda queues, queue: queues._tracked.pop(queue.at, None))


def parks_the_lane(patch: Patch) -> None:
    """A poison message delays keys that have nothing to do with it."""

    def contains(parking: Parking, at: At) -> bool:
        return any(parked[1][0] == at[1][0] for parked in parking._parked)

    patch.setattr(Parking, "__contains__", contains)


def loses_attempts(patch: Patch) -> None:
    """Whoever takes over begins to count anew, and tries at once."""

    async def parked(intake: Intake) -> bool:
        for hold in intake._group.holds.values():
            hold.loaded = True
        return False

    patch.setattr(Intake, "parked", parked)


def buries_and_keeps(patch: Patch) -> None:
    """The row of a dead letter stays: it is tried for ever."""
    marks = settling._forgotten

    def kept(queue: Queue, delivery: Delivery) -> Any:
        return marks(queue, delivery) if delivery.message.key != "poison" else ()

    patch.setattr(settling, "_forgotten", kept)


def believes_its_lease(patch: Patch) -> None:
    """After a SIGSTOP it publishes what it has in its hands."""
    patch.setattr(Group, "trusted", property(lambda one: one.joined))


def takes_from_the_living(patch: Patch) -> None:
    """It takes lanes of members whose leases last."""
    free = Group._free
    patch.setattr(Group, "_free", lambda one, seen, _live, first: free(one, seen, {one.token}, first))
    patch.setattr("sidecar.engine.outbox.group.share_of", lambda _token, _live: (16, 0))


def counts_an_outage(patch: Patch) -> None:
    """A sink that is away is asked all the time."""
    patch.setattr(Outlet, "ready", property(lambda one: not one._batches))


def gives_back_at_once(patch: Patch) -> None:
    """A lane goes to another while what was published of it is not stored."""
    choose = Group._choose_surplus

    def hasty(one: Group, share: int) -> None:
        choose(one, share)
        for hold in one.holds.values():
            hold.busy = 0 if hold.leaving else hold.busy

    patch.setattr(Group, "_choose_surplus", hasty)


MUTANTS = (
    WrongRelay("polls by cursor", polls_by_cursor, relay.test_what_was_committed_late_with_an_early_version_goes_out),
    WrongRelay(
        "keeps without a fence",
        keeps_without_a_fence,
        group.test_one_that_was_paused_between_publishing_and_storing_changes_nothing,
    ),
    WrongRelay(
        "forgets without a fence",
        forgets_without_a_fence,
        group.test_what_was_put_back_is_not_forgotten_by_one_that_was_paused,
    ),
    WrongRelay(
        "forgets before it publishes",
        forgets_before_it_publishes,
        relay.test_a_message_is_kept_until_the_sink_has_confirmed_it,
    ),
    WrongRelay("reads keys in flight", reads_keys_in_flight, relay.test_a_key_in_flight_is_not_published_again),
    WrongRelay("parks the lane", parks_the_lane, relay.test_what_is_refused_holds_up_its_key_and_no_other),
    WrongRelay("loses attempts", loses_attempts, group.test_who_takes_over_knows_the_attempts_and_waits_as_long),
    WrongRelay(
        "buries and keeps",
        buries_and_keeps,
        relay.test_after_so_many_attempts_it_is_a_dead_letter_and_the_key_goes_on,
    ),
    WrongRelay(
        "believes its lease",
        believes_its_lease,
        group.test_one_that_was_paused_between_reading_and_publishing_publishes_nothing,
    ),
    WrongRelay(
        "takes from the living",
        takes_from_the_living,
        group.test_what_a_dead_member_had_is_taken_after_its_lease_and_not_before,
    ),
    WrongRelay(
        "counts an outage",
        counts_an_outage,
        relay.test_a_sink_that_is_away_rests_and_no_message_is_told_as_tried,
    ),
    WrongRelay(
        "gives back at once",
        gives_back_at_once,
        group.test_a_lane_is_given_back_when_what_is_under_way_of_it_is_stored,
    ),
)
