"""Replies of memcached, and the items that they bring. A reply may be a Violation; an item that does not verify is none.

However replies are cut into pieces, they are the same; what waits for more bytes is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from zlib import crc32

from sidecar.core.entry import Copy
from sidecar.stores.memcached import items, protocol
from sidecar.stores.memcached.protocol import Parser, Reply, Violation
from tests.fuzz.drawing import Draw

_VALUE_BYTES_MAX = 20
_FIRST = re.compile(rb"VA ([0-9]{1,20})( [^\r\n]*)?\r\n")
_COMMANDS = [
    protocol.get(b"k1"),
    protocol.add(b"k1", b"v", ttl_s=1),
    protocol.delete(b"k1"),
    protocol.Command(b"version"),
    protocol.Command(b"stats"),
]


def seeds() -> Iterator[bytes]:
    yield b"\0\3\5VA 5 kk1 O0 c77\r\nhello\r\nEN kk1 O1\r\n"
    yield b"\0\1\1HD kk1 O0 c1\r\nNS kk1 O1\r\nEX\r\nNF\r\n"
    yield b"\0\x20\3STAT pid 1\r\nSTAT version 1.6\r\nEND\r\nVERSION 1.6.38\r\nSERVER_ERROR out of memory\r\n"
    for kind in range(4):
        yield b"\1" + bytes([kind]) + bytes(range(200))
    yield b"\2" + items.placeholder("session", "key", generation=1, deadline=2)
    yield b"\3\3" + bytes(24) + b"\7\0\3\0sessionkey" + bytes(32) + b"\0\0\2\0\0\0{}value"


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 4:
        case 0:
            _replies(draw)
        case 1:
            _round_trip(draw)
        case 2:
            items.read(draw.rest(), "session", "key")
        case _:
            # A checksum that fits: it is there against accidents, and anyone can make one.
            kind, body = draw.number() % 5, draw.rest()
            items.read(bytes([items.FORMAT, kind]) + crc32(body, kind).to_bytes(4, "little") + body, "session", "key")


def _replies(draw: Draw) -> None:
    step, number, stream = draw.number() + 1, draw.number(), draw.rest()
    whole, pieces = _fed(stream, len(stream) or 1), _fed(stream, step)
    assert whole == pieces or (whole is None) == (pieces is None), (whole, pieces)
    said = _FIRST.match(stream)
    assert not said or int(said[1]) <= _VALUE_BYTES_MAX or whole is None, "a value that is too large was waited for"
    for reply in whole or ():
        for command in _COMMANDS:
            if protocol.answers(reply, command, number) and command.key and reply.code != protocol.SERVER_ERROR:
                assert (reply.key, reply.number) == (b"k1", b"%d" % number)


def _fed(stream: bytes, step: int) -> list[Reply] | None:
    """The replies; None: a violation."""
    parser, replies = Parser(value_bytes_max=_VALUE_BYTES_MAX), list[Reply]()
    try:
        for at in range(0, len(stream), step):
            replies += parser.feed(stream[at : at + step])
            assert len(parser._buffer) <= max(protocol.LINE_BYTES_MAX, 64 + _VALUE_BYTES_MAX) + step + 64
    except Violation:
        return None
    assert all(len(reply.value) <= max(_VALUE_BYTES_MAX, protocol.LINE_BYTES_MAX) for reply in replies)
    return replies


def _round_trip(draw: Draw) -> None:
    kind, namespace, key = draw.number() % 4, draw.text(), draw.text()
    generation, end = draw.number(7), draw.maybe_time()
    if kind == items.PLACEHOLDER:
        made = items.placeholder(namespace, key, generation=generation, deadline=draw.time())
        found = items.read(made, namespace, key)
        assert isinstance(found, items.Placeholder)
        assert found.generation == generation
    else:
        copy: Copy | None = None
        if kind == items.ENTRY:
            copy = draw.entry(namespace, key)
            end = copy.expire_time
        elif kind == items.TOMBSTONE:
            copy = draw.tombstone(namespace, key)
        made = items.held(namespace, key, copy, generation=generation, end=end)
        held = items.read(made, namespace, key)
        assert isinstance(held, items.Held)
        assert (held.copy, held.generation) == (copy, generation)
    assert items.read(made, namespace + "x", key) is None
    spoilt = draw.edited(made)
    assert spoilt == made or items.read(spoilt, namespace, key) is None or len(spoilt) != len(made)
