"""Requests with large values, whose wire format is read here: what comes out is what protobuf makes of them.

A request may be refused with DecodeError, and is where protobuf refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from sidecar.core.entry import Entry
from sidecar.rpc import convert, large
from sidecar.rpc.large import CarriedResponse, Carrying
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.fuzz.drawing import Draw

large.CARRIED_BYTES = 16  # a bound on cost: small inputs take the way of large ones
_TYPES = (pb.SetRequest, pb.CASRequest)
_PARSERS = {kind: large.carrying(kind) for kind in _TYPES}


def seeds() -> Iterator[bytes]:
    outbox = [types_pb2.OutboxMessage(topic="t", payload=b"p")]
    request = pb.SetRequest(
        namespace="shop", key="k", value=b"v" * 40, labels={"a": "b"}, request_id="r", outbox=outbox, schema_version=3
    )
    raw = request.SerializeToString()
    yield b"\0" + raw
    yield b"\0" + raw + b"\x1a\x11" + b"w" * 17 + b"\xf8\x7f\1"
    yield b"\0" + raw.replace(b"\x1a", b"\x9a\x80\0", 1)
    yield b"\1" + pb.CASRequest(namespace="shop", key="k", value=b"v" * 40, expected_version=7).SerializeToString()
    yield b"\2\4shop\3key" + bytes(range(200))


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 3:
        case 2:
            _response(draw)
        case index:
            _request(_TYPES[index], draw.rest())


def _request(kind: type[pb.SetRequest | pb.CASRequest], raw: bytes) -> None:
    parsed, expected = _parsed(_PARSERS[kind], raw), _parsed(kind.FromString, raw)
    assert (parsed is None) == (expected is None), f"{kind.__name__}: refused by one of the two"
    if parsed is None or expected is None:
        return
    made = parsed
    if isinstance(parsed, Carrying):
        assert parsed.value == expected.value
        assert parsed.write_id() == convert.write_id(expected, expected.request_id)
        made = kind()
        made.CopyFrom(parsed.message)  # type: ignore[arg-type]  # of one kind
        made.value = parsed.value
    assert made.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


def _parsed(parse: Callable[[bytes], Any], raw: bytes) -> Any:
    """None: refused."""
    try:
        return parse(raw)
    except DecodeError:
        return None


def _response(draw: Draw) -> None:
    entry: Entry = draw.entry(draw.text(), draw.text())
    expected = pb.GetResponse(
        stale_possible=draw.flag(), served_by=types_pb2.TIER_WARM if draw.flag() else types_pb2.TIER_HOT
    )
    made = CarriedResponse(expected, entry)
    expected.entry.CopyFrom(convert.entry(entry))
    assert pb.GetResponse.FromString(made.serialize()) == expected
