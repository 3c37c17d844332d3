"""What an exception says is not logged: only what it is, and where it came from."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from sidecar.core.errors import DataLoss
from sidecar.runtime import logs
from sidecar.runtime.settings import Settings

SECRET = "hunter2"
FORMATTERS: dict[str, Callable[[], logging.Formatter]] = {"text": logs.TextFormatter, "json": logs.JsonFormatter}


@pytest.fixture(params=FORMATTERS)
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What the daemon's log has."""
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    root, ours = logging.getLogger(), logging.getLogger(logs.OURS)
    before = list(root.handlers), root.level, ours.level
    written = io.StringIO()
    logs.configure(Settings(log_format=request.param, log_level="debug"))
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    try:
        yield written
    finally:
        root.handlers[:], root.level, ours.level = before
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        logging.Logger.manager._clear_cache()  # type: ignore[attr-defined]  # levels were set past it


def failing() -> None:
    try:
        try:
            raise KeyError(SECRET)  # noqa: TRY301  # a traceback needs one
        except KeyError as exc:
            raise DataLoss(f"not {SECRET}", reason="ENTRY_CORRUPT") from exc
    except DataLoss:
        error = ExceptionGroup(SECRET, [OSError(28, SECRET, f"/{SECRET}")])
        error.add_note(SECRET)
        raise error  # noqa: B904  # its context is the case


def test_a_traceback_has_types_places_and_codes(log: io.StringIO) -> None:
    try:
        failing()
    except ExceptionGroup:
        logging.getLogger("sidecar.test").exception("it failed")
    said = log.getvalue()
    assert SECRET not in said
    for expected in ("builtins.OSError: 28", "builtins.ExceptionGroup", "in failing", "test_log_texts.py"):
        assert expected in said


def test_a_cause_is_told_with_its_reason(log: io.StringIO) -> None:
    try:
        raise DataLoss(SECRET) from ValueError(SECRET)  # noqa: TRY301  # a traceback needs one
    except DataLoss:
        logging.getLogger("sidecar.test").exception("it failed")
    said = log.getvalue()
    assert SECRET not in said
    assert "builtins.ValueError" in said
    assert "sidecar.core.errors.DataLoss: ENTRY_CORRUPT" in said


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError(SECRET), KeyError(SECRET)
    first.__cause__, second.__cause__ = second, first
    assert SECRET not in logs.traceback_of(first)


def test_what_nobody_caught_is_told_the_same_way(log: io.StringIO) -> None:
    def fail() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    sys.excepthook(ValueError, ValueError(SECRET), None)
    assert log.getvalue().count("builtins.ValueError") == 2
    assert SECRET not in log.getvalue()


async def test_what_a_task_failed_with_is_told_the_same_way(log: io.StringIO) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        logs.uncaught_in_loop(loop, context)
        told.set()

    def fail(secret: str) -> None:
        raise ValueError(secret)

    loop.set_exception_handler(handle)
    loop.call_soon(fail, SECRET)
    await told.wait()
    assert "builtins.ValueError" in log.getvalue()
    assert SECRET not in log.getvalue()


def test_libraries_are_not_heard_below_warning(log: io.StringIO) -> None:
    logging.getLogger("botocore").debug("request %s", SECRET)
    logging.getLogger("nats").info("connected with %s", SECRET)
    logging.getLogger("sidecar.test").debug("ours")
    assert SECRET not in log.getvalue()
    assert "ours" in log.getvalue()


def test_a_message_stays_on_its_line(log: io.StringIO) -> None:
    logging.getLogger("sidecar.test").info("%s", "one\n2026-01-01 ERROR forged\x1b[2J")
    (line,) = log.getvalue().splitlines()
    assert "\x1b" not in line
    if line.startswith("{"):
        assert json.loads(line)["message"].startswith("one\n")
