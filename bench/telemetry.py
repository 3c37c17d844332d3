"""What telemetry costs: the same calls of two daemons in one run, in alternating short blocks, one with all of it on.

On: 10 % of the requests sampled, spans and metrics sent to a receiver in a process of its own, and a scrape of /metrics
each 15 seconds. Off: none of that. What both measure of each request for /metrics is in both.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench.figures import TelemetryCost, percentile
from bench.processes import STOP_TIMEOUT_S, RunningDaemon, daemon
from bench.unary import Case, Side

RATIO = 0.1
SCRAPE_INTERVAL_S = 15.0
CASE = Case(title="Get, hot cache hit", method="Get", namespace="session")


@contextmanager
def receiver() -> Iterator[str]:
    """A collector that takes everything and keeps nothing; its URL."""
    command = [sys.executable, "-m", "bench.receiver"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()
        process.wait(STOP_TIMEOUT_S)


@contextmanager
def scraping(running: RunningDaemon) -> Iterator[None]:
    """Ask for /metrics now and then, as Prometheus does."""
    found = re.search(r"probes and metrics on (http://\S+)", running.log.read_text())
    assert found, "the daemon did not say where its metrics are"
    request = urllib.request.Request(f"{found[1]}/metrics", headers={"Accept": "application/openmetrics-text"})
    ended = threading.Event()

    def scrape() -> None:
        while True:
            with urllib.request.urlopen(request) as answer:
                answer.read()
            if ended.wait(SCRAPE_INTERVAL_S):
                return

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, with all its threads."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


async def _measure(off: RunningDaemon, on: RunningDaemon, *, rounds: int, calls: int) -> TelemetryCost:
    sides = {pid: Side(target) for pid, target in ((off.pid, off.target), (on.pid, on.target))}
    for side in sides.values():
        await side.prepare(CASE)
        await side.block(CASE, calls)
    before = {pid: cpu_s(pid) for pid in sides}
    p50: dict[int, list[float]] = {pid: [] for pid in sides}
    p99: dict[int, list[float]] = {pid: [] for pid in sides}
    for number in range(rounds):
        for pid in list(sides) if number % 2 else list(sides)[::-1]:
            durations = sorted(await sides[pid].block(CASE, calls))
            p50[pid].append(percentile(durations, 0.5))
            p99[pid].append(percentile(durations, 0.99))
    used_us = {pid: (cpu_s(pid) - before[pid]) / (rounds * calls) * 1e6 for pid in sides}
    for side in sides.values():
        await side.channel.close()
    ratios = [mine / theirs for mine, theirs in zip(p50[on.pid], p50[off.pid], strict=True)]
    return TelemetryCost(
        sampled=RATIO,
        p50_us=statistics.median(p50[on.pid]) * 1e6,
        p99_us=statistics.median(p99[on.pid]) * 1e6,
        off_p50_us=statistics.median(p50[off.pid]) * 1e6,
        off_p99_us=statistics.median(p99[off.pid]) * 1e6,
        ratio=statistics.median(ratios),
        ratio_max=1.10,
        cpu_us=used_us[on.pid],
        off_cpu_us=used_us[off.pid],
        cpu_ratio=used_us[on.pid] / used_us[off.pid],
        cpu_ratio_max=1.15,
    )


def measure(progress: Callable[[str], None], *, rounds: int, calls: int) -> TelemetryCost:
    """Both daemons live through the whole run."""
    progress("telemetry, on and off")
    with receiver() as url:
        settings = (f"telemetry.otlp_endpoint={url}", f"telemetry.trace_ratio={RATIO}")
        with daemon("telemetry.otlp_endpoint=") as off, daemon(*settings) as on, scraping(on):
            return uvloop.run(_measure(off, on, rounds=rounds, calls=calls))


if __name__ == "__main__":
    began_s = time.monotonic()
    numbers = [int(argument) for argument in sys.argv[1:]] or [40, 250]
    print(measure(lambda _: None, rounds=numbers[0], calls=numbers[1]), f"{time.monotonic() - began_s:.0f} s")
