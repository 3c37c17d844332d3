"""What an operator is shown of an outage: a daemon under load on real servers, its database killed, and started again."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Self

from servers.postgres import Postgres
from servers.redis import Valkey
from sidecar.cli.admin_client import AdminClient
from sidecar.cli.daemon_status import DaemonStatus
from sidecar.cli.screen import Line, text
from sidecar.cli.status_view import screen as status_screen
from sidecar.cli.top import drawn
from sidecar.cli.top_history import History
from sidecar.cli.top_view import filled, screen
from statesidecar import OutboxMessage, RetryPolicy, StateClient, StateSidecarError
from tests.support.process import DaemonProcess, daemon_process

CALLERS = 4
KEYS = 2_000
PATIENCE_S = 60.0
INTERVAL_S = 0.5
HEALTHY_S, AWAY_S = 45.0, 12.0
"""How long the picture's daemon was well, and then not."""
COLUMNS, LINES = 110, 36
SETTINGS = {
    "app": "shop",
    "namespaces.cart.on_outage": "buffer",
    "namespaces.model.near.enabled": "true",
    "telemetry.census_interval_s": "5",
}
_SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px;
line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""
"""Rich's own without the fonts that it fetches from elsewhere."""


class Callers:
    """Threads of one application: what they ask for, and what becomes of it, is the picture."""

    def __init__(self, target: str) -> None:
        self._enough = threading.Event()
        self._client = StateClient(target, timeout_s=2.0, retry=RetryPolicy(attempts_max=1))
        self._threads = [threading.Thread(target=self._call, args=(seed,), daemon=True) for seed in range(CALLERS)]

    def __enter__(self) -> Self:
        for number in range(KEYS // 20):
            self._client.set("model", f"customer-{number}", b"m" * 2_000)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._client.close()

    def _call(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self._enough.wait(0.002):
            key = f"customer-{int(chance.paretovariate(1.0)) % KEYS}"
            with suppress(StateSidecarError):
                self._one(chance.random(), key)

    def _one(self, chance: float, key: str) -> None:
        client = self._client
        if chance < 0.7:
            client.get("session", key)
        elif chance < 0.8:
            client.get("model", key)
        elif chance < 0.9:
            client.append("cart", key, [chance], max_items=20)
        elif chance < 0.95:
            client.set("session", key, b"s" * 400, outbox=[OutboxMessage("visits", b"{}")] if chance < 0.91 else ())
        else:
            version = client.get("plan", "all").version
            client.cas("plan", "all", b"{}", expected_version=version)


@contextmanager
def stage(data_dir: Path) -> Iterator[tuple[Postgres, Valkey, DaemonProcess]]:
    """PostgreSQL and Valkey of its own, to be harmed, and a daemon on them."""
    with Postgres() as postgres, Valkey() as valkey:
        tiers = {"tiers.hot": valkey.url, "tiers.warm": postgres.url()}
        with daemon_process(data_dir, **SETTINGS, **tiers) as daemon:
            yield postgres, valkey, daemon


def until(look: Callable[[], DaemonStatus], right: Callable[[DaemonStatus], object]) -> tuple[DaemonStatus, float]:
    """The first status that is `right`, and after how many seconds."""
    began = time.monotonic()
    while not right(answer := look()):
        assert time.monotonic() < began + PATIENCE_S, answer
    return answer, time.monotonic() - began


def picture(data_dir: Path, svg: Path) -> Iterator[str]:
    """A picture of `top` in the outage, as it looks after AWAY_S; and what `status` says then, and when it is over."""
    with (
        stage(data_dir) as (postgres, _, daemon),
        Callers(daemon.target),
        AdminClient(daemon.target, timeout_s=2.0, retry=RetryPolicy()) as client,
    ):
        history = History("127.0.0.1:7420")
        _watch(client, history, _passed(HEALTHY_S))
        postgres.kill()
        answer, seconds = until(client.daemon_status, lambda answer: answer.mode_reason)
        yield f"told {seconds:.2f} s after the kill: {answer.mode_reason}"
        _watch(client, history, _passed(AWAY_S))
        told = screen(history, _now(), width=COLUMNS, height=LINES, interval_s=1.0)
        svg.write_text(as_svg(filled(told, LINES)))
        yield "\n".join(text(line).rstrip() for line in told)
        yield "\n".join(text(line).rstrip() for line in status_screen(client.daemon_status(), width=100))
        postgres.restart()
        _watch(client, history, lambda answer: answer.mode.name == "NORMAL")
        yield "\n".join(f"{at:%H:%M:%S} {span.text}" for at, span in history.events)


def as_svg(lines: list[Line]) -> str:
    """The screen as a picture that needs nothing from elsewhere."""
    from rich.console import Console

    console = Console(record=True, width=COLUMNS, height=LINES, file=StringIO(), force_terminal=True)
    console.print(drawn(lines))
    drawing = console.export_svg(title="state-sidecar top", code_format=_SVG, unique_id="top")
    return re.sub(r"[ \t]+$", "", drawing, flags=re.MULTILINE)


def _passed(seconds: float) -> Callable[[DaemonStatus], bool]:
    end = time.monotonic() + seconds
    return lambda _: time.monotonic() > end


def _watch(client: AdminClient, history: History, enough: Callable[[DaemonStatus], object]) -> None:
    """Look as `top` does, until it is enough."""
    due, pace = time.monotonic(), threading.Event()
    while True:
        history.answered(answer := client.daemon_status(), _now())
        if enough(answer):
            return
        due += INTERVAL_S
        pace.wait(max(due - time.monotonic(), 0.0))


def _now() -> datetime:
    return datetime.now().astimezone()
