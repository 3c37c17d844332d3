"""A process of its own that forks while its threads use a client: `python -m tests.client.forking TARGET KIND`.

KIND: `busy`, `idle`, or `asyncio`. Each child says what its calls came to, in a line; then the parent does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable

from statesidecar import AsyncStateClient, StateClient, StateSidecarError

CHILDREN = 4
CHILD_S = 20
"""What hangs is ended, and the parent says so."""


def main(target: str, kind: str) -> None:
    """Forks, and waits for the children."""
    client = StateClient(target)
    if kind == "asyncio":
        asyncio.run(_asyncio_parent(target))
        return
    client.set("process", "forked", b"v")
    stop = threading.Event()
    threads = [threading.Thread(target=_read, args=(client, stop)) for _ in range(8 if kind == "busy" else 0)]
    for thread in threads:
        thread.start()
    for _ in range(CHILDREN):
        _fork(lambda: _child(client, target))
    stop.set()
    for thread in threads:
        thread.join()
    _say("parent", client.get("process", "forked").value == b"v")
    client.close()


async def _asyncio_parent(target: str) -> None:
    async with AsyncStateClient(target) as client:
        await client.set("process", "forked", b"v")
        _fork(lambda: _child(StateClient(target), target))
        _say("parent", (await client.get("process", "forked")).value == b"v")


def _read(client: StateClient, stop: threading.Event) -> None:
    while not stop.is_set():
        client.get("process", "forked")


def _child(client: StateClient, target: str) -> bool:
    """The parent's client, then one of the child's own."""
    with StateClient(target) as other:
        found = [each.get("process", "forked").value == b"v" for each in (client, other) for _ in range(3)]
    client.close()
    return all(found)


def _fork(work: Callable[[], bool]) -> None:
    pid = os.fork()
    if pid == 0:
        signal.alarm(CHILD_S)
        try:
            _say("child", work())
        except StateSidecarError as error:
            _say("child", error.reason)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if status:
        _say("child", f"status {status}")


def _say(who: str, what: object) -> None:
    os.write(1, f"{who}: {what}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
