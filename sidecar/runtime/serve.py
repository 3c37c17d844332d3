"""`state-sidecar serve`: the daemon in a process of its own, from settings to exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys

import uvloop

from sidecar import __version__
from sidecar.runtime import failpoints, logs, memory
from sidecar.runtime.daemon import Daemon
from sidecar.runtime.locks import StartError
from sidecar.runtime.settings import Settings

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT, then drain; a second one stops at once. The process's exit code."""
    logs.configure(settings)
    failpoints.arm(os.environ)
    memory.prepare(settings)
    return uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(logs.uncaught_in_loop)
    asked = asyncio.Event()

    def on_signal() -> None:
        if asked.is_set():
            log.warning("second signal: stopping at once")
            os._exit(os.EX_TEMPFAIL)
        asked.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    daemon = Daemon(settings)
    for warning in settings.warnings:
        log.warning("%s", warning)
    try:
        await daemon.start()
    except StartError:
        await daemon.stop()
        raise
    # What was loaded at start lives as long as the daemon: the collector need never look at it again.
    gc.collect()
    gc.freeze()
    print(_banner(daemon), file=sys.stderr, flush=True)  # noqa: T201  # for the person at the terminal
    await asked.wait()
    await daemon.stop()
    return os.EX_OK


def _banner(daemon: Daemon) -> str:
    urls = daemon.settings.tier_urls().shown()
    http = f"; probes and metrics on http://{daemon.http_address}" if daemon.http_address else ""
    return (
        f"state-sidecar {__version__} is serving on {', '.join(daemon.addresses)}{http}\n"
        f"state: hot {urls.hot}, warm {urls.warm}, cold {urls.cold}. Ctrl-C drains and stops."
    )
