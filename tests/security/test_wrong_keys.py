"""The short pass of `wrong_keys`; and adapters that are wrong on purpose, which it has to catch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from sidecar.stores.postgres import reads
from sidecar.stores.postgres.readers import Reader, Readers
from sidecar.stores.postgres.wire import Session
from sidecar.stores.redis.connection import Connection
from tests.security.wrong_keys import SUBJECTS, run

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_nobody_gets_another_keys_reply(subject: str) -> None:
    tally = await run(subject, 7_000, seed=1)

    assert tally.wrong == []
    assert tally.counts.total() == 7_000
    assert tally.cut > 0.05
    assert tally.counts["answered"] > 3_500, "most are answered, or nothing was tried"


@pytest.mark.parametrize("subject", ["redis-cache", "redis-store"])
async def test_a_connection_that_forgets_who_was_cancelled_is_caught(
    subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in CVE-2023-28858: the reply of a cancelled call goes to the next one."""
    right = Connection._send

    def forgetful(self: Connection, data: bytes, waiting: Any) -> None:
        right(self, data, waiting)

        def forget(future: asyncio.Future[Any]) -> None:
            if future.cancelled() and waiting in self._waiting:
                self._waiting.remove(waiting)

        waiting[0].add_done_callback(forget)

    monkeypatch.setattr(Connection, "_send", forgetful)
    assert (await run(subject, 3_000, seed=1)).wrong


async def test_a_session_that_goes_back_to_the_others_after_a_cancel_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pools do whose connections are closed by nobody when their user is cancelled: the next one gets the late rows."""
    idle: asyncio.Queue[int] = asyncio.Queue()
    for number in range(2):
        idle.put_nowait(number)
    right = Session.exchange

    async def left_open(self: Session, calls: Any, *, timeout_s: float | None = None) -> Any:
        self.close = lambda: None  # type: ignore[method-assign]  # for as long as this takes
        try:
            return await right(self, calls, timeout_s=timeout_s)
        finally:
            del self.close  # the class's is there again

    async def pooled(self: Readers, namespace: str, keys: Sequence[str], _: float | None) -> Any:
        number = await idle.get()
        try:
            reader = Reader(await self._session(number), self._connector, self._bounds)
            pairs = [(namespace.encode(), key.encode()) for key in keys]
            (rows,) = await reader.ask([reads.get_call(reader.queries, pairs)])
        finally:
            idle.put_nowait(number)
        return reads.copies(namespace, keys, {row[:2]: row[2:] for row in rows}, reader.now)

    monkeypatch.setattr(Session, "exchange", left_open)
    monkeypatch.setattr(Readers, "get", pooled)
    assert (await run("postgres", 2_000, seed=1)).wrong
