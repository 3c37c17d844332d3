"""What is stored is believed only as it was stored; and what errors of the server mean."""

from __future__ import annotations

import pytest

from sidecar.core.errors import (
    DataLoss,
    Defect,
    InvalidRequest,
    LimitExceeded,
    SidecarError,
    StoreCorrupt,
    StoreUnavailable,
)
from sidecar.core.store import SweepOrder
from sidecar.stores.postgres import PostgresStore
from sidecar.stores.postgres.clock import SAMPLE_MS, ServerClock
from sidecar.stores.postgres.errors import ServerError, again, store_error
from tests.stores.postgres.conftest import Place, add_one, put, value
from tests.support.clock import START_MS, ManualClock
from tests.support.factories import NAMESPACE

SPOILT = {
    "version": "version = version + 1",
    "create_time": "create_time = create_time - 1",
    "update_time": "update_time = update_time - 1",
    "expire_time": "expire_time = expire_time + 1000000",
    "an end taken away": "expire_time = NULL",
    "ttl_ms": "ttl_ms = ttl_ms + 1",
    "schema_version": "schema_version = 1",
    "content_type": "content_type = 'text/html'",
    "labels": "labels = '{{}}'",
    "value": "value = 'other'",
    "value and its checksum": "value = 'other', value_checksum = 0",
    "header_checksum": "header_checksum = 0",
    "a deletion": "delete_time = 1",
    "another key's row": "key = 'other'",
    "another namespace's row": "namespace = 'other'",
}


@pytest.mark.parametrize("what", SPOILT)
async def test_a_row_that_was_changed_by_others_is_data_loss(place: Place, store: PostgresStore, what: str) -> None:
    await store.commit(put("key", ttl_ms=3_600_000))
    place.execute("UPDATE {schema}.entries SET " + SPOILT[what])
    namespace, key = ("other" if "namespace" in what else NAMESPACE), ("other" if "key" in what else "key")

    with pytest.raises(DataLoss):
        await store.get(namespace, [key])


@pytest.mark.parametrize(
    "change",
    ['outcome = \'{{"version":9,"results":[]}}\'', "create_time = 1", "fingerprint = 'other'", "returned = ''"],
)
async def test_so_is_what_a_request_id_did(place: Place, store: PostgresStore, change: str) -> None:
    await store.commit(add_one("r"))
    place.execute("UPDATE {schema}.requests SET " + change)

    with pytest.raises(StoreCorrupt):
        await store.commit(add_one("r"))

    assert await value(store, "n") == b"1"


async def test_a_spoilt_row_is_not_swept(place: Place, store: PostgresStore) -> None:
    """Its end may be what is wrong."""
    await store.commit(put("key", ttl_ms=3_600_000))
    await store.commit(put("ended", ttl_ms=3_600_000))
    place.execute("UPDATE {schema}.entries SET expire_time = 1 WHERE key = 'key'")

    swept = await store.sweep(SweepOrder(limit=10, tombstone_retention_ms=0, request_retention_ms=0))

    assert swept.expired == ()
    assert place.execute("SELECT count(*) FROM {schema}.entries WHERE delete_time IS NULL") == [(2,)]


@pytest.mark.parametrize(
    ("sqlstate", "message", "told", "reason"),
    [
        ("53100", "could not extend file", LimitExceeded, "STORAGE_FULL"),
        ("54000", "array size exceeds the maximum allowed", InvalidRequest, "VALUE_TOO_LARGE"),
        ("XX000", "invalid memory alloc request size 1073741824", InvalidRequest, "VALUE_TOO_LARGE"),
        ("XX000", "something else", Defect, "INTERNAL"),
        ("XX001", "invalid page in block 0", StoreCorrupt, "STORE_CORRUPT"),
        ("25006", "cannot execute INSERT in a read-only transaction", StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
        ("42501", "permission denied for table entries", StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
        ("53200", "out of memory", StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
        ("57014", "canceling statement due to statement timeout", StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
        ("58030", "could not read block", StoreUnavailable, "AUTHORITY_UNAVAILABLE"),
        ("42601", "syntax error", Defect, "INTERNAL"),
    ],
)
def test_an_error_of_the_server_is_told_as_what_it_means(
    sqlstate: str, message: str, told: type[SidecarError], reason: str
) -> None:
    error = store_error(ServerError(sqlstate, message, index=0))

    assert (type(error), error.reason, error.metadata["sqlstate"]) == (told, reason, sqlstate)
    twin = again(error)
    assert (type(twin), twin.message, twin.metadata) == (told, error.message, error.metadata)
    assert twin is not error


def test_the_servers_clock_goes_on_with_ours() -> None:
    clock = ManualClock()
    server = ServerClock(clock)
    assert server.now() == START_MS

    server.hear(5_000)
    clock.advance(1_234)

    assert server.now() == 6_234


def test_an_answer_that_was_late_does_not_set_the_clock_back() -> None:
    clock = ManualClock()
    server = ServerClock(clock)
    server.hear(5_000)
    clock.advance(1_000)
    server.hear(5_400)
    assert server.now() == 6_000

    server.hear(6_001)
    assert server.now() == 6_001


def test_a_clock_that_was_set_back_is_believed_after_a_while() -> None:
    clock = ManualClock()
    server = ServerClock(clock)
    server.hear(5_000)
    clock.advance(SAMPLE_MS)
    server.hear(1_000)

    assert server.now() == 1_000
