"""Every wrong journal with the test that has to notice it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sidecar.stores.journal.records import Buried, Removed, Settled
from tests.stores.journal import wrong_journals as wrong


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """What is wrong, the test that is to catch it, and with which of its parameters."""

    name: str
    make: Callable[[pytest.MonkeyPatch], None]
    caught_by: str
    parameters: dict[str, Any] = field(default_factory=dict)
    subject: str = "files"


POWER = "lose_power"
ENDS = {"ending": "under way"}
FAILED = {"place": "before_sync", "error": 5}

WRONG = [
    Wrong(name="acknowledges before the sync", make=wrong.acknowledges_before_the_sync, caught_by=POWER),
    Wrong(name="writes behind what is not durable", make=wrong.writes_behind_what_is_not_durable, caught_by=POWER),
    Wrong(name="names are not durable", make=wrong.names_are_not_durable, caught_by=POWER),
    Wrong(name="compacts without a sync", make=wrong.compacts_without_a_sync, caught_by=POWER),
    Wrong(name="takes any later frame for a proof", make=wrong.takes_any_later_frame_for_a_proof, caught_by=POWER),
    Wrong(
        name="compacts the dead to pending",
        make=wrong.compacts_the_dead_to_pending,
        caught_by="test_live_writes_in_segments_that_are_mostly_dead_are_moved_and_keep_all_they_were",
    ),
    Wrong(
        name="compacts to new sequences",
        make=wrong.compacts_to_new_sequences,
        caught_by="test_live_writes_in_segments_that_are_mostly_dead_are_moved_and_keep_all_they_were",
    ),
    Wrong(
        name="never compacts",
        make=wrong.never_compacts,
        caught_by="test_live_writes_in_segments_that_are_mostly_dead_are_moved_and_keep_all_they_were",
    ),
    Wrong(
        name="deletes what is dead wherever it is",
        make=wrong.deletes_what_is_dead_wherever_it_is,
        caught_by="test_segments_without_live_writes_are_deleted_oldest_first",
    ),
    Wrong(
        name="counts sequences from what is live",
        make=wrong.counts_sequences_from_what_is_live,
        caught_by="test_sequences_are_never_used_again_also_when_nothing_is_left",
        parameters={"restart": "reopen"},
    ),
    Wrong(
        name="headers forget the sequences",
        make=wrong.headers_forget_the_sequences,
        caught_by="test_sequences_are_never_used_again_also_when_nothing_is_left",
        parameters={"restart": "reopen"},
    ),
    Wrong(
        name="cuts off whatever does not verify",
        make=wrong.cuts_off_whatever_does_not_verify,
        caught_by="test_a_spoilt_byte_before_the_last_record_is_told_with_its_file_and_left",
    ),
    Wrong(
        name="tells every torn end as spoilt",
        make=wrong.tells_every_torn_end_as_spoilt,
        caught_by="test_a_file_cut_anywhere_keeps_the_records_that_are_whole",
    ),
    Wrong(
        name="counts what is behind the end of a segment",
        make=wrong.counts_what_is_behind_the_end_of_a_segment,
        caught_by="test_an_end_that_cannot_be_cut_back_is_unknown_and_never_counts_once_there_is_more",
    ),
    Wrong(
        name="verifies nothing",
        make=wrong.verifies_nothing,
        caught_by="test_a_last_record_whose_bytes_are_not_all_there_is_cut_off",
    ),
    Wrong(
        name="verifies frames anywhere",
        make=wrong.verifies_frames_anywhere,
        caught_by="test_a_frame_counts_only_where_it_was_written",
    ),
    Wrong(
        name="reads any version",
        make=wrong.reads_any_version,
        caught_by="test_a_newer_format_is_told_as_such_and_left",
    ),
    Wrong(
        name="does not cut back",
        make=wrong.does_not_cut_back,
        caught_by="test_a_write_that_failed_is_not_found_again_and_later_ones_are_kept",
        parameters=FAILED,
    ),
    Wrong(
        name="says that it cut back",
        make=wrong.says_that_it_cut_back,
        caught_by="test_an_end_that_cannot_be_cut_back_is_unknown_and_never_counts_once_there_is_more",
    ),
    Wrong(
        name="forgets what it owes",
        make=wrong.forgets_what_it_owes,
        caught_by="test_what_was_settled_while_the_disk_failed_is_written_with_what_comes_next",
    ),
    Wrong(
        name="drops what was settled",
        make=wrong.drops_records_of(Settled),
        caught_by="test_what_was_settled_is_gone_also_after_a_restart",
    ),
    Wrong(
        name="drops removals",
        make=wrong.drops_records_of(Removed),
        caught_by="test_a_removed_dead_write_is_forgotten_through_a_crash",
    ),
    Wrong(
        name="drops burials",
        make=wrong.drops_records_of(Buried),
        caught_by="test_a_dead_write_is_kept_with_its_reason_through_a_crash",
    ),
    Wrong(
        name="syncs each alone",
        make=wrong.syncs_each_alone,
        caught_by="test_writers_that_wait_together_share_one_sync",
    ),
    Wrong(
        name="the dead take nothing",
        make=wrong.the_dead_take_nothing,
        caught_by="test_what_is_held_counts_pending_and_dead_and_is_the_same_after_a_restart",
    ),
    Wrong(
        name="writes under way take nothing",
        make=wrong.writes_under_way_take_nothing,
        caught_by="test_writes_that_come_together_share_the_limit",
    ),
    Wrong(
        name="refuses and keeps",
        make=wrong.refuses_and_keeps,
        caught_by="test_a_write_that_failed_is_not_found_again_and_later_ones_are_kept",
        parameters=FAILED,
    ),
    Wrong(
        name="orders the dead by their time",
        make=wrong.orders_the_dead_by_their_time,
        caught_by="test_the_dead_come_in_the_order_of_their_burials_whatever_the_clock_says",
    ),
    Wrong(
        name="ends a write twice", make=wrong.ends_a_write_twice, caught_by="test_a_write_ends_once", parameters=ENDS
    ),
    Wrong(
        name="takes unknown for absent",
        make=wrong.takes_unknown_for_absent,
        caught_by="test_a_write_is_found_again_exactly_as_it_was",
        parameters={"operation": "put", "base": None},
    ),
    Wrong(
        name="forgets who has gone",
        make=wrong.forgets_who_has_gone,
        caught_by="test_an_append_whose_caller_has_gone_is_kept_and_can_be_settled",
    ),
    Wrong(
        name="locks nothing",
        make=wrong.locks_nothing,
        caught_by="test_a_second_journal_on_the_directory_is_refused_until_the_first_is_closed",
    ),
    Wrong(
        name="files are everybody's",
        make=wrong.files_are_everybodys,
        caught_by="test_directory_and_files_are_their_owners_alone",
    ),
    Wrong(
        name="writes to a file without a name",
        make=wrong.writes_to_a_file_without_a_name,
        caught_by="test_a_file_that_was_removed_under_it_keeps_nothing_and_says_so",
    ),
    Wrong(
        name="nothing waits too long", make=wrong.nothing_waits_too_long, caught_by="test_appends_that_wait_are_bounded"
    ),
    Wrong(
        name="begins again where it failed",
        make=wrong.begins_again_where_it_failed,
        caught_by="test_a_segment_that_cannot_be_begun_refuses_and_nothing_goes_behind_its_header",
    ),
    Wrong(
        name="memory is never durable",
        make=wrong.memory_is_never_durable,
        caught_by="test_acknowledged_writes_are_there_after_a_crash_in_their_order",
        subject="memory",
    ),
]
