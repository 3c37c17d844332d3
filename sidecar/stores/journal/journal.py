"""FileJournal: buffered writes in append-only files, of one process at a time.

<directory>/lock                     who has it open
<directory>/<ordinal>.journal        segments, see `segment.py`; what is safe in a crash, see `log.py`
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from sidecar.core.errors import KeyAway, OutcomeUnknown, SidecarError, StoreUnavailable
from sidecar.core.journal import Buffered, Buffering, DeadWrite, Settlement
from sidecar.core.sealing import Sealer
from sidecar.stores.disk import sync_directory
from sidecar.stores.journal.contents import Contents
from sidecar.stores.journal.errors import not_open, unavailable
from sidecar.stores.journal.log import Log
from sidecar.stores.journal.records import Buried, Removed
from sidecar.stores.journal.scribe import Scribe
from sidecar.stores.journal.sealing import NAMESPACE

SEGMENT_BYTES = 8 << 20
QUEUE_MAX = 10_000

T = TypeVar("T")


class FileJournal:
    """The journal of one daemon; `bytes_max` bounds what it holds, in bytes of the writes' records.

    On disk it takes at most twice what it holds, and three segments of `segment_bytes`, and what sealing adds to each
    record, where there is a `sealer`. `queue_max` appends may wait.

    Beyond the port: `append` raises OutcomeUnknown when the disk fails in a way that neither keeps the write for certain
    nor lets it be undone. It may then be found as pending after a restart.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bytes_max: int,
        segment_bytes: int = SEGMENT_BYTES,
        queue_max: int = QUEUE_MAX,
        sealer: Sealer | None = None,
    ) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._queue_max = queue_max
        self._sealer = sealer
        self._log = Log(directory, segment_bytes=segment_bytes)
        self._contents = Contents({}, 1)
        self._scribe: Scribe | None = None
        self._lock: int | None = None

    @property
    def bytes_held(self) -> int:
        """What pending and dead writes take."""
        return self._contents.bytes_held

    def pending(self) -> Sequence[Buffered]:
        """Writes that are not settled, in their order."""
        return self._contents.pending()

    def dead(self) -> Sequence[DeadWrite]:
        """Writes that were settled as dead and not removed, oldest settlement first."""
        return self._contents.dead()

    async def open(self) -> None:
        """Find what was left. Raises StoreUnavailable, also while another has it open, StoreCorrupt; what opening raises."""
        if self._scribe is not None:
            return
        if self._sealer is not None:
            self._log.codec = await self._sealer.codec(NAMESPACE)
        opened = False
        while not opened:
            try:
                await asyncio.to_thread(self._open)
                opened = True
            except KeyAway as exc:
                assert self._sealer is not None, "nothing else has keys"
                await self._sealer.fetch(exc.namespace, exc.sealed)
            except OSError as exc:
                raise unavailable(exc) from exc
        self._contents = Contents(self._log.live, self._log.next_sequence)
        self._scribe = Scribe(self._log, queue_max=self._queue_max)

    async def append(self, write: Buffering) -> Buffered:
        """Keep a write; durable when this returns. Raises LimitExceeded, StoreUnavailable, OutcomeUnknown."""
        scribe = self._opened()
        scribe.admit()
        if self._sealer is not None:
            await self._sealer.codec(NAMESPACE)  # a data key that has done its time is replaced
        contents = self._contents
        written = contents.admit(write, bytes_max=self._bytes_max)
        future: asyncio.Future[Buffered] = asyncio.get_running_loop().create_future()

        def done(error: SidecarError | None) -> None:
            # Also when the caller has gone: the write is in the journal all the same.
            if error is not None:
                contents.refused(written)
                _settle(future, error)
            else:
                _settle(future, contents.kept(written))

        scribe.submit(written, done)
        return await future

    async def settle(self, sequence: int, settlement: Settlement) -> None:
        """A pending write was applied or merged. A crash may forget this. Raises ValueError if it isn't pending."""
        scribe = self._opened()
        scribe.submit(self._contents.settle(sequence, settlement), _nobody_waits)

    async def bury(self, sequence: int, *, reason: str, message: str, now: int) -> None:
        """A pending write is dead; durable when this returns. Raises StoreUnavailable, ValueError if it isn't pending."""
        scribe = self._opened()
        contents = self._contents
        record = contents.dig(sequence, reason=reason, message=message, now=now)

        def done(error: SidecarError | None) -> None:
            if error is None:
                contents.buried(record)
            else:
                contents.not_buried(record)

        await _written(scribe, record, done)

    async def remove(self, sequence: int) -> None:
        """Forget a dead write; durable when this returns. Without effect on one that is none. Raises StoreUnavailable."""
        scribe = self._opened()
        contents = self._contents
        if contents.is_dead(sequence):
            await _written(scribe, Removed(sequence=sequence), partial(_remove, contents, sequence))

    async def close(self) -> None:
        """Finish what was accepted, and let go. Idempotent."""
        if self._scribe is not None:
            scribe, self._scribe = self._scribe, None
            scribe.stop()
            await asyncio.to_thread(scribe.join)
        self._unlock()

    def _opened(self) -> Scribe:
        if self._scribe is None:
            raise not_open()
        return self._scribe

    # In a thread.

    def _open(self) -> None:
        self._make_directory()
        self._take_lock()
        try:
            self._log.open()
        except BaseException:
            self._log.close()
            self._unlock()
            raise

    def _make_directory(self) -> None:
        if not self._directory.is_dir():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(self._directory.parent)

    def _take_lock(self) -> None:
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StoreUnavailable(
                f"the journal {self._directory} is in use by another process: stop it, or choose another data_dir"
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        self._lock = descriptor

    def _unlock(self) -> None:
        if self._lock is not None:
            descriptor, self._lock = self._lock, None
            os.close(descriptor)


async def _written(scribe: Scribe, record: Buried | Removed, heard: Callable[[SidecarError | None], None]) -> None:
    """Until a record is durable. `heard` hears of it also when the caller has gone. Raises StoreUnavailable."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: SidecarError | None) -> None:
        heard(error)
        if isinstance(error, OutcomeUnknown):
            # Nothing depends on it but what is found after a restart: it counts as not done, and may be done again.
            _settle(future, StoreUnavailable(error.message))
        else:
            _settle(future, error)

    scribe.submit(record, done)
    await future


def _settle(future: asyncio.Future[T], answer: T | SidecarError) -> None:
    """Give the answer to who waits; who has gone is no matter."""
    if future.done():
        return
    if isinstance(answer, SidecarError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _remove(contents: Contents, sequence: int, error: SidecarError | None) -> None:
    if error is None:
        contents.remove(sequence)


def _nobody_waits(_: SidecarError | None) -> None:
    """The scribe keeps what it could not write, and writes it with what comes next."""
