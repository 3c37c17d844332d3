"""The daemon's log: standard error, as text or as JSON lines. It holds no secret and no content, at any level.

What an exception says is not logged: its text often quotes what could not be read or sent, a value, a key, a password. Its
type, where it came from, and codes without content are what a bug needs. Libraries are heard from WARNING on only: below
it they tell whole requests.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from typing_extensions import override

from sidecar.core.errors import SidecarError
from sidecar.core.tracing import TRACE
from sidecar.runtime.settings import Settings

log = logging.getLogger(__name__)

OURS = "sidecar"
"""The logger above all of the product's."""
CAUSES_MAX = 8
"""Exceptions of a chain that are told."""
_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class TextFormatter(logging.Formatter):
    """A line for a person; a message stays on its line, whatever it quotes."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        return "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in super().formatMessage(record)
        )

    @override
    def formatException(self, ei: _ExceptionInfo) -> str:
        return _told(ei)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with what was given as `extra`, and the trace of the request that it is about, if it is
    watched, under the names that OpenTelemetry has for logs.
    """

    _known = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

    @override
    def format(self, record: logging.LogRecord) -> str:
        """A line."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (trace := TRACE.get()) is not None and not trace.ended:
            line |= {"trace_id": trace.trace_id, "span_id": trace.span_id}
        line |= {name: value for name, value in record.__dict__.items() if name not in self._known}
        if record.exc_info:
            line["exception"] = _told(record.exc_info)
        return json.dumps(line, default=str)


def configure(settings: Settings) -> None:
    """Log as the settings say; also what nobody caught, which Python would print with all it says."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger(OURS).setLevel(level)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _bug("a thread ended", args.exc_value)
    sys.unraisablehook = lambda args: _bug("an exception had no way out", args.exc_value)


def uncaught_in_loop(_loop: object, context: dict[str, Any]) -> None:
    """An event loop's exception handler. What asyncio says of it quotes results and arguments."""
    _bug("a task or a callback failed", context.get("exception"))


def traceback_of(error: BaseException) -> str:
    """Where an exception came from, and its causes, innermost first, without their texts."""
    parts: list[str] = []
    for one in reversed(list(_chain(error))):
        parts += [*traceback.format_tb(one.__traceback__), f"{_named(one)}\n"]
    return "".join(parts).rstrip()


def _uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
    else:
        _bug("the daemon ended", error)


def _bug(what: str, error: BaseException | None) -> None:
    log.error("bug: %s", what, exc_info=error)


def _told(info: _ExceptionInfo) -> str:
    return "" if info[1] is None else traceback_of(info[1])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, what it came from, and one of each group."""
    current: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if current is None:
            return
        yield current
        if isinstance(current, BaseExceptionGroup):
            current = current.exceptions[0]
        else:
            current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _named(error: BaseException) -> str:
    """Its type, with a code where that is one of few."""
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    if isinstance(error, SidecarError):
        return f"{name}: {error.reason}"
    code = error.errno if isinstance(error, OSError) else getattr(error, "sqlstate", None)
    return f"{name}: {code}" if isinstance(code, int) or (isinstance(code, str) and len(code) == 5) else name
