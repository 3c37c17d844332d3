"""The sink of the relays under test: to the recorder, under the name of its owner."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from sidecar.core.sinks import UNTRIED as NOT_TRIED
from sidecar.core.sinks import Delivery, Receipt, Refused, SinkUnavailable
from tests.outbox.recorder import PERMANENT, REFUSED, TAKEN, UNTRIED

BATCH_MAX = 64
_RECEIPTS: dict[str, Receipt] = {
    TAKEN: None,
    REFUSED: Refused("not now"),
    PERMANENT: Refused("never", permanent=True),
    UNTRIED: NOT_TRIED,
}


def call_line(deliveries: Sequence[Delivery]) -> bytes:
    """A call as the recorder reads it."""
    rows = [
        [
            one.message.id,
            one.message.order,
            one.message.key,
            one.message.version,
            one.message.commit_time,
            one.message.topic,
            one.message.payload.decode(),
            one.attempt,
        ]
        for one in deliveries
    ]
    return json.dumps(rows, separators=(",", ":")).encode() + b"\n"


class RecorderSink:
    """A Sink. Calls are answered in their order, so that any number of them share the connection."""

    batch_max = BATCH_MAX

    def __init__(self, path: Path, owner: str) -> None:
        self._path = path
        self._owner = owner
        self._waiting: deque[asyncio.Future[str]] = deque()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, once."""
        if self._writer is None:
            reader, self._writer = await asyncio.open_unix_connection(str(self._path))
            self._writer.write(self._owner.encode() + b"\n")
            self._reading = asyncio.get_running_loop().create_task(self._read(reader))

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        """Have them recorded."""
        assert self._writer is not None, "it was opened"
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._writer.write(call_line(deliveries))
        return [_RECEIPTS[letter] for letter in await answer]

    async def close(self) -> None:
        """Disconnect."""
        writer, self._writer = self._writer, None
        if writer is not None and self._reading is not None:
            writer.close()
            await self._reading

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_result(line[:-1].decode())
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(SinkUnavailable("the recorder has gone"))
