"""Decoders under atheris, for a short time each; what was found once; and that what is wrong is found."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree

import pytest

from sidecar.rpc import large
from tests.fuzz.judging import CPU_S_MAX, TooSlow, judged
from tests.fuzz.running import REGRESSIONS, ROOT, RSS_MB_MAX, Report, run
from tests.fuzz.targets import NAMES, load

pytestmark = pytest.mark.timeout(240)

AT_ONCE = 2
LONG_S, SHORT_S = 10, 2
SHORT = {"access", "checkpoints", "large", "manifests", "rows"}
"""Targets that are run for a shorter time, besides the eight decoders that anyone's bytes reach first."""
PLANTED = {
    # What is thrown by a wrong page token is no longer told as an invalid request.
    "tokens": ("core/paging.py", "except (binascii.Error, ValueError) as exc:", "except binascii.Error as exc:"),
    # Nothing is raised, but more is kept than may be.
    "memcached": ("stores/memcached/protocol.py", "if size > self.value_bytes_max:", "if size > 1 << 40:"),
    # Spoilt bytes are taken for what was written.
    "journal": ("stores/journal/segment.py", "if checksum != _checksum(", "if checksum and not _checksum("),
}


@pytest.fixture(autouse=True)
def bounds_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target lowers one for its process; here others come after it."""
    monkeypatch.setattr(large, "CARRIED_BYTES", large.CARRIED_BYTES)


def test_targets_find_nothing(tmp_path: Path) -> None:
    def one(name: str) -> Report:
        return run(name, keep=tmp_path, seconds=SHORT_S if name in SHORT else LONG_S)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        reports = list(pool.map(one, NAMES))
    for report in reports:
        assert report.finding is None, f"{report.line}\n{report.said}"
        assert report.executions > 100, report.said
        assert 0 < report.rss_mb < RSS_MB_MAX
    assert len(set(NAMES) - SHORT) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_what_was_found_once(name: str) -> None:
    target = load(name)
    for seed in target.seeds():
        judged(target, seed)
    for known in sorted(REGRESSIONS.glob(f"{name}/*")):
        judged(target, known.read_bytes())


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    file, right, wrong = PLANTED[name]
    copytree(ROOT / "sidecar", tmp_path / "sidecar")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    text = (tmp_path / "sidecar" / file).read_text()
    assert right in text
    (tmp_path / "sidecar" / file).write_text(text.replace(right, wrong))

    report = run(name, keep=tmp_path / "found", seconds=60, seed=1, root=tmp_path)

    assert report.finding is not None, report.line
    assert str(tmp_path / "sidecar") in report.said or "AssertionError" in report.said


def test_an_input_that_takes_too_long_is_found() -> None:
    class Slow:
        @staticmethod
        def seeds() -> list[bytes]:
            return []

        @staticmethod
        def check(data: bytes) -> None:
            end = time.process_time() + CPU_S_MAX * 1.1
            while time.process_time() < end:
                pass

    with pytest.raises(TooSlow):
        judged(Slow, b"")
