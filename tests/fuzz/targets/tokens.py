"""Page tokens and resume tokens. They may be refused with InvalidRequest, and a resume token with OutOfRange.

A token is taken only for the list, or the watcher, that it was made for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from sidecar.core.errors import InvalidRequest, OutOfRange
from sidecar.core.modes import Tier
from sidecar.core.paging import after_key, page_token
from sidecar.engine.watching.scope import Scope, Tokens
from sidecar.rpc import convert_dead, convert_outbox
from statesidecar.v1 import admin_service_pb2, outbox_service_pb2
from tests.fuzz.drawing import Draw

_SCOPE = Scope(namespace="session", key=None, prefix="a")
_TOKENS = Tokens(_SCOPE, Tier.WARM)


def seeds() -> Iterator[bytes]:
    yield b"\0" + page_token("session", "a", "key").encode()
    yield b"\1" + _TOKENS.encode(77).encode()
    yield b"\1" + _TOKENS.encode(77, [78, 90]).encode()
    yield b"\2\7session\1a\3abc"
    yield b"\3" + b"\1\7session\1a" + bytes(range(40))
    yield b"\4\7session\x051:234"


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 5:
        case 0:
            text = draw.rest().decode("utf-8", "surrogateescape")
            with suppress(InvalidRequest):
                after = after_key(text, "session", "a")
                assert after_key(page_token("session", "a", after), "session", "a") == after
        case 1:
            text = draw.rest().decode("utf-8", "surrogateescape")
            with suppress(InvalidRequest, OutOfRange):
                cursor, shown = _TOKENS.decode(text)
                assert 0 <= cursor < 1 << 64
                assert len(shown) * 8 <= len(text)
        case 2:
            _page(draw.text(), draw.text(), draw.text(), draw.rest().decode("utf-8", "replace"))
        case 3:
            _resume(draw)
        case _:
            _listings(draw)


def _page(namespace: str, prefix: str, after: str, other: str) -> None:
    token = page_token(namespace, prefix, after)
    assert after_key(token, namespace, prefix) == after
    for elsewhere in ((other, prefix), (namespace, other), (namespace + prefix, "")):
        if elsewhere != (namespace, prefix):
            with suppress(InvalidRequest):
                after_key(token, *elsewhere)
                raise AssertionError(elsewhere)


def _resume(draw: Draw) -> None:
    scope = Scope(namespace=draw.text(), key=draw.text() if draw.flag() else None, prefix=draw.text())
    cursor = draw.number(8)
    shown = sorted({draw.number(8) for _ in range(draw.number() % 8)})
    token = Tokens(scope, Tier.WARM).encode(cursor, shown)
    assert Tokens(scope, Tier.WARM).decode(token) == (cursor, tuple(one for one in shown if one > cursor))
    with suppress(OutOfRange):
        Tokens(scope, Tier.HOT).decode(token)
        raise AssertionError("another tier's token was taken")
    if scope != _SCOPE:
        with suppress(InvalidRequest):
            _TOKENS.decode(token)
            raise AssertionError("another watcher's token was taken")


def _listings(draw: Draw) -> None:
    """What is in a token of dead writes and of dead letters is of the daemon's making, but nobody may rely on it."""
    namespace, after = draw.text(), draw.text()
    for name, ask in (
        ("writes", lambda token: convert_dead.page(_dead_writes(namespace, token), ())),
        ("letters", lambda token: convert_outbox.after(_dead_letters(namespace, token))),
    ):
        for token in (page_token(f"dead {name}\n{namespace}", "", after), draw.text()):
            with suppress(InvalidRequest):
                ask(token)


def _dead_writes(namespace: str, token: str) -> admin_service_pb2.ListDeadWritesRequest:
    return admin_service_pb2.ListDeadWritesRequest(namespace=namespace, page_token=token)


def _dead_letters(namespace: str, token: str) -> outbox_service_pb2.ListDeadLettersRequest:
    return outbox_service_pb2.ListDeadLettersRequest(namespace=namespace, page_token=token)
