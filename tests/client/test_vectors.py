"""Arrays of numbers, written and read many at once by both clients: a real daemon, and a server that says the odd things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from statesidecar import (
    Consistency,
    FailedPrecondition,
    InvalidRequest,
    ServingMode,
    Vectors,
    VersionConflict,
    vectors,
)
from statesidecar.testing import RunningSidecar
from statesidecar.v1 import state_service_pb2 as pb
from tests.client.conftest import Client
from tests.client.scripted import Server
from tests.client.test_scripted_calls import EPOCH_CHANGED

NS = "features"
TENSOR = "application/vnd.statesidecar.tensor"


@pytest.fixture
def daemon(connect: Callable[..., Client], running: RunningSidecar) -> Client:
    return connect(running.target)


def rows(count: int, dim: int = 8) -> Any:
    return np.random.default_rng(count).standard_normal((count, dim)).astype(np.float32)


def stored(client: Client, key: str, array: Any) -> tuple[list[str], list[int]]:
    """A key for each row, and the versions that they were written as."""
    keys = [f"{key}/{at}" for at in range(len(array))]
    return keys, [client.call("set_vector", NS, name, row).version for name, row in zip(keys, array, strict=True)]


def page(*values: bytes | None, kinds: tuple[str, ...] = (f"{TENSOR}; dtype=<f4; shape=2",), **given: Any) -> Any:
    """What a daemon answers; None: a miss."""
    packed = pb.PackedValues(
        values=b"".join(value or b"" for value in values),
        sizes=[len(value or b"") for value in values],
        versions=[0 if value is None else 10 + at for at, value in enumerate(values)],
        content_types=kinds,
        **given,
    )
    return pb.BatchGetResponse(packed=packed, mode="SERVING_MODE_NORMAL")


PAIR = np.array([1, 2], "<f4").tobytes()


@pytest.mark.parametrize("consistency", [Consistency.CACHED, Consistency.STRONG])
def test_rows_come_in_the_order_of_their_keys(daemon: Client, key: str, consistency: Consistency) -> None:
    array = rows(5)
    keys, versions = stored(daemon, key, array)
    order = [3, 0, 4, 0, 2]

    found: Vectors = daemon.call("vectors", NS, [keys[at] for at in order], consistency=consistency)

    assert found.array.dtype == np.float32
    assert found.array.flags.c_contiguous
    np.testing.assert_array_equal(found.array, array[order])
    assert found.versions.tolist() == [versions[at] for at in order]
    assert not found.missing.any()
    assert (found.mode, found.stale_possible) == (ServingMode.NORMAL, False)


def test_where_nothing_is_missing_the_array_is_the_response_s_own_memory(daemon: Client, key: str) -> None:
    keys, _ = stored(daemon, key, rows(2))

    found: Vectors = daemon.call("vectors", NS, keys)
    copy = found.writable()
    copy[0] = 0

    assert not found.array.flags.owndata
    assert not found.array.flags.writeable
    np.testing.assert_array_equal(found.array, rows(2))


def test_a_key_that_is_not_there_is_a_row_of_zeros_or_what_was_asked_for(daemon: Client, key: str) -> None:
    array = rows(2)
    keys, versions = stored(daemon, key, array)
    asked = [f"{key}/none", keys[0], f"{key}/nor this", keys[1]]

    zeros: Vectors = daemon.call("vectors", NS, asked)
    filled: Vectors = daemon.call("vectors", NS, asked, fill=-1.0)

    assert zeros.missing.tolist() == [True, False, True, False]
    assert zeros.versions.tolist() == [0, versions[0], 0, versions[1]]
    np.testing.assert_array_equal(zeros.array, [np.zeros(8), array[0], np.zeros(8), array[1]])
    np.testing.assert_array_equal(filled.array[[0, 2]], -np.ones((2, 8)))
    assert zeros.writable() is zeros.array


def test_none_of_them_is_there(daemon: Client, key: str) -> None:
    unknown: Vectors = daemon.call("vectors", NS, [key, f"{key}/2"])
    known: Vectors = daemon.call("vectors", NS, [key, f"{key}/2"], dim=4)

    assert unknown.array.shape == (2, 0)
    assert known.array.tolist() == [[0.0] * 4] * 2
    assert unknown.missing.all()


def test_more_keys_than_a_batch_takes_are_one_array(daemon: Client, key: str) -> None:
    array = rows(3)
    keys, versions = stored(daemon, key, array)
    asked = [keys[0], *[f"{key}/none/{at}" for at in range(998)], keys[1], keys[2], *[keys[0]] * 1001]

    found: Vectors = daemon.call("vectors", NS, asked)

    assert found.array.shape == (2002, 8)
    np.testing.assert_array_equal(found.array[[0, 999, 1000, 1001, 2001]], array[[0, 1, 2, 0, 0]])
    assert int(found.missing.sum()) == 998
    assert found.missing[1:999].all()
    assert found.versions[[0, 1, 999, 1000, 2001]].tolist() == [versions[0], 0, versions[1], versions[2], versions[0]]


def test_more_bytes_than_a_response_takes_are_read_in_more_pages(daemon: Client, key: str) -> None:
    array = np.arange(3, dtype=np.float32).repeat(900_000).reshape(3, 900_000)
    keys, _ = stored(daemon, key, array)

    found: Vectors = daemon.call("vectors", NS, keys * 3, timeout_s=30.0)

    assert found.array.shape == (9, 900_000)
    assert found.array[:, -1].tolist() == [0.0, 1.0, 2.0] * 3
    assert found.array[:, 0].tolist() == [0.0, 1.0, 2.0] * 3


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "bool", "complex64", ">f4"])
def test_every_kind_of_number(daemon: Client, key: str, dtype: str) -> None:
    array = np.array([[0, 1, 2], [3, 0, 1]], dtype)
    written = daemon.call("set_vector", NS, key, array)

    found: Vectors = daemon.call("vectors", NS, [key], dtype=dtype, dim=(2, 3))
    entry = daemon.call("get", NS, key).entry

    np.testing.assert_array_equal(found.array, [array])
    np.testing.assert_array_equal(vectors.decode(entry), array)
    assert entry.version == written.version
    assert entry.content_type == f"{TENSOR}; dtype={np.dtype(dtype).newbyteorder('<').str}; shape=2x3"


def test_a_vector_is_written_if_its_version_is_the_expected_one(daemon: Client, key: str) -> None:
    first = daemon.call("set_vector", NS, key, [1, 2], dtype="float32", expected_version=0)
    second = daemon.call("set_vector", NS, key, [3, 4], dtype="float32", expected_version=first.version)
    with pytest.raises(VersionConflict):
        daemon.call("set_vector", NS, key, [5, 6], dtype="float32", expected_version=first.version)
    value, content_type = vectors.encode([7, 8], "float32")
    third = daemon.call("cas", NS, key, value, content_type=content_type, expected_version=second.version)

    found: Vectors = daemon.call("vectors", NS, [key])

    assert found.array.tolist() == [[7.0, 8.0]]
    assert found.versions.tolist() == [third.version]


@pytest.mark.parametrize(
    ("odd", "asked"),
    [
        (np.zeros(3, np.float32), {}),
        (np.zeros(2, np.float64), {}),
        (np.zeros(2, np.int32), {}),
        (np.zeros((1, 2), np.float32), {}),
        (np.zeros(2, np.float32), {"dim": 3}),
        (np.zeros(2, np.float32), {"dtype": "float16"}),
    ],
    ids=["length", "wider", "kind", "shape", "dim", "dtype"],
)
def test_a_value_of_another_kind_is_named(daemon: Client, key: str, odd: Any, asked: dict[str, Any]) -> None:
    keys, _ = stored(daemon, key, rows(2, dim=asked.get("dim", 2)).astype(asked.get("dtype", "float32")))
    daemon.call("set_vector", NS, key, odd)

    with pytest.raises(FailedPrecondition) as refused:
        daemon.call("vectors", NS, [keys[0], f"{key}/none", key, keys[1]], **asked)

    assert refused.value.reason == "TENSOR_MISMATCH"
    assert refused.value.metadata["key"] == key
    assert key in refused.value.message


def test_a_value_whose_content_type_says_nothing_fits_by_its_size(daemon: Client, key: str) -> None:
    daemon.call("set", NS, key, PAIR)
    daemon.call("set", NS, f"{key}/2", PAIR, content_type="application/octet-stream")
    daemon.call("set", NS, f"{key}/3", PAIR, content_type="text/plain")
    daemon.call("set", NS, f"{key}/4", PAIR + b"x")

    found: Vectors = daemon.call("vectors", NS, [key, f"{key}/2"])
    for odd in (f"{key}/3", f"{key}/4"):
        with pytest.raises(FailedPrecondition) as refused:
            daemon.call("vectors", NS, [key, odd])
        assert refused.value.metadata["key"] == odd

    assert found.array.tolist() == [[1.0, 2.0]] * 2
    with pytest.raises(FailedPrecondition, match="of no array"):
        vectors.decode(daemon.call("get", NS, key).entry)


def test_a_reader_sees_what_it_has_seen_before(client: Client, server: Server) -> None:
    server.expect(page(PAIR, None), page(PAIR, None), EPOCH_CHANGED, page(PAIR, None))

    for _ in range(3):
        client.call("vectors", NS, ["a", "b"])

    assert [list(request.min_versions) for request in server.requests] == [[], [10, 0], [10, 0], []]
    assert all(request.packed for request in server.requests)


def test_a_value_that_does_not_fit_is_named_on_a_later_page_too(client: Client, server: Server) -> None:
    text = page(PAIR, PAIR, kinds=(f"{TENSOR}; dtype=<f4; shape=2", "text/plain"), content_type_indexes=[0, 1])
    server.expect(page(*[PAIR] * 1000), text, page(*[PAIR] * 1000), page(PAIR, PAIR + b"x"))
    keys = [f"k{at}" for at in range(1002)]

    for _ in range(2):
        with pytest.raises(FailedPrecondition) as refused:
            client.call("vectors", NS, keys)
        assert refused.value.metadata["key"] == "k1001"


def test_the_weakest_page_is_told(client: Client, server: Server) -> None:
    degraded = page(PAIR, stale_possible=True)
    degraded.mode = 2
    server.expect(page(*[PAIR] * 1000), degraded)

    found: Vectors = client.call("vectors", NS, [f"k{at}" for at in range(1001)])

    assert (found.mode, found.stale_possible) == (ServingMode.DEGRADED, True)
    assert found.array.tolist() == [[1.0, 2.0]] * 1001
    assert found.array.flags.writeable


def test_content_types_may_be_written_in_other_ways(client: Client, server: Server) -> None:
    kinds = (f"{TENSOR}; dtype=<f4; shape=2", f"{TENSOR.upper()};SHAPE=2;dtype=<f4", "text/plain")
    server.expect(page(PAIR, PAIR, None, kinds=kinds, content_type_indexes=[0, 1, 2]))

    found: Vectors = client.call("vectors", NS, ["a", "b", "c"])

    assert found.array.tolist() == [[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (("vectors", NS, ["a"], {"dtype": "object"}), "DTYPE_INVALID"),
        (("vectors", NS, ["a"], {"dtype": "no such"}), "DTYPE_INVALID"),
        (("vectors", NS, ["a"], {"dim": -1}), "SHAPE_INVALID"),
        (("set_vector", NS, "a", "text", {}), "DTYPE_INVALID"),
        (("set_vector", NS, "a", 1.5, {}), "SHAPE_INVALID"),
    ],
)
def test_what_is_no_array_of_numbers_is_not_sent(client: Client, call: tuple[Any, ...], reason: str) -> None:
    *arguments, options = call
    with pytest.raises(InvalidRequest) as refused:
        client.call(*arguments, **options)

    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "said",
    [
        "",
        "text/plain",
        TENSOR,
        f"{TENSOR}; dtype=<f4",
        f"{TENSOR}; dtype=O; shape=2",
        f"{TENSOR}; dtype=<f4; shape=2xx3",
    ],
)
def test_what_is_no_array_s_content_type(said: str) -> None:
    assert vectors.parsed(said) is None
