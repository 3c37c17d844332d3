"""The audit log: events from the daemon's calls, written by a thread of its own, to a file or to the daemon's log.

A flood of one kind from one caller is counted instead of written, so that it neither fills the disk nor turns older lines
out of it. Who records never waits: when the disk can't take more, calls go on, and what was lost is counted, and written as
such once it can again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from sidecar.core.audit import AuditEvent, AuditKind
from sidecar.core.ports import Clock
from sidecar.runtime.audit_file import AuditFile, Broken
from sidecar.runtime.settings_security import AuditSettings

log = logging.getLogger(__name__)

LOGGED = "-"
"""The file that stands for the daemon's own log."""
WAITING_MAX = 4096
BATCH = 256
RETRY_S = 1.0
WINDOW_S = 60.0
REFUSALS_PER_WINDOW = 30
"""Written of one kind, identity and reason in a window, where anybody can cause them."""
ACTS_PER_WINDOW = 600
"""The same of what only an operator can cause."""
_KINDS = frozenset(kind.value for kind in AuditKind)
"""Other records are the log's own."""
_REFUSALS = frozenset({AuditKind.DENIED, AuditKind.TAMPERING})
TEXT_CHARACTERS_MAX = 200
DETAILS_MAX = 8
CALLERS_MAX = 1024
"""Pairs that are told apart in a window; what comes beyond them counts as one."""
_Caller = tuple[AuditKind, str, str]
_OTHERS = (AuditKind.DENIED, "", "")


class AuditSink(Protocol):
    """Where records go. Called by one thread."""

    def open(self) -> None:
        """Begin. Raises StartError."""

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Keep records. Raises OSError or Broken."""

    def close(self) -> None:
        """Let go. Idempotent."""


class LoggedAudit:
    """Records as lines of the daemon's log, whatever its level is."""

    def __init__(self) -> None:
        self._log = logging.getLogger("sidecar.audit")

    def open(self) -> None:
        """From now on."""
        self._log.setLevel(logging.INFO)

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """A line each."""
        for record in records:
            self._log.info("%s", json.dumps(record))

    def close(self) -> None:
        """Nothing."""


class AuditLog:
    """Implements `core.audit.Audit`. `start` once, then `stop`. Safe to use from threads."""

    def __init__(self, sink: AuditSink, *, clock: Clock, window_s: float = WINDOW_S) -> None:
        self.recorded = 0
        """Events that are written."""
        self.suppressed = 0
        """Events that are only counted, because there were too many of their kind."""
        self.dropped = 0
        """Events that are lost: the sink failed, or could not keep up."""
        self._sink = sink
        self._clock = clock
        self._window_s = window_s
        self._window_end_s = 0.0
        self._seen: Counter[_Caller] = Counter()
        self._lost = 0
        self._lock = threading.Lock()
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(WAITING_MAX)
        """None: it is to stop."""
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
        self._stopping = threading.Event()
        self._failing = False

    async def start(self) -> None:
        """Begin to write. Raises StartError when it can't be."""
        await asyncio.to_thread(self._sink.open)
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits, and end. Idempotent; also undoes a start that failed."""
        self._stopping.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._waiting.put, None)
            await asyncio.to_thread(self._thread.join)
        self._sink.close()

    def record(self, event: AuditEvent) -> None:
        """Keep one, soon."""
        with self._lock:
            if not self._admitted(event):
                self.suppressed += 1
                return
        try:
            self._waiting.put_nowait(_record(event, self._clock))
        except queue.Full:
            with self._lock:
                self.dropped += 1
                self._lost += 1

    def _admitted(self, event: AuditEvent) -> bool:
        """Whether it is written: the first of a window wake the thread, which sums up the others when it is over."""
        now = self._clock.monotonic()
        if not self._seen:
            self._window_end_s = now + self._window_s
        caller: _Caller = (event.kind, event.identity, event.reason)
        if caller not in self._seen and len(self._seen) >= CALLERS_MAX:
            caller = _OTHERS
        self._seen[caller] += 1
        return self._seen[caller] <= _allowed(caller)

    def _write(self) -> None:
        while True:
            records = self._batch()
            ending = self._stopping.is_set() and self._waiting.empty()
            records += self._summary(ending=ending)
            try:
                if records:
                    self._append(records)
            except Exception:
                log.exception("bug in the audit log", extra={"records": len(records)})
            if ending:
                return

    def _batch(self) -> list[dict[str, Any]]:
        """What waits; empty when it is time for a summary."""
        with self._lock:
            left_s = max(self._window_end_s - self._clock.monotonic(), 0.0) if self._seen else None
        taken: list[dict[str, Any] | None] = []
        try:
            taken.append(self._waiting.get(timeout=left_s))
            while len(taken) < BATCH:
                taken.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return [one for one in taken if one is not None]

    def _summary(self, *, ending: bool) -> list[dict[str, Any]]:
        """What was only counted in a window that is over, and what was lost."""
        told: list[dict[str, Any]] = []
        with self._lock:
            if self._seen and (ending or self._clock.monotonic() >= self._window_end_s):
                for caller, count in self._seen.items():
                    if (over := count - _allowed(caller)) > 0:
                        told.append(self._own("suppressed", over, caller))
                self._seen.clear()
            if self._lost:
                told.append(self._own("lost", self._lost))
                self._lost = 0
        return told

    def _own(self, kind: str, count: int, caller: _Caller | None = None) -> dict[str, Any]:
        """A record of the log's about itself."""
        record = {"time": time_of(self._clock), "kind": kind, "details": {"count": str(count)}}
        if caller is None:
            return record
        record["details"] = {"kind": caller[0].value, "count": str(count)}
        return record | {"identity": _short(caller[1]), "reason": _short(caller[2])}

    def _append(self, records: list[dict[str, Any]]) -> None:
        events = sum(record["kind"] in _KINDS for record in records)
        try:
            self._sink.append(records)
        except (OSError, Broken) as exc:
            with self._lock:
                self.dropped += events
                self._lost += events + sum(
                    int(record["details"]["count"]) for record in records if record["kind"] not in _KINDS
                )
            if not self._failing:
                log.error("the audit log can't be written: %s", exc)  # noqa: TRY400  # it says all there is to say
            self._failing = True
            # Others wait meanwhile, up to the bound: a disk that is full is not asked for every event.
            self._stopping.wait(timeout=RETRY_S)
            return
        if self._failing:
            log.info("the audit log is written again")
        self._failing = False
        self.recorded += events


def audit_log(settings: AuditSettings, clock: Clock) -> AuditLog | None:
    """As the settings say; None: nothing is audited."""
    if settings.file is None:
        return None
    sink: AuditSink = (
        LoggedAudit()
        if settings.file == LOGGED
        else AuditFile(Path(settings.file), size_max=settings.size_max, keep=settings.keep, now=lambda: time_of(clock))
    )
    return AuditLog(sink, clock=clock)


def time_of(clock: Clock) -> str:
    """ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(clock.now() / 1000, UTC).isoformat(timespec="milliseconds")


def _allowed(caller: _Caller) -> int:
    return REFUSALS_PER_WINDOW if caller[0] in _REFUSALS else ACTS_PER_WINDOW


def _record(event: AuditEvent, clock: Clock) -> dict[str, Any]:
    """A line's content. What a caller sent may be of any length: it is cut."""
    record: dict[str, Any] = {"time": time_of(clock), "kind": event.kind.value}
    for name in ("identity", "method", "namespace", "key_hash", "outcome", "reason"):
        if text := getattr(event, name):
            record[name] = _short(text)
    if event.details:
        details = list(event.details.items())[:DETAILS_MAX]
        record["details"] = {_short(name): _short(value) for name, value in details}
    return record


def _short(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"
