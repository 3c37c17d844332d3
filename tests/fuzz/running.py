"""Targets run as processes of their own: libFuzzer ends the process that it runs in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REGRESSIONS = Path(__file__).parent / "regressions"
"""Inputs that once were findings, a folder for each target."""
RSS_MB_MAX = 768
"""Of a target's process, of which Python and what it imports are 100 to 150."""
INPUT_BYTES_MAX = 4096
STALL_S = 60
"""By the clock, of one input: it does not return. What is merely too slow is told by `judging.CPU_S_MAX`."""
_START_S = 120
_STATISTICS = {"executions": "number_of_executed_units", "per_s": "average_exec_per_sec", "rss_mb": "peak_rss_mb"}
_LAST_PULSE = re.compile(r"^#(\d+)\t", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run of a target came to. `finding`: the input that broke it; `said`: the end of what the process printed."""

    name: str
    executions: int
    per_s: int
    rss_mb: int
    finding: Path | None
    said: str

    @property
    def line(self) -> str:
        """For a person."""
        found = f"FOUND {self.finding}" if self.finding else "nothing found"
        return f"{self.name:12} {self.executions:>11,} executions {self.per_s:>7,}/s {self.rss_mb:>4} MB  {found}"


def run(
    name: str,
    *,
    keep: Path,
    seconds: int | None = None,
    executions: int | None = None,
    seed: int = 0,
    root: Path = ROOT,
) -> Report:
    """One target, for so long or so many executions. `keep` gets a folder of its name with what it found.

    `seed` 0: another one each time. `root`: where the product and these tests are.
    """
    limits = [f"-max_total_time={seconds}"] if seconds is not None else [f"-runs={executions}"]
    with tempfile.TemporaryDirectory() as folder:
        corpus, findings = Path(folder, "corpus"), Path(folder, "findings")
        corpus.mkdir()
        findings.mkdir()
        for known in sorted(REGRESSIONS.glob(f"{name}/*")):
            shutil.copy(known, corpus)
        command = [
            *(sys.executable, "-m", "tests.fuzz.worker", name, str(corpus)),
            *(f"-artifact_prefix={findings}/", f"-rss_limit_mb={RSS_MB_MAX}", f"-timeout={STALL_S}"),
            *(f"-max_len={INPUT_BYTES_MAX}", f"-seed={seed}", "-print_final_stats=1", "-reload=0", *limits),
        ]
        timeout = None if seconds is None else seconds + _START_S
        ended = subprocess.run(  # noqa: PLW1510  # its end says what it found
            command, cwd=root, capture_output=True, text=True, errors="replace", timeout=timeout
        )
        found = sorted(findings.iterdir())
        if ended.returncode and not found:
            raise RuntimeError(f"{name} ended with {ended.returncode} and no finding:\n{ended.stderr[-4000:]}")
        finding = None
        if found:
            finding = keep / name / found[0].name
            finding.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found[0], finding)
    return Report(
        name=name, finding=finding, said=ended.stdout[-2000:] + ended.stderr[-4000:], **_figures(ended.stderr)
    )


def run_all(
    names: Sequence[str],
    *,
    keep: Path,
    jobs: int,
    seconds: int | None,
    executions: int | None = None,
    seed: int = 0,
    told: Callable[[Report], None],
) -> list[Report]:
    """Several targets, `jobs` at a time, each as `run` does."""

    def one(name: str) -> Report:
        report = run(name, keep=keep, seconds=seconds, executions=executions, seed=seed)
        told(report)
        return report

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, names))


def _figures(said: str) -> dict[str, int]:
    figures = {}
    for name, statistic in _STATISTICS.items():
        match = re.search(rf"^stat::{statistic}:\s*(\d+)", said, re.MULTILINE)
        figures[name] = int(match[1]) if match else 0
    if not figures["executions"] and (pulses := _LAST_PULSE.findall(said)):
        figures["executions"] = int(pulses[-1])  # a process that broke prints no statistics
    return figures
