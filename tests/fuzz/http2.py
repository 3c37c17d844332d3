"""HTTP/2 by hand, so that it can be wrong: frames (RFC 9113, 4.1) and header fields without compression (RFC 7541, 6.2.2)."""

from __future__ import annotations

from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4
ACK = 1

Fields = list[tuple[bytes, bytes]]


def frame(kind: int, flags: int, stream: int, payload: bytes, *, length: int | None = None) -> bytes:
    """A frame; `length`: what it says of its payload instead of the truth."""
    said = len(payload) if length is None else length
    return said.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def fields(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header fields, each a literal that is in no table."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)


def request(path: bytes, *more: tuple[bytes, bytes]) -> Fields:
    """The header fields of a gRPC call."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *more,
    ]


def headers(stream: int, pairs: Iterable[tuple[bytes, bytes]], *, end: bool = False) -> bytes:
    """A HEADERS frame with all fields in it."""
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, fields(pairs))


def message(body: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """gRPC's length-prefixed message, whose prefix may say something else."""
    return bytes([compressed]) + (len(body) if length is None else length).to_bytes(4, "big") + body


def _text(text: bytes) -> bytes:
    """A string: its length as an integer with a prefix of 7 bits (RFC 7541, 5.1), then itself."""
    size = len(text)
    if size < 127:
        return bytes([size]) + text
    size -= 127
    encoded = bytearray([127])
    while size >= 128:
        encoded.append(size % 128 | 128)
        size //= 128
    return bytes(encoded) + bytes([size]) + text
