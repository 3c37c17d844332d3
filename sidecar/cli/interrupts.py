"""SIGINT and SIGTERM while a command runs: one ends it in order, a second at once, and it ends in any case.

Python raises KeyboardInterrupt between any two instructions of the main thread. Where a lock has just been taken by
`threading.Condition.__enter__`, nobody releases it any more, and whoever needs it next waits for ever: gRPC's own threads,
or the very code that cleans up. So a command that streams is not interrupted but asked to end, by another thread, which
may take locks. Of all others, the same thread sees to it that what was interrupted ends.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

CODE: Final = 130
"""The exit code of a command that was interrupted."""
END_S: Final = 5.0
"""How long a command may take to end in order: above the time that the client gives to a daemon's last word."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ending(stop: Callable[[], None] | None = None) -> Iterator[None]:
    """Raises KeyboardInterrupt if a signal came: with `stop` at the end of the block, without it also anywhere within.

    `stop` is called in a thread of its own and has to make the block end. A block that has not ended in time takes the
    process with it, as a second signal does. Does nothing outside the main thread: signals are not for others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def note(*_: Any) -> None:
        nonlocal came
        came = True
        if stop is None:
            raise KeyboardInterrupt

    ended, told = os.pipe()
    os.set_blocking(told, False)
    threading.Thread(target=_watch, args=(ended, stop), name="state-sidecar-interrupts", daemon=True).start()
    # Written to by Python's handler in C, also while the main thread is in a call that doesn't come back.
    told_before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    # Those that are ignored stay so: a shell has begun this in the background.
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(told_before)
        os.close(told)
        if came:
            # In the place of what the body may have raised: that its call was cancelled.
            raise KeyboardInterrupt


def _watch(told: int, stop: Callable[[], None] | None) -> None:
    """Until the block has ended, which closes the pipe, or the process."""
    with open(told, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            if number[0] not in _SIGNALS:  # All that Python handles comes here
                continue
            if stop is not None:
                threading.Thread(target=stop, name="state-sidecar-stop", daemon=True).start()
            if not _goes_on(numbers.fileno()):
                return
            os._exit(CODE)


def _goes_on(told: int) -> bool:
    """After a signal: False once the block has ended, True if it didn't in time or another signal came."""
    either = select.poll()
    either.register(told, select.POLLIN)
    return not either.poll(END_S * 1000) or bool(os.read(told, 1))
