"""Calls of the AWS library, each in a thread of a bounded pool. The only module that imports it.

When the backend is away the gate closes: whatever waits for a thread is told at once what the last call met, and nobody
asks again until the table was prepared anew. So a backend that hangs costs one timeout, not one a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import sidecar
from sidecar.core.errors import LimitExceeded
from sidecar.core.observed import Pool
from sidecar.core.ports import Clock
from sidecar.stores.dynamodb.errors import CallFailed, classify, twin
from sidecar.stores.dynamodb.target import DynamoTarget

THREADS = 16
"""Calls at the same time, and connections kept."""
RETRIES_MAX = 6
"""Of a call that was throttled, or a read whose connection was lost; with `_PAUSE_S` half a second in all."""
_PAUSE_S = 0.01

Reply = dict[str, Any]


class Client:
    """DynamoDB's operations as coroutines. A call takes at most half of `timeout_s`: what failed can still be settled."""

    def __init__(self, target: DynamoTarget, clock: Clock, *, timeout_s: float, queue_max: int) -> None:
        self.target = target
        self.timeout_s = timeout_s
        self.last_reply_time = 0.0
        """When a call was last answered, by the monotonic clock."""
        self.failure: CallFailed | None = None
        """Why the gate is closed."""
        self._clock = clock
        self._queue_max = queue_max
        self._waiting = 0
        self._library: Any = None
        self._library_lock = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="dynamodb")

    @property
    def pool(self) -> Pool:
        """The threads, each of which keeps a connection."""
        in_use = min(self._waiting, THREADS)
        started = len(self._threads._threads)  # noqa: SLF001  # the executor tells it in no other way
        return Pool(
            in_use=in_use, idle=max(started - in_use, 0), size_max=THREADS, waiting=max(self._waiting - in_use, 0)
        )

    async def call(self, operation: str, *, through_gate: bool = False, **parameters: Any) -> Reply:
        """One call, once. Raises CallFailed, and LimitExceeded when `queue_max` calls wait."""
        if self._waiting >= self._queue_max:
            raise LimitExceeded(f"{self._waiting} calls are waiting for DynamoDB; nothing was written")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._call, operation, through_gate, parameters)
        finally:
            self._waiting -= 1

    async def ask(self, operation: str, *, resend: bool = True, **parameters: Any) -> Reply:
        """A call, again after it was throttled, and with `resend` after its connection was lost. Raises SidecarError."""
        for attempt in range(RETRIES_MAX):
            try:
                return await self.call(operation, **parameters)
            except CallFailed as failed:
                again = failed.throttled or (resend and failed.lost and attempt == 0)
                if not again or attempt == RETRIES_MAX - 1:
                    raise twin(failed.error) from failed
            await pause(attempt)
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Let the calls end, and the connections go. Idempotent."""
        await asyncio.shield(asyncio.to_thread(self._threads.shutdown))
        if self._library is not None:
            self._library.close()
            self._library = None

    # In a thread.

    def _call(self, operation: str, through_gate: bool, parameters: Mapping[str, Any]) -> Reply:
        if self.failure is not None and not through_gate:
            raise CallFailed(twin(self.failure.error), self.failure.code)
        try:
            reply: Reply = getattr(self._connected(), operation)(**parameters)
        except Exception as exc:
            failed = classify(exc, self.target)
            if failed.away:
                self.failure = failed
            if failed.setup:
                self._library = None  # it keeps the credentials that it was made with, or their absence
            raise failed from exc
        self.last_reply_time = self._clock.monotonic()
        return reply

    def _connected(self) -> Any:
        with self._library_lock:
            if self._library is None:
                self._library = _connect(self.target, self.timeout_s / 2)
            return self._library


def _connect(target: DynamoTarget, timeout_s: float) -> Any:
    # Slow to import (0.1 s) and to make (0.1 s), and nobody needs it unless a dynamodb:// URL says so.
    import botocore.config  # type: ignore[import-untyped]  # noqa: PLC0415  # it has no stubs
    import botocore.session  # type: ignore[import-untyped]  # noqa: PLC0415

    session = botocore.session.Session(profile=target.profile)
    session.register_component("data_loader", _models())
    return session.create_client(
        "dynamodb",
        region_name=target.region,
        endpoint_url=target.endpoint_url,
        config=botocore.config.Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            # Only the caller knows whether a call may be repeated.
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=THREADS,
            parameter_validation=False,
            tcp_keepalive=True,
            user_agent_extra=f"state-sidecar/{sidecar.__version__}",
        ),
    )


@cache
def _models() -> Any:
    """The service's description as read from the library's files, once a process."""
    import botocore.loaders  # type: ignore[import-untyped]  # noqa: PLC0415

    return botocore.loaders.create_loader()


async def pause(attempt: int) -> None:
    """Before another attempt: twice as long each time, and not at the same moment as others (full jitter)."""
    longest = _PAUSE_S * 2 ** min(attempt, 5)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(random.uniform(0, longest)):  # noqa: S311  # no secret
            await asyncio.Event().wait()
