"""Daemons that seal too little, or bind what is sealed to too little, and the test that has to catch each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.core import decide, sealing
from sidecar.engine.resealing import Reseal
from sidecar.stores.journal import log, recovery
from sidecar.stores.sealed import cache, rows, store
from sidecar.stores.sealed.keyring import Keyring
from sidecar.tiers import cold
from sidecar.tiers.blobs import BlobLedger
from tests.mutants.wrong_schemas import Patch, Wrong
from tests.security import test_encryption as encryption
from tests.security import test_rotation as rotation


def _bound_to(patch: Patch, at: Callable[[str, str, int], bytes]) -> None:
    for module in (sealing, rows):
        patch(module, "value_place", at)
        patch(module, "place_of", lambda entry: at(entry.namespace, entry.key, entry.schema_version))


def values_are_not_bound_to_their_key(patch: Patch) -> None:
    _bound_to(patch, lambda namespace, _, schema: sealing.place("value", namespace, schema))


def values_are_not_bound_to_their_schema(patch: Patch) -> None:
    _bound_to(patch, lambda namespace, key, _: sealing.place("value", namespace, key))


def large_values_are_not_bound_to_their_key(patch: Patch) -> None:
    patch(cold, "blob_place", lambda namespace, _, schema: sealing.place("blob", namespace, schema))


def large_values_are_in_the_clear(patch: Patch) -> None:
    async def as_it_is(_: Any, __: str, content: bytes, ___: bytes) -> bytes:
        return content

    async def opened(_: Any, stored: bytes, __: bytes, **___: str) -> bytes:
        return stored

    patch(BlobLedger, "sealed", as_it_is)
    patch(BlobLedger, "opened", opened)


def copies_are_in_the_clear(patch: Patch) -> None:
    patch(cache, "_sealed", lambda _, copy: copy)
    patch(cache, "_opened", lambda _, found: found)


def payloads_are_in_the_clear(patch: Patch) -> None:
    patch(store, "sealed_messages", lambda _, write: write.outbox)


def answers_are_in_the_clear(patch: Patch) -> None:
    patch(decide, "_told", lambda _, value: value)


def journal_is_in_the_clear(patch: Patch) -> None:
    patch(log, "sealed", lambda _, record: record)
    patch(recovery, "opened", lambda _, content: content)


def contents_of_checkpoints_are_in_the_clear(patch: Patch) -> None:
    patch(rows, "WHOLE", ())


def what_is_in_the_clear_is_believed(patch: Patch) -> None:
    patch(Keyring, "_in_the_clear", lambda _, data, *__: data)


def sealing_anew_does_nothing(patch: Patch) -> None:
    async def relocated(*_: Any) -> bool:
        return True

    patch(store.SealedStore, "_relocated", relocated)


def what_is_in_cold_is_not_sealed_anew(patch: Patch) -> None:
    async def put_anew(*_: Any) -> bool:
        return False

    patch(Reseal, "_put_anew", put_anew)


PLACES = encryption.test_a_value_opens_only_under_its_own_key_namespace_and_schema
DISK = encryption.test_nothing_that_was_written_is_on_the_disk

WRONG = [
    Wrong(values_are_not_bound_to_their_key, PLACES),
    Wrong(values_are_not_bound_to_their_schema, PLACES),
    Wrong(what_is_in_the_clear_is_believed, PLACES),
    Wrong(large_values_are_not_bound_to_their_key, encryption.test_a_large_value_opens_only_under_its_own_key),
    Wrong(large_values_are_in_the_clear, DISK),
    Wrong(payloads_are_in_the_clear, DISK),
    Wrong(answers_are_in_the_clear, DISK),
    Wrong(journal_is_in_the_clear, DISK),
    Wrong(contents_of_checkpoints_are_in_the_clear, encryption.test_contents_of_checkpoints_are_sealed),
    Wrong(copies_are_in_the_clear, encryption.test_a_cached_copy_out_of_its_place_is_never_told),
    Wrong(sealing_anew_does_nothing, rotation.test_a_daemon_without_the_old_key_says_which_is_missing),
    Wrong(what_is_in_cold_is_not_sealed_anew, rotation.test_a_rotation_under_load_fails_no_read),
]
