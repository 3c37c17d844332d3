"""Memcached's meta commands as bytes, and its replies read strictly. Nothing here does I/O.

(The protocol: doc/protocol.txt of memcached, section "Meta Commands".)

A reply is believed only if it is of a form that its command can have, and repeats the command's key (`k`) and number
(`O`). Servers from 1.6.18 repeat both in every reply, misses included; only error lines have neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LINE_BYTES_MAX = 2048
STATS_MAX = 2000

VALUE, DONE, MISSING = b"VA", b"HD", b"EN"
NOT_STORED, CHANGED, NOT_FOUND = b"NS", b"EX", b"NF"
VERSION, STATS = b"VERSION", b"END"
ERROR, CLIENT_ERROR, SERVER_ERROR = b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"

_CODES = {
    b"mg": {VALUE, MISSING},
    b"ms": {DONE, NOT_STORED, CHANGED, NOT_FOUND},
    b"md": {DONE, CHANGED, NOT_FOUND},
    b"version": {VERSION, ERROR, CLIENT_ERROR},
    b"stats": {STATS},
    b"stats settings": {STATS},
}
_STATUS = {DONE, MISSING, NOT_STORED, CHANGED, NOT_FOUND}


class Violation(Exception):
    """What came is no reply of memcached, or not to what was asked."""


class Command(NamedTuple):
    """A command; without a key it is one of the old protocol."""

    verb: bytes
    key: bytes = b""
    flags: bytes = b""
    value: bytes | None = None


class Reply(NamedTuple):
    """A reply: its code and what came with it. `value` of an error is its text."""

    code: bytes
    value: bytes = b""
    cas: int = 0
    key: bytes = b""
    number: bytes = b""
    stats: dict[bytes, bytes] | None = None


def get(key: bytes) -> Command:
    """Value and CAS unique of an item."""
    return Command(b"mg", key, b" v c")


def peek(key: bytes) -> Command:
    """As `get`, but it is no use of the item that would keep it from eviction."""
    return Command(b"mg", key, b" v c u")


def add(key: bytes, value: bytes, *, ttl_s: int) -> Command:
    """Store where there is nothing; the reply has the new CAS unique. `ttl_s` 0: for ever."""
    return Command(b"ms", key, b" c ME T%d" % ttl_s, value)


def replace(key: bytes, value: bytes, *, cas: int, ttl_s: int) -> Command:
    """Store in the place of the very item with that CAS unique."""
    return Command(b"ms", key, b" c C%d T%d" % (cas, ttl_s), value)


def delete(key: bytes, *, cas: int | None = None) -> Command:
    """Remove an item, or only the very item with that CAS unique."""
    return Command(b"md", key, b"" if cas is None else b" C%d" % cas)


def encode(commands: Sequence[Command], number: int) -> bytes:
    """Commands numbered from `number` on, for one write."""
    parts: list[bytes] = []
    for offset, (verb, key, flags, value) in enumerate(commands):
        if not key:
            parts.append(b"%b\r\n" % verb)
        elif value is None:
            parts.append(b"%b %b k O%d%b\r\n" % (verb, key, number + offset, flags))
        else:
            parts += (b"%b %b %d k O%d%b\r\n" % (verb, key, len(value), number + offset, flags), value, b"\r\n")
    return b"".join(parts)


def answers(reply: Reply, command: Command, number: int) -> bool:
    """Whether a reply can be the one to a command."""
    if reply.code == SERVER_ERROR:
        return True
    if reply.code not in _CODES[command.verb]:
        return False
    return not command.key or (reply.key == command.key and reply.number == b"%d" % number)


class Parser:
    """Replies out of bytes as they come, in order. Holds at most one incomplete reply."""

    def __init__(self, *, value_bytes_max: int) -> None:
        self.value_bytes_max = value_bytes_max
        self._buffer = bytearray()
        self._wanted = 0
        self._stats: dict[bytes, bytes] = {}

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are complete now. Raises Violation."""
        buffer = self._buffer
        buffer += data
        replies: list[Reply] = []
        start = 0
        while len(buffer) - start >= self._wanted:
            end = buffer.find(b"\r\n", start, start + LINE_BYTES_MAX)
            if end < 0:
                if len(buffer) - start >= LINE_BYTES_MAX:
                    raise Violation(_quoted(buffer[start : start + LINE_BYTES_MAX]))
                break
            line = bytes(buffer[start:end])
            code, *tokens = line.split(b" ")
            if code == VALUE:
                size = _number(tokens.pop(0) if tokens else b"", line)
                if size > self.value_bytes_max:
                    raise Violation(f"a value of {size} bytes")
                begin, end = end + 2, end + 2 + size
                if len(buffer) < end + 2:
                    self._wanted = end + 2 - start
                    break
                self._wanted = 0
                if buffer[end : end + 2] != b"\r\n":
                    raise Violation("a value of another length than it said")
                replies.append(_flagged(code, tokens, bytes(memoryview(buffer)[begin:end]), line))
            elif code in _STATUS:
                replies.append(_flagged(code, tokens, b"", line))
            elif code == b"STAT":
                self._note(tokens, line)
            else:
                replies.append(self._plain(code, line))
            start = end + 2
        del buffer[:start]
        return replies

    def _note(self, tokens: list[bytes], line: bytes) -> None:
        if not tokens or len(self._stats) >= STATS_MAX:
            raise Violation(_quoted(line))
        self._stats[tokens[0]] = b" ".join(tokens[1:])

    def _plain(self, code: bytes, line: bytes) -> Reply:
        if code == STATS:
            stats, self._stats = self._stats, {}
            return Reply(code, stats=stats)
        if code in (VERSION, ERROR, CLIENT_ERROR, SERVER_ERROR):
            return Reply(code, line[len(code) + 1 :])
        raise Violation(_quoted(line))


def _flagged(code: bytes, tokens: list[bytes], value: bytes, line: bytes) -> Reply:
    key = number = b""
    cas = 0
    for token in tokens:
        match token[:1]:
            case b"k":
                key = token[1:]
            case b"O":
                number = token[1:]
            case b"c":
                cas = _number(token[1:], line)
            case _:
                pass
    return Reply(code, value, cas, key, number)


def _number(token: bytes, line: bytes) -> int:
    if not token.isdigit() or len(token) > 20:
        raise Violation(_quoted(line))
    return int(token)


def _quoted(line: bytes | bytearray) -> str:
    return ascii(bytes(line[:40]).decode("latin-1"))
