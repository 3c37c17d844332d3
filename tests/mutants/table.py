"""Every mutant, and the contract test that has to catch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.core.decide import decide
from sidecar.stores.files import FileBlobs
from sidecar.stores.memory import MemoryCache, MemoryStore
from tests.contract.adapters import CHANGES_MAX, FILE_BLOBS, MEMORY_CACHE, MEMORY_STORE
from tests.contract.harnesses import BlobsHarness, CacheHarness, StoreHarness
from tests.mutants import (
    decisions,
    outbox_decisions,
    quiet_decisions,
    wrong_blobs,
    wrong_caches,
    wrong_counts,
    wrong_outboxes,
    wrong_stores,
    wrong_writes,
)
from tests.support.clock import ManualClock


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A wrong adapter; `decide` is what its store decides by."""

    name: str
    subjects: tuple[str, ...]
    harness: StoreHarness | CacheHarness | BlobsHarness
    caught_by: str
    decide: decisions.Decide = decide


def _store(kind: Callable[..., MemoryStore], caught_by: str, **options: Any) -> Mutant:
    name = getattr(kind, "__name__", "")

    def make(_: Path, clock: ManualClock) -> MemoryStore:
        return kind(clock=clock, changes_max=CHANGES_MAX)

    harness = StoreHarness(name=name, durable=False, make=make, forget_changes=MEMORY_STORE.forget_changes)
    subjects = ("store", "feed_store", "quiet_store", "counting_store", "counting_quiet_store")
    return Mutant(name=name, subjects=subjects, harness=harness, caught_by=caught_by, **options)


def _decision(wrong: decisions.Decide, caught_by: str) -> Mutant:
    mutant = _store(MemoryStore, caught_by, decide=wrong)
    return Mutant(
        name=wrong.__name__,
        subjects=mutant.subjects,
        harness=mutant.harness,
        caught_by=caught_by,
        decide=wrong,
    )


def _reopened(name: str, forget: Callable[[MemoryStore], None], caught_by: str) -> Mutant:
    """A store that is durable but for what it forgets when it is opened again."""
    kept: dict[Path, dict[str, Any]] = {}

    def make(directory: Path, clock: ManualClock) -> MemoryStore:
        store = MemoryStore(clock=clock, changes_max=CHANGES_MAX)
        if directory in kept:
            vars(store).update(kept[directory])
            forget(store)
        kept[directory] = vars(store)
        return store

    harness = StoreHarness(name=name, durable=True, make=make, forget_changes=MEMORY_STORE.forget_changes)
    return Mutant(name=name, subjects=("durable_store",), harness=harness, caught_by=caught_by)


def _cache(kind: Callable[..., Any], caught_by: str) -> Mutant:
    name = getattr(kind, "__name__", "")
    times: dict[str, Any] = {"lease_ms": MEMORY_CACHE.lease_ms, "negative_ms": MEMORY_CACHE.negative_ms}
    harness = CacheHarness(name=name, make=lambda bytes_max: kind(bytes_max=bytes_max, **times), **times)
    return Mutant(name=name, subjects=("cache", "bounded_cache"), harness=harness, caught_by=caught_by)


def _blobs(kind: type[FileBlobs], caught_by: str) -> Mutant:
    harness = BlobsHarness(name=kind.__name__, make=kind, spoil=FILE_BLOBS.spoil)
    return Mutant(name=kind.__name__, subjects=("blobs",), harness=harness, caught_by=caught_by)


def _sequence_restarts(store: MemoryStore) -> None:
    store._sequence = 0


def _requests_forgotten(store: MemoryStore) -> None:
    store._requests.clear()


def _nothing_forgotten(_: MemoryStore) -> None:
    """So that the durable tests pass where nothing is wrong."""


def _changes_forgotten(store: MemoryStore) -> None:
    store._changes.clear()
    store._change_count = 0


def _generation_forgotten(store: MemoryStore) -> None:
    store._cache_identity, store._generation = "", 0


def _entries_forgotten(store: MemoryStore) -> None:
    store._rows.clear()


RIGHT = [
    _store(MemoryStore, ""),
    _reopened("durable", _nothing_forgotten, ""),
    _cache(MemoryCache, ""),
    _blobs(FileBlobs, ""),
]
MUTANTS = [
    _store(wrong_counts.CountsWhatEnded, "test_what_has_ended_is_not_counted_swept_or_not"),
    _store(wrong_counts.CountsTombstones, "test_what_was_deleted_is_not_counted_nor_are_tombstones"),
    _store(wrong_counts.CountsOverwrittenTwice, "test_an_entry_that_is_overwritten_counts_once_with_what_it_has_now"),
    _store(
        wrong_counts.CountsKeysByCharacters,
        "test_entries_and_the_bytes_of_keys_and_values_are_counted_by_namespace",
    ),
    _store(wrong_counts.CountsNothingAway, "test_values_that_are_in_cold_are_counted_by_what_they_have_there"),
    _decision(quiet_decisions.relocation_unguarded, "test_only_the_state_that_was_meant_is_moved"),
    _decision(quiet_decisions.ledger_check_ignored, "test_a_write_holds_only_while_a_row_of_the_ledger_does"),
    _decision(quiet_decisions.relocation_is_a_change, "test_only_the_value_moves"),
    _decision(quiet_decisions.relocation_takes_the_callers_labels, "test_only_the_value_moves"),
    _decision(
        quiet_decisions.value_away_is_an_empty_one,
        "test_a_value_that_is_away_is_not_changed_and_its_request_id_stays_free",
    ),
    _decision(quiet_decisions.checkpoints_are_announced, "test_a_checkpoint_made_by_a_commit_is_quiet"),
    _decision(
        quiet_decisions.checkpoints_of_what_was_before, "test_writes_at_the_same_time_make_every_nth_a_checkpoint"
    ),
    _decision(quiet_decisions.updates_are_counted_once, "test_writes_at_the_same_time_make_every_nth_a_checkpoint"),
    _decision(quiet_decisions.relocation_of_any_schema, "test_a_value_in_another_schema_than_was_meant_stays"),
    _decision(quiet_decisions.relocation_always_drops_the_rest, "test_a_value_that_moves_elsewhere_keeps_its_schema"),
    _decision(quiet_decisions.relocation_keeps_the_rest_before, "test_only_the_schema_and_its_value_move"),
    _decision(
        quiet_decisions.changes_of_any_schema,
        "test_a_change_for_another_schema_is_not_made_and_its_request_id_stays_free",
    ),
    _decision(
        quiet_decisions.changes_where_more_is_kept,
        "test_a_change_of_a_value_that_is_more_than_its_schema_is_not_made",
    ),
    _decision(
        quiet_decisions.another_schema_is_a_refusal,
        "test_a_change_for_another_schema_is_not_made_and_its_request_id_stays_free",
    ),
    _decision(quiet_decisions.created_in_no_schema, "test_a_change_that_creates_is_in_its_schema"),
    _decision(outbox_decisions.messages_are_announced, "test_nobody_is_told_of_messages"),
    _decision(outbox_decisions.messages_of_what_did_nothing, "test_an_operation_that_did_nothing_has_no_message"),
    _decision(outbox_decisions.message_ids_without_the_version, "test_messages_are_committed_with_their_write"),
    _decision(
        outbox_decisions.message_ids_count_those_that_go_out, "test_an_operation_that_did_nothing_has_no_message"
    ),
    _decision(
        outbox_decisions.messages_ordered_by_the_first_key,
        "test_the_messages_of_each_operation_are_ordered_by_its_key",
    ),
    _decision(
        outbox_decisions.messages_of_a_whole_write_have_a_key, "test_an_operation_that_did_nothing_has_no_message"
    ),
    _decision(outbox_decisions.messages_without_their_time, "test_messages_are_committed_with_their_write"),
    _decision(outbox_decisions.messages_lost_under_a_request_id, "test_a_repeated_write_leaves_its_messages_once"),
    _decision(outbox_decisions.messages_only_with_a_change, "test_messages_of_a_write_that_only_checks_have_a_version"),
    _decision(outbox_decisions.payloads_as_text, "test_messages_are_committed_with_their_write"),
    _decision(outbox_decisions.nothing_is_forgotten, "test_a_forgotten_row_leaves_no_trace"),
    _decision(outbox_decisions.forgetting_is_a_deletion, "test_a_forgotten_row_leaves_no_trace"),
    _decision(outbox_decisions.forgetting_leaves_a_tombstone, "test_a_forgotten_row_leaves_no_trace"),
    _decision(outbox_decisions.forgetting_is_unguarded, "test_only_the_row_that_was_meant_is_forgotten"),
    _decision(outbox_decisions.forgetting_needs_a_row, "test_forgetting_what_is_absent_is_no_error"),
    _store(wrong_outboxes.MessagesOfRefusedWrites, "test_a_refused_write_leaves_no_message"),
    _store(wrong_outboxes.MessagesLandLate, "test_no_message_is_seen_before_an_earlier_one_of_its_key"),
    _store(wrong_outboxes.ForgottenRowsStillEnd, "test_a_forgotten_row_does_not_end"),
    _store(wrong_outboxes.CursorsBeginAtZero, "test_a_cursor_of_what_was_lost_is_a_gap"),
    _store(wrong_outboxes.CursorBeyondTheNewestHides, "test_a_cursor_beyond_the_newest_row_hides_none"),
    _store(wrong_outboxes.CursorsOfPages, "test_what_follows_a_cursor_does_not_depend_on_the_page"),
    _store(wrong_outboxes.NoCursorWithinACommit, "test_every_cursor_continues_after_its_change"),
    _decision(decisions.cas_on_absent_succeeds, "test_a_version_never_matches_a_key_that_never_was"),
    _decision(decisions.delete_guard_ignored_on_absent, "test_a_version_never_matches_a_deleted_key"),
    _decision(decisions.check_ignored, "test_the_version_before_the_last_write_conflicts"),
    _decision(decisions.zero_means_no_guard, "test_zero_conflicts_with_a_live_entry"),
    _decision(decisions.expired_matches_guard, "test_a_version_never_matches_an_expired_key"),
    _decision(decisions.gone_one_millisecond_late, "test_a_version_never_matches_an_expired_key"),
    _decision(decisions.tombstone_matches_guard, "test_the_version_of_a_deletion_never_matches"),
    _decision(decisions.epoch_ignored, "test_a_version_of_a_newer_epoch_says_that_the_store_went_back"),
    _decision(decisions.conflict_without_current_version, "test_a_guard_can_win_only_once"),
    _decision(decisions.failing_operation_not_named, "test_one_refusal_undoes_all"),
    _decision(decisions.update_resets_fixed_ttl, "test_an_update_of_a_fixed_namespace_keeps_the_end"),
    _decision(
        decisions.update_does_not_slide,
        "test_an_update_of_a_sliding_namespace_moves_the_end_by_the_ttl_last_given",
    ),
    _decision(decisions.namespace_ttl_ignored, "test_a_write_without_ttl_takes_that_of_its_namespace"),
    _decision(decisions.update_loses_labels, "test_an_update_keeps_what_else_belongs_to_the_entry"),
    _decision(decisions.put_keeps_the_old_end, "test_a_write_without_any_ttl_takes_the_end_away"),
    _decision(decisions.create_time_moves, "test_the_create_time_stays_and_the_update_time_moves"),
    _decision(decisions.same_value_is_no_change, "test_writing_the_same_value_again_is_a_new_version"),
    _decision(decisions.value_trimmed_at_zero_byte, "test_a_value_comes_back_exactly"),
    _decision(decisions.append_unbounded, "test_the_last_items_are_kept"),
    _decision(decisions.increment_without_bounds, "test_an_increment_stays_within_its_bounds"),
    _decision(decisions.patch_keeps_nulls, "test_a_merge_patch_does_what_the_rfc_says"),
    _decision(decisions.update_creates_uncalled, "test_an_update_without_create_needs_an_entry"),
    _decision(decisions.update_may_grow_without_bound, "test_an_update_that_makes_too_large_a_value_is_refused"),
    _store(wrong_writes.VersionRestartsOnRecreation, "test_a_version_from_before_never_matches_after_a_re_creation"),
    _store(wrong_writes.VersionsOfEachNamespace, "test_versions_are_unique_in_the_store"),
    _store(wrong_stores.ExpiredReadable, "test_an_entry_is_gone_at_its_expire_time"),
    _store(wrong_stores.ScanAnswersExpired, "test_a_scan_never_answers_what_was_deleted_or_has_ended"),
    _store(wrong_stores.ScanInUtf16Order, "test_keys_come_in_the_order_of_their_utf8_bytes"),
    _store(wrong_stores.PageMayBeEmpty, "test_a_page_has_at_least_one_entry_whatever_its_size"),
    _store(wrong_stores.LastPageSaysMore, "test_a_full_last_page_says_that_there_is_no_more"),
    _store(wrong_writes.OutageToldAsConflict, "test_a_write_after_its_deadline_is_refused_and_leaves_nothing"),
    _store(wrong_writes.DeadlineIgnored, "test_a_write_after_its_deadline_is_refused_and_leaves_nothing"),
    _store(wrong_writes.RequestIdIgnored, "test_a_repeated_write_answers_the_same_and_does_nothing"),
    _store(wrong_writes.FingerprintNotChecked, "test_an_id_of_another_request_is_refused"),
    _store(wrong_writes.RefusalsNotRemembered, "test_a_conflict_stays_one_when_the_state_would_match_now"),
    _store(wrong_writes.UnchangedNotRemembered, "test_a_write_that_changed_nothing_is_remembered"),
    _store(wrong_writes.ReplayForgetsValue, "test_a_repeated_write_answers_the_same_and_does_nothing"),
    _store(wrong_writes.ReplayNotTold, "test_a_repeated_write_answers_the_same_and_does_nothing"),
    _store(wrong_writes.RequestIdsOfAllNamespaces, "test_request_ids_are_of_their_namespace"),
    _store(
        wrong_writes.RequestRetentionIgnored,
        "test_an_id_is_remembered_for_its_retention_and_then_forgotten_by_the_sweep",
    ),
    _store(wrong_writes.NoRollback, "test_one_refusal_undoes_all"),
    _store(wrong_writes.LostUpdate, "test_increments_where_the_data_is_are_exact"),
    _store(wrong_writes.CancelledWriteIsLost, "test_a_caller_who_stops_waiting_leaves_a_definite_state"),
    _store(wrong_stores.TouchRevives, "test_a_touch_never_revives"),
    _store(wrong_stores.TouchIsAWrite, "test_a_version_from_before_a_touch_still_matches"),
    _store(wrong_stores.TouchShortens, "test_a_touch_that_only_extends_never_brings_the_end_nearer"),
    _store(wrong_stores.TouchNotAnnounced, "test_an_announced_touch_leaves_a_change_row"),
    _store(wrong_writes.NoTombstone, "test_a_deletion_has_a_version_of_its_own_above_the_entry"),
    _store(wrong_writes.TombstoneKeepsOldVersion, "test_a_deletion_has_a_version_of_its_own_above_the_entry"),
    _store(wrong_stores.PrefixDeletionWithoutHorizon, "test_keys_written_after_it_began_stay"),
    _store(wrong_stores.PrefixDeletionForgetsItsRequest, "test_under_a_request_id_it_goes_on_where_it_was"),
    _store(wrong_stores.PrefixDeletionIsSilent, "test_it_leaves_a_change_row_for_each_key"),
    _store(wrong_stores.ChangesSkipToNewest, "test_pages_of_changes_are_the_whole_once"),
    _store(wrong_stores.GapNotTold, "test_a_reader_that_comes_too_late_is_told_of_the_gap"),
    _store(wrong_stores.ExpiryToldAsPut, "test_an_expiry_is_told_when_it_is_swept"),
    _store(wrong_stores.SweepIsSilent, "test_an_expired_entry_becomes_a_tombstone"),
    _store(wrong_stores.SweepUnbounded, "test_a_sweep_ends_at_most_its_limit"),
    _store(wrong_stores.SweepForgetsReCreated, "test_a_key_created_again_is_not_forgotten_with_its_old_tombstone"),
    _store(wrong_stores.GenerationForgotten, "test_the_generation_rises_with_each_other_cache"),
    _store(wrong_writes.NamespacesFolded, "test_namespaces_are_separate"),
    _store(wrong_writes.DeleteAlwaysFinds, "test_deleting_what_is_absent_is_no_error_and_no_change"),
    _reopened("sequence_restarts", _sequence_restarts, "test_versions_go_on_where_they_were_after_reopening"),
    _reopened("requests_forgotten", _requests_forgotten, "test_answers_are_kept_over_reopening"),
    _reopened("changes_forgotten", _changes_forgotten, "test_changes_and_cursors_are_kept_over_reopening"),
    _reopened("generation_forgotten", _generation_forgotten, "test_a_generation_is_kept_over_reopening"),
    _reopened("entries_forgotten", _entries_forgotten, "test_values_stay_exact_over_reopening"),
    _cache(wrong_caches.FillUnguarded, "test_a_fill_without_anyone_asking_is_rejected"),
    _cache(wrong_caches.FillGuardedByVersionOnly, "test_a_fill_after_a_write_was_told_does_nothing"),
    _cache(
        wrong_caches.FillUnderAnyLease,
        "test_a_fill_under_the_lease_before_an_invalidation_does_not_use_the_next_ones_place",
    ),
    _cache(wrong_caches.FillAfterItsDeadline, "test_a_fill_after_the_deadline_is_rejected_though_nobody_asked_since"),
    _cache(wrong_caches.LeaseWithoutDeadline, "test_a_lease_has_a_deadline"),
    _cache(wrong_caches.LeaseForEveryAsker, "test_of_concurrent_askers_exactly_one_gets_the_lease"),
    _cache(wrong_caches.NoLeaseAtAll, "test_the_first_asker_of_a_missing_key_gets_a_lease_and_the_next_none"),
    _cache(wrong_caches.WriterCreates, "test_a_writer_never_creates"),
    _cache(wrong_caches.WriterFillsALease, "test_a_writer_never_creates_where_a_lease_is_out"),
    _cache(wrong_caches.WriterLeavesPlaceholders, "test_a_fill_after_a_write_was_told_does_nothing"),
    _cache(wrong_caches.WriterLeavesCachedMisses, "test_a_cached_miss_goes_when_the_key_is_created"),
    _cache(wrong_caches.OlderReplacesNewer, "test_an_older_entry_changes_nothing"),
    _cache(wrong_caches.TombstonesNotTold, "test_a_tombstone_hides_an_older_entry"),
    _cache(wrong_caches.OldTombstoneDeletes, "test_an_older_tombstone_changes_nothing"),
    _cache(wrong_caches.LeaseOfAnyGeneration, "test_a_lease_of_another_generation_fills_nothing"),
    _cache(wrong_caches.GenerationIgnored, "test_a_copy_of_another_generation_is_a_miss"),
    _cache(
        wrong_caches.ApplyKeepsOtherGenerations,
        "test_what_is_told_over_a_copy_of_another_generation_drops_it",
    ),
    _cache(wrong_caches.ExpiredIsAHit, "test_an_expired_copy_is_a_miss_at_its_end_and_not_before"),
    _cache(wrong_caches.EndOfOldValueKept, "test_the_end_of_a_replaced_entry_is_that_of_the_new_one"),
    _cache(wrong_caches.InvalidationKeepsLeases, "test_a_fill_after_an_invalidation_does_nothing"),
    _cache(wrong_caches.ReleaseOfAnyLease, "test_giving_back_another_lease_changes_nothing"),
    _cache(wrong_caches.ReleaseDoesNothing, "test_a_lease_that_was_given_back_goes_to_the_next_asker"),
    _cache(wrong_caches.Unbounded, "test_the_bytes_of_many_entries_stay_within_the_bound"),
    _cache(wrong_caches.PlaceholdersAreFree, "test_placeholders_count_too"),
    _cache(wrong_caches.FirstInFirstOut, "test_what_was_used_last_stays"),
    _cache(wrong_caches.NamespacesShared, "test_a_lease_is_of_its_namespace"),
    _cache(wrong_caches.MissCachedForEver, "test_an_absent_key_is_cached_as_a_miss_for_a_while"),
    _blobs(wrong_blobs.Overwrites, "test_an_object_is_written_once"),
    _blobs(wrong_blobs.ChecksThenWrites, "test_of_concurrent_writers_of_a_name_exactly_one_wins"),
    _blobs(wrong_blobs.NotVerified, "test_spoilt_bytes_are_data_loss_and_never_content"),
    _blobs(wrong_blobs.CorruptIsAbsent, "test_spoilt_bytes_are_data_loss_and_never_content"),
    _blobs(wrong_blobs.NamesNotChecked, "test_other_names_are_refused_by_every_call"),
    _blobs(wrong_blobs.NamesInReverse, "test_names_come_in_order"),
]
