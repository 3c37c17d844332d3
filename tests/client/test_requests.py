"""From arguments to messages."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statesidecar import FailedPrecondition, InvalidRequest
from statesidecar._requests import decode_json, duration, encode_json


def test_a_ttl_is_seconds_or_a_timedelta() -> None:
    def milliseconds(ttl: float | timedelta) -> int:
        message = duration(ttl)
        assert message is not None
        return message.ToMilliseconds()

    assert duration(None) is None
    assert milliseconds(1) == 1000
    assert milliseconds(0.25) == 250
    assert milliseconds(timedelta(days=2, milliseconds=1)) == 2 * 86_400_000 + 1


@pytest.mark.parametrize("ttl", [math.inf, -math.inf, math.nan, 1e30])
def test_a_ttl_that_no_message_can_hold_is_refused_here(ttl: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        duration(ttl)

    assert caught.value.reason == "TTL_OUT_OF_RANGE"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_json_comes_back_as_it_went(value: object) -> None:
    try:
        encoded = encode_json(value)
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text

    assert decode_json(encoded) == value


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_json(math.nan)
    with pytest.raises(TypeError):
        encode_json(object())


@pytest.mark.parametrize("value", [b"", b"{", b"\xff"])
def test_a_stored_value_that_is_no_json_is_a_failed_precondition(value: bytes) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        decode_json(value)

    assert caught.value.reason == "NOT_JSON"
