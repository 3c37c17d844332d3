"""Names as keys: back again, in order, and harmless to servers that keep keys as files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.stores.s3.keys import NAME_BYTES_MAX, check_name, key_of, name_of

parts = st.text("ab-./_09Z", min_size=1, max_size=4) | st.sampled_from(
    ["x" * n for n in (199, 200, 201, 400)] + ["x" * 200 + end for end in ("-", ".", "0", ".a", "-a")]
)
parts = parts.filter(lambda part: "/" not in part and part not in (".", ".."))
blob_names = st.lists(parts, min_size=1, max_size=4).map("/".join).filter(lambda name: len(name) <= NAME_BYTES_MAX)


@given(blob_names)
def test_a_key_leads_back_to_its_name(name: str) -> None:
    check_name(name)

    assert name_of(key_of(name)) == name


@given(st.sets(blob_names, max_size=8))
def test_keys_are_in_the_order_of_names_by_bytes_and_folder_by_folder(names: set[str]) -> None:
    ordered = [key_of(name) for name in sorted(names)]

    assert ordered == sorted(ordered)
    assert ordered == sorted(ordered, key=lambda key: key.split("/"))


@given(blob_names, blob_names)
def test_no_key_is_the_folder_of_another(one: str, other: str) -> None:
    assert not key_of(other).startswith(key_of(one) + "/")


@given(blob_names, st.integers(0, 600))
def test_names_that_begin_alike_have_keys_that_do(name: str, length: int) -> None:
    assert key_of(name).startswith(key_of(name[:length]))


@given(blob_names)
def test_segments_are_short_and_none_is_a_dot(name: str) -> None:
    segments = key_of(name).split("/")

    assert all(0 < len(segment) <= 202 for segment in segments)
    assert not {".", ".."} & set(segments)


@pytest.mark.parametrize("name", ["a/" * 255 + "ab", "." * 512, "-" * 512, "x" * 512, "x/" * 100 + "." * 312])
def test_the_longest_keys_are_within_their_bound(name: str) -> None:
    assert len(key_of(name)) <= 777
    assert name_of(key_of(name)) == name


@pytest.mark.parametrize("key", ["", "~probe-1", "a/b", "a.b", "a./", "/a", "a b", "é", "a~/~b", "x" * 201, "."])
def test_a_key_of_no_name_is_none(key: str) -> None:
    assert name_of(key) is None


def test_the_documented_example() -> None:
    assert key_of("run-7/step.3") == "run!7./step-3"
