"""`state-sidecar doctor`: what it finds of this machine, container and user."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import pytest

from sidecar.runtime import examine_machine
from sidecar.runtime.findings import Verdict
from tests.cli.test_doctor import Doctor
from tests.support.daemon import settings

MIB = 1 << 20


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path / "data")


def test_the_versions_are_told(doctor: Doctor) -> None:
    verdict, message, _ = doctor().of("versions")

    assert verdict == "ok"
    for what in ("state-sidecar", "Python", "gRPC", "SQLite", "psycopg", "hiredis"):
        assert f"{what} " in message


def test_a_library_that_is_not_there_is_not_told(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine_machine, "LIBRARIES", ("no-such-library",))

    assert "no-such-library" not in doctor().of("versions")[1]


def test_a_python_that_gets_no_more_fixes(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(examine_machine.PYTHON_ENDS, sys.version_info[:2], date(2020, 1, 1))

    [(message, verdict)] = doctor().advice("versions").items()
    assert verdict == "note"
    assert "gets no more fixes" in message


def test_too_few_files(tmp_path: Path) -> None:
    program = f"ulimit -n 256; exec {sys.executable} -m sidecar doctor --set data_dir={tmp_path}/data"
    program += " --set listen=127.0.0.1:0 --set http_listen= --set tiers.warm=memory:// --set tiers.cold=none://"
    ran = subprocess.run(["sh", "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0
    assert "note\tmachine\t256 at most, each connection is one: set ulimit -n to 1024 or more\topen files" in ran.stdout


# ---- control groups, as the kernel shows them


def grouped(root: Path, **files: str) -> Path:
    """Their files: a directory is written as `__`, a dot as `_of_`."""
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_of_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def test_the_memory_of_version_2_is_the_least_of_our_group_and_those_above(tmp_path: Path) -> None:
    limits = {"pod__memory_of_max": f"{300 * MIB}", "pod__one__memory_of_max": f"{500 * MIB}"}
    root = grouped(tmp_path, memory_of_max="max", pod__two__memory_of_max="max", **limits)

    assert examine_machine.memory_bytes(root, "0::/pod/one\n") == 300 * MIB
    assert examine_machine.memory_bytes(root, "0::/pod/two\n") == 300 * MIB
    assert examine_machine.memory_bytes(root, "0::/other\n") is None
    assert examine_machine.memory_bytes(tmp_path / "none", "0::/\n") is None


def test_the_memory_of_version_1(tmp_path: Path) -> None:
    limit = "memory_of_limit_in_bytes"
    root = grouped(tmp_path, **{f"memory__{limit}": f"{1 << 63}", f"memory__pod__{limit}": f"{200 * MIB}"})

    assert examine_machine.memory_bytes(root, "4:memory:/pod\n0::/\n") == 200 * MIB
    assert examine_machine.memory_bytes(root, "4:memory:/\n0::/\n") is None
    # From inside of a container our group's path is the host's, and the file is at the top.
    assert examine_machine.memory_bytes(root / "memory" / "..", "4:memory:/docker/0123\n") is None


def test_the_processor_s_share(tmp_path: Path) -> None:
    root = grouped(tmp_path, cpu_of_max="50000 100000")
    older = grouped(tmp_path / "1", cpu__cpu_of_cfs_quota_us="150000", cpu__cpu_of_cfs_period_us="100000")
    free = grouped(tmp_path / "free", cpu__cpu_of_cfs_quota_us="-1", cpu__cpu_of_cfs_period_us="100000")

    assert examine_machine.processors(root, "0::/\n") == 0.5
    assert examine_machine.processors(older, "1:cpu:/\n") == 1.5
    assert examine_machine.processors(older, "1:cpu,cpuacct:/pod\n") == 1.5
    assert examine_machine.processors(free, "1:cpu:/\n") is None


def test_less_memory_than_the_caches_may_take(tmp_path: Path) -> None:
    given = settings(tmp_path, tiers={"hot": "memory://"}, cache_bytes_max=256 * MIB)

    [finding] = examine_machine.memory(given, 300 * MIB)
    assert finding.verdict is Verdict.WRONG
    assert finding.message == (
        "300 MiB at most, and cache_bytes_max alone may take 256: the kernel will kill the daemon; raise the limit to "
        "384 MiB, or lower cache_bytes_max"
    )
    assert list(examine_machine.memory(given, 384 * MIB)) == []
    assert list(examine_machine.memory(given, None)) == []
    near = settings(tmp_path, tiers={"hot": "redis://localhost"}, near_bytes_max=64 * MIB)
    [finding] = examine_machine.memory(near, 128 * MIB)
    assert "lower near_bytes_max" in finding.message
    assert list(examine_machine.memory(near, 192 * MIB)) == []


def test_less_than_a_processor() -> None:
    [finding] = examine_machine.processor(0.5)
    assert finding.verdict is Verdict.NOTE
    assert finding.message.startswith("0.5 processors at most")
    assert list(examine_machine.processor(1.0)) == list(examine_machine.processor(None)) == []


def test_the_group_of_this_process_can_be_read() -> None:
    groups = Path("/proc/self/cgroup").read_text()

    limit = examine_machine.memory_bytes(examine_machine.CGROUPS, groups)
    share = examine_machine.processors(examine_machine.CGROUPS, groups)
    assert limit is None or limit > 64 * MIB
    assert share is None or share > 0


# ---- what data is kept on


def test_data_in_memory(doctor: Doctor) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        doctor.data_dir = Path(directory) / "data"
        told = doctor(tiers__warm=f"sqlite://{doctor.data_dir}/state.db", tiers__cold=f"file://{directory}/cold")

    assert told.code == 0
    assert told.of("data_dir")[0] == "ok"
    assert told.advice("data_dir") == {"it is in memory (tmpfs): a restart loses it; mount a volume there": "note"}
    assert len([line for line in told.lines if "it is in memory" in line]) == 1


def test_the_container_s_own_layer() -> None:
    [finding] = examine_machine.medium("data_dir", "/data", "overlay")
    assert finding.verdict is Verdict.NOTE
    assert "goes with the container" in finding.message
    assert list(examine_machine.medium("data_dir", "/data", "ext4")) == []


def test_a_disk_that_is_nearly_full() -> None:
    for total, free in ((100 << 30, 4 << 30), (1 << 30, 200 << 20)):
        [finding] = examine_machine.disk("data_dir", "/data", total, free)
        assert finding.verdict is Verdict.NOTE
        assert f"{free // MIB} MiB are free" in finding.message
    assert list(examine_machine.disk("data_dir", "/data", 100 << 30, 6 << 30)) == []
