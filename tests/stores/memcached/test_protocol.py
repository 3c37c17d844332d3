"""Replies are read whatever pieces they come in, and what is no reply is never taken for one."""

from __future__ import annotations

import random

import pytest

from sidecar.stores.memcached import protocol
from sidecar.stores.memcached.protocol import Command, Parser, Reply, Violation

STREAM = (
    b"VA 5 c12 kkey O0\r\nab\r\nc\r\n"
    b"EN kkey O1\r\n"
    b"VA 0 c9 kother O2 W\r\n\r\n"
    b"HD kkey O3 c13\r\n"
    b"NS O4 kkey\r\nEX kkey O5\r\nNF kkey O6\r\n"
    b"SERVER_ERROR object too large for cache\r\n"
    b"STAT pid 7\r\nSTAT version 1.6.18 of us\r\nEND\r\nEND\r\n"
    b"VERSION 1.6.18\r\n"
)
REPLIES = [
    Reply(b"VA", b"ab\r\nc", 12, b"key", b"0"),
    Reply(b"EN", b"", 0, b"key", b"1"),
    Reply(b"VA", b"", 9, b"other", b"2"),
    Reply(b"HD", b"", 13, b"key", b"3"),
    Reply(b"NS", b"", 0, b"key", b"4"),
    Reply(b"EX", b"", 0, b"key", b"5"),
    Reply(b"NF", b"", 0, b"key", b"6"),
    Reply(b"SERVER_ERROR", b"object too large for cache"),
    Reply(b"END", stats={b"pid": b"7", b"version": b"1.6.18 of us"}),
    Reply(b"END", stats={}),
    Reply(b"VERSION", b"1.6.18"),
]


def parsed(pieces: list[bytes]) -> list[Reply]:
    parser = Parser(value_bytes_max=1 << 20)
    return [reply for piece in pieces for reply in parser.feed(piece)]


def test_replies_that_come_at_once() -> None:
    assert parsed([STREAM]) == REPLIES


def test_replies_that_come_byte_by_byte() -> None:
    assert parsed([STREAM[place : place + 1] for place in range(len(STREAM))]) == REPLIES


def test_replies_that_come_in_any_pieces() -> None:
    rng = random.Random(7)
    for _ in range(200):
        cuts = sorted(rng.sample(range(len(STREAM)), 6))
        assert parsed([STREAM[a:b] for a, b in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)]) == REPLIES


def test_a_large_value_in_pieces() -> None:
    value = bytes(range(256)) * 2000
    stream = b"VA %d c1 kk O0\r\n%b\r\nEN kk O1\r\n" % (len(value), value)

    pieces = [stream[place : place + 1448] for place in range(0, len(stream), 1448)]

    assert parsed(pieces) == [Reply(b"VA", value, 1, b"k", b"0"), Reply(b"EN", b"", 0, b"k", b"1")]


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"va 1\r\n",
        b"VA\r\n",
        b"VA -1 c1\r\n",
        b"VA +1 c1\r\n",
        b"VA 1_0 c1\r\n",
        b"VA 99999999999999999999999 c1\r\n",
        b"VA 1048577 c1 kk O0\r\n",
        b"VA 3 c1 kk O0\r\nabcd\r\n",
        b"VA 1 cx kk O0\r\na\r\n",
        b"HD c\r\n",
        b"STAT\r\n",
        b"x" * 3000,
        b"x" * 3000 + b"\r\n",
        b"".join(b"STAT %d x\r\n" % n for n in range(2001)),
    ],
    ids=lambda said: said[:24].decode(),
)
def test_what_is_no_reply_is_a_violation(said: bytes) -> None:
    with pytest.raises(Violation):
        parsed([said])


GET = protocol.get(b"key")


@pytest.mark.parametrize(
    ("reply", "command", "believed"),
    [
        (Reply(b"VA", b"v", 1, b"key", b"4"), GET, True),
        (Reply(b"EN", b"", 0, b"key", b"4"), GET, True),
        (Reply(b"SERVER_ERROR", b"out of memory"), GET, True),
        (Reply(b"VA", b"v", 1, b"key", b"5"), GET, False),
        (Reply(b"VA", b"v", 1, b"kez", b"4"), GET, False),
        (Reply(b"VA", b"v", 1, b"key", b""), GET, False),
        (Reply(b"EN"), GET, False),
        (Reply(b"HD", b"", 1, b"key", b"4"), GET, False),
        (Reply(b"ERROR"), GET, False),
        (Reply(b"CLIENT_ERROR", b"bad command line format"), GET, False),
        (Reply(b"END", stats={}), GET, False),
        (Reply(b"HD", b"", 1, b"key", b"4"), protocol.add(b"key", b"v", ttl_s=1), True),
        (Reply(b"EN", b"", 0, b"key", b"4"), protocol.add(b"key", b"v", ttl_s=1), False),
        (Reply(b"HD", b"", 0, b"key", b"4"), protocol.delete(b"key"), True),
        (Reply(b"NS", b"", 0, b"key", b"4"), protocol.delete(b"key"), False),
        (Reply(b"VERSION", b"1.6.18"), Command(b"version"), True),
        (Reply(b"ERROR"), Command(b"version"), True),
        (Reply(b"END", stats={}), Command(b"version"), False),
        (Reply(b"END", stats={}), Command(b"stats settings"), True),
    ],
)
def test_a_reply_is_believed_only_of_the_command_that_is_due(reply: Reply, command: Command, believed: bool) -> None:
    assert protocol.answers(reply, command, 4) is believed


def test_commands_as_they_are_written() -> None:
    commands = [
        protocol.get(b"a"),
        protocol.peek(b"a"),
        protocol.add(b"b", b"x\r\n", ttl_s=4),
        protocol.replace(b"b", b"", cas=9, ttl_s=1),
        protocol.delete(b"c"),
        protocol.delete(b"c", cas=8),
        Command(b"stats settings"),
    ]

    assert protocol.encode(commands, 10) == (
        b"mg a k O10 v c\r\n"
        b"mg a k O11 v c u\r\n"
        b"ms b 3 k O12 c ME T4\r\nx\r\n\r\n"
        b"ms b 0 k O13 c C9 T1\r\n\r\n"
        b"md c k O14\r\n"
        b"md c k O15 C8\r\n"
        b"stats settings\r\n"
    )
