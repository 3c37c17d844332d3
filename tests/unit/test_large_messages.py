"""Messages with a large value are read and written as protobuf does it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from sidecar.core.entry import Entry
from sidecar.core.errors import InvalidRequest
from sidecar.core.modes import ServingMode, Tier
from sidecar.rpc import convert, large
from sidecar.rpc.calls import refuse_unreadable
from sidecar.rpc.large import CARRIED_BYTES, CarriedResponse, Carrying
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2

VALUE = bytes(range(256)) * (CARRIED_BYTES // 256) + b"the end"
FULL: dict[str, Any] = {
    "namespace": "shop",
    "key": "käse/🧀",
    "content_type": "x/y",
    "schema_version": 300,
    "labels": {"b": "2", "a": "1", "empty": ""},
    "ttl": Duration(seconds=5, nanos=1),
    "request_id": "r" * 100,
}
REQUESTS: list[Any] = [
    pb.SetRequest(value=VALUE, **FULL),
    pb.SetRequest(value=VALUE),
    pb.SetRequest(value=VALUE, request_id="r"),
    pb.CASRequest(value=VALUE, expected_version=1 << 60, **FULL),
    pb.CASRequest(value=VALUE, request_id="r"),
]


def parse(request: Any, raw: bytes | None = None) -> Any:
    return large.carrying(type(request))(request.SerializeToString() if raw is None else raw)


@pytest.mark.parametrize("request_", REQUESTS, ids=range(len(REQUESTS)))
async def test_a_request_is_what_it_would_be_in_one_piece(request_: Any) -> None:
    read: Any = parse(request_)

    assert type(read).__name__ == Carrying.__name__
    assert read.value == VALUE
    assert read.message.value == b""
    assert convert.put(read) == convert.put(request_)
    assert await large.write_id(read) == convert.write_id(request_, request_.request_id)


@pytest.mark.parametrize("change", ["namespace", "key", "content_type", "ttl", "value", "labels"])
async def test_another_request_has_another_digest(change: str) -> None:
    other = pb.SetRequest(value=VALUE, **FULL)
    if change == "value":
        other.value = VALUE[:-1] + b"!"
    elif change == "labels":
        other.labels["b"] = "3"
    elif change == "ttl":
        other.ttl.nanos = 2
    else:
        setattr(other, change, "other")

    assert await large.write_id(parse(other)) != await large.write_id(parse(REQUESTS[0]))
    assert await large.write_id(parse(other)) == convert.write_id(other, other.request_id)


@pytest.mark.parametrize("size", [0, 1, CARRIED_BYTES - 1])
def test_a_small_value_goes_the_usual_way(size: int) -> None:
    request = pb.SetRequest(value=VALUE[:size], **FULL)

    assert parse(request) == request


def test_fields_may_come_in_any_order_and_the_last_value_is_the_one() -> None:
    first, last = pb.SetRequest(value=VALUE + b"first"), pb.SetRequest(value=VALUE)
    rest = pb.SetRequest(**FULL).SerializeToString()
    raw = first.SerializeToString() + rest + last.SerializeToString()

    read = parse(first, raw)

    assert convert.put(read) == convert.put(pb.SetRequest.FromString(raw))
    assert read.value == VALUE


@pytest.mark.parametrize(
    "unknown", [b"\xf8\x07\x01", b"\xf9\x07" + bytes(8), b"\xfa\x07\x02ab", b"\xfd\x07" + bytes(4)], ids=range(4)
)
def test_a_field_that_nobody_knows_is_refused(unknown: bytes) -> None:
    read = parse(REQUESTS[0], REQUESTS[0].SerializeToString() + unknown)

    assert isinstance(read, Carrying)
    with pytest.raises(InvalidRequest) as caught:
        refuse_unreadable(read)
    assert caught.value.reason == "FIELD_UNKNOWN"


@pytest.mark.parametrize("cut", [1, 10, 100, CARRIED_BYTES // 2])
def test_what_is_cut_off_is_no_message(cut: int) -> None:
    with pytest.raises(DecodeError):
        parse(REQUESTS[0], REQUESTS[0].SerializeToString()[:-cut])


@pytest.mark.parametrize("end", [b"\xff" * 11, b"\x1a\xff\xff\xff\x7f", b"\x0f", b"\x80"], ids=range(4))
def test_what_ends_in_nonsense_is_no_message(end: bytes) -> None:
    with pytest.raises(DecodeError):
        parse(REQUESTS[0], REQUESTS[0].SerializeToString() + end)


@pytest.mark.parametrize("value", [VALUE, VALUE * 20])
def test_a_response_is_what_it_would_be_in_one_piece(value: bytes) -> None:
    entry = Entry(
        "shop", "käse", value, 1 << 60, 1_800_000_000_001, 1_800_000_000_002, None, None, "x/y", 3, {"a": "b"}
    )
    response = pb.GetResponse(
        mode=convert.wire(ServingMode.DEGRADED), served_by=convert.wire(Tier.COLD), stale_possible=True
    )
    whole = pb.GetResponse.FromString(response.SerializeToString())
    whole.entry.CopyFrom(convert.entry(entry))

    carried = CarriedResponse(response, entry)

    assert carried.mode == types_pb2.SERVING_MODE_DEGRADED
    assert pb.GetResponse.FromString(carried.serialize()) == whole
