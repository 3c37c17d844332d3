"""Messages with a large value, without the copies that protobuf makes of it.

Of a request as it came, everything but the value is parsed as usual; a response is put together around its value. So a
value of 64 MiB is in memory once as it came or goes, and once as what the daemon works with.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

from sidecar.core.entry import Entry
from sidecar.core.operations import WriteId
from sidecar.rpc import convert
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2

CARRIED_BYTES = 1 << 20
"""What is smaller goes the usual way: its copies cost less than this does."""
_LENGTH_DELIMITED = 2
_FIXED = {1: 8, 5: 4}
"""Bytes of a field by its wire type."""
_VALUE_TAGS = {
    message: message.DESCRIPTOR.fields_by_name["value"].number << 3 | _LENGTH_DELIMITED
    for message in (pb.SetRequest, pb.CASRequest, types_pb2.Entry)
}
_ENTRY_TAG = pb.GetResponse.DESCRIPTOR.fields_by_name["entry"].number << 3 | _LENGTH_DELIMITED


class Carrying:
    """A Set or a CAS whose `value` is beside its `message`; anything else that is asked of it is the message's."""

    def __init__(self, message: pb.SetRequest | pb.CASRequest, value: bytes) -> None:
        self.message = message
        self.value = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name)

    def write_id(self) -> WriteId | None:
        """As `convert.write_id` makes it of the same request in one piece."""
        message = self.message
        if not message.request_id:
            return None
        head = type(message)(namespace=message.namespace, key=message.key).SerializeToString(deterministic=True)
        rest = message.SerializeToString(deterministic=True)[
            len(head) :
        ]  # fields are written in the order of their numbers
        digest = hashlib.blake2b(head + _header(_VALUE_TAGS[type(message)], len(self.value)), digest_size=16)
        digest.update(self.value)
        digest.update(rest + message.DESCRIPTOR.name.encode())
        return WriteId(request_id=message.request_id, fingerprint=digest.digest())


async def write_id(request: Any) -> WriteId | None:
    """A request's id with a digest of all that it asks for; a large value's is made in a thread."""
    if isinstance(request, Carrying):
        return await asyncio.to_thread(request.write_id)
    return convert.write_id(request, request.request_id)


def carrying(message: type[pb.SetRequest | pb.CASRequest]) -> Callable[[bytes], Any]:
    """A deserializer for requests of this type. Raises DecodeError."""
    tag = _VALUE_TAGS[message]

    def parse(raw: bytes) -> Any:
        if len(raw) < CARRIED_BYTES:
            return message.FromString(raw)
        try:
            begin, end, rest = _without(raw, tag)
        except (IndexError, ValueError):
            return message.FromString(raw)  # says what is wrong with it
        if end - begin < CARRIED_BYTES:
            return message.FromString(raw)
        return Carrying(message.FromString(rest), raw[begin:end])

    return parse


def _without(raw: bytes, wanted: int) -> tuple[int, int, bytes]:
    """Where the last field with a tag is, and all others. Raises IndexError or ValueError for what is no message."""
    view, position, begin, end = memoryview(raw), 0, 0, 0
    others: list[memoryview] = []
    while position < len(raw):
        start = position
        tag, position = _varint(raw, position)
        kind = tag & 7
        if kind == 0:
            _, position = _varint(raw, position)
        elif kind == _LENGTH_DELIMITED:
            size, position = _varint(raw, position)
            position += size
            if tag == wanted:
                begin, end = position - size, position
                continue
        else:
            position += _FIXED.get(kind) or len(raw) + 1
        others.append(view[start:position])
    if max(position, end) > len(raw):
        raise ValueError("it ends in the middle of a field")
    return begin, end, b"".join(others)


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while shift < 70:
        byte = raw[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    raise ValueError("a number that is too long")


class CarriedResponse:
    """A GetResponse around a large value. It is serialized once, and has let go of the value then."""

    def __init__(self, response: pb.GetResponse, entry: Entry) -> None:
        self.mode: Any = response.mode
        self._value = entry.value
        self._entry = convert.entry(entry._replace(value=b"")).SerializeToString()
        self._rest = response.SerializeToString()

    def serialize(self) -> bytes:
        """As the message in one piece would be, but for the order of its fields."""
        header = _header(_VALUE_TAGS[types_pb2.Entry], len(self._value))
        size = len(self._entry) + len(header) + len(self._value)
        parts = [self._rest, _header(_ENTRY_TAG, size), self._entry, header, self._value]
        self._value = b""
        return b"".join(parts)


def _header(tag: int, size: int) -> bytes:
    """What comes before a field's bytes."""
    return _encoded(tag) + _encoded(size)


def _encoded(number: int) -> bytes:
    """A varint."""
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _encoded(high) if high else bytes([low])


def _serialized(response: Any) -> bytes:
    made: bytes = response.serialize() if type(response) is CarriedResponse else response.SerializeToString()
    return made


PARSERS = {"Set": carrying(pb.SetRequest), "CAS": carrying(pb.CASRequest)}
SERIALIZERS = {"Get": _serialized}
METHODS = frozenset({"Set", "CAS", "Get", "BatchGet", "List", "Transact", "Connect"})
"""Methods of the StateService whose messages may be large."""
