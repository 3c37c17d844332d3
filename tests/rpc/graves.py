"""Dead writes that are kept in memory, and a server that tells them as a daemon's journal would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from sidecar.core.journal import Base, Buffered, Buffering, DeadWrite
from sidecar.core.operations import Change, Put, WriteId
from sidecar.rpc.admin_service import AdminService, DeadWriteAccess, DeadWrites
from sidecar.rpc.calls import Admission, Commits
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1.admin_service_pb2_grpc import add_AdminServiceServicer_to_server
from tests.support.clock import START_MS

WRITE_TIMEOUT_S = 5.0


def dead_write(sequence: int, operation: Put | Change | None = None, **fields: Any) -> DeadWrite:
    """A write that died a second after the one before it, unless `dead_time` says otherwise."""
    write = Buffering(
        namespace=fields.pop("namespace", "chat"),
        operation=operation or Put(key=f"key {sequence}", value=f"value {sequence}".encode()),
        request=WriteId(request_id=f"request {sequence}", fingerprint=b""),
        base=fields.pop("base", Base(version=7, value=b"base")),
        hlc=0,
        time=START_MS + sequence,
    )
    plain: dict[str, Any] = {"reason": "VERSION_MISMATCH", "message": "said no"}
    plain["dead_time"] = START_MS + 1000 * sequence
    return DeadWrite(buffered=Buffered(sequence=sequence, write=write), **plain | fields)


class Graves:
    """Dead writes by sequence. `redriven`: what was tried again, and how; `refused`: those that stay dead. `held` is awaited before anything is settled."""

    def __init__(self, *dead: DeadWrite) -> None:
        self.kept = {write.buffered.sequence: write for write in dead}
        self.redriven: list[tuple[list[int], bool]] = []
        self.discarded: list[list[int]] = []
        self.calls = 0
        self.refused: set[int] = set()
        self.held: asyncio.Event | None = None
        self.reached = asyncio.Event()
        self.error: Exception | None = None
        self.settled_before_error = 0

    def dead(self) -> Sequence[DeadWrite]:
        return list(self.kept.values())

    async def redrive(self, sequences: Sequence[int], *, overwrite: bool) -> int:
        count = await self._removed([sequence for sequence in sequences if sequence not in self.refused])
        self.redriven.append((list(sequences), overwrite))
        return count

    async def discard(self, sequences: Sequence[int]) -> int:
        count = await self._removed(sequences)
        self.discarded.append(list(sequences))
        return count

    async def _removed(self, sequences: Sequence[int]) -> int:
        self.calls += 1
        self.reached.set()
        if self.held is not None:
            await self.held.wait()
        count = 0
        for sequence in sequences:
            if self.error is not None and count == self.settled_before_error:
                raise self.error
            count += self.kept.pop(sequence, None) is not None
        return count


class Operated:
    """A served AdminService, with what it works on."""

    def __init__(self, graves: DeadWrites | None, report: Callable[[], pb.GetStatusResponse], timeout_s: float) -> None:
        self.admission = Admission(requests_max=10)
        self.commits = Commits(timeout_s)
        access = None
        if graves is not None:
            access = DeadWriteAccess(dead_writes=graves, admission=self.admission, commits=self.commits)
        self.service = AdminService(report, access)


@asynccontextmanager
async def serving(register: Callable[[grpc.aio.Server], None]) -> AsyncIterator[str]:
    """A server on a free port; its address."""
    server = grpc.aio.server()
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=None)


@asynccontextmanager
async def operated(
    graves: DeadWrites | None,
    report: Callable[[], pb.GetStatusResponse] = pb.GetStatusResponse,
    *,
    timeout_s: float = WRITE_TIMEOUT_S,
) -> AsyncIterator[tuple[str, Operated]]:
    """An AdminService over these dead writes, as a daemon serves it; its address. None: it has no journal."""
    served = Operated(graves, report, timeout_s)
    async with serving(lambda server: add_AdminServiceServicer_to_server(served.service, server)) as target:
        yield target, served
