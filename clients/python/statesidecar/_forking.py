"""Forks of a process that has clients: a child gets connections of its own, or is told why it can't.

gRPC survives a fork only with GRPC_ENABLE_FORK_SUPPORT=1, set before it is first imported, and only if no thread is in its
core at that moment. Else whatever is called in the child may wait forever. So the child of a process with open connections
raises where it would connect, unless there is that support and no call was under way. What was closed before does no harm.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import Any, Final, Protocol
from weakref import WeakSet

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # has no stubs

from statesidecar.errors import InvalidRequest

_QUIET_S: Final = 0.001
"""A thread that has just sent or received is in gRPC's core for some microseconds more."""


class Forked(Protocol):
    """What takes part in forks."""

    def _locks(self) -> Iterable[Any]:
        """In the order in which they are taken. Whoever sends or receives, has one in between."""
        ...

    def _forked(self) -> None:
        """In the child: what was there is the parent's."""
        ...


_clients: Final[WeakSet[Any]] = WeakSet()
_open: Final[WeakSet[Any]] = WeakSet()
_open_asyncio: Final[WeakSet[Any]] = WeakSet()
_forking: Final = threading.Lock()
_held: Final[list[Any]] = []
_parents: Final[list[Any]] = []
"""Connections of the process that this one was forked from: never collected, since their end would be the parent's, too."""
_why: Final[list[str]] = []


def joins(client: Forked) -> None:
    """Told of forks from now on, as long as it lives."""
    _clients.add(client)


def check() -> None:
    """Before a connection is made. Raises InvalidRequest (CLIENT_FORKED) if it could never be used."""
    if _why:
        raise InvalidRequest("CLIENT_FORKED", _why[0])


def opened(connection: Any, *, asyncio: bool) -> None:
    """It is one of this process's, until it is `closed` or collected."""
    (_open_asyncio if asyncio else _open).add(connection)


def closed(connection: Any) -> None:
    """It is no more."""
    _open.discard(connection)
    _open_asyncio.discard(connection)


def _supported() -> bool:
    return bool(cygrpc.is_fork_support_enabled())  # What gRPC read when it was imported, not what the variable is now


def _before() -> None:
    _forking.acquire()
    for client in list(_clients):
        for lock in client._locks():  # noqa: SLF001  # for this module alone
            lock.acquire()
            _held.append(lock)
    if _open and _supported():
        time.sleep(_QUIET_S)


def _after() -> None:
    while _held:
        _held.pop().release()
    _forking.release()


def _in_child() -> None:
    _parents.extend([*_open, *_open_asyncio])
    if _open_asyncio:
        _why.append(
            "the process was forked while an asyncio client was connected, which gRPC does not survive: "
            "close it before the fork, or use the start method spawn or forkserver"
        )
    elif _open and not _supported():
        _why.append(
            "the process was forked while a client was connected, which gRPC does not survive by itself: set "
            "GRPC_ENABLE_FORK_SUPPORT=1 before it is imported, or close clients before the fork, or use the start method "
            "spawn or forkserver"
        )
    elif any(connection.in_flight for connection in _open):
        _why.append(
            "the process was forked while a call of another thread was under way, which gRPC may not survive: let calls and "
            "watches end before the fork, or use the start method spawn or forkserver"
        )
    _open.clear()
    _open_asyncio.clear()
    clients = list(_clients)
    _after()
    for client in clients:
        client._forked()  # noqa: SLF001  # as above


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
