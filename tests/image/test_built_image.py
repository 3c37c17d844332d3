"""The Dockerfile built by a real builder on a base without a shell, and its daemon started as a pod would start it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from packaging.requirements import Requirement

import sidecar
from statesidecar.v1 import state_service_pb2 as pb
from tests.image.bases import LOCKS, build_image, buildah
from tests.image.container import Image, unpacked
from tests.support.probes import probe_now
from tests.support.process import Caller

pytestmark = pytest.mark.timeout(600)  # the first time, the bases and 60 MB of wheels are fetched

SERVING = re.compile(r"is serving on (\S+); probes and metrics on http://(\S+)$")
STOP_S = 30.0
ENVIRONMENT = "opt/state-sidecar"
LISTEN = {"STATE_SIDECAR_LISTEN": "unix:///data/state.sock", "STATE_SIDECAR_HTTP_LISTEN": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    built = build_image("state-sidecar:test")
    try:
        with TemporaryDirectory(prefix="image-") as folder:
            yield unpacked(built, Path(folder))
    finally:
        buildah("rmi", built)


@pytest.fixture
def volume() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    with TemporaryDirectory(prefix="ss-") as path:
        yield Path(path)


def serving(process: subprocess.Popen[str]) -> str:
    """Wait until it serves; where the probes are."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if match := SERVING.search(line):
            return match[2]
    raise AssertionError("".join(said))


def test_the_daemon_serves_confined_to_its_volume_and_drains(image: Image, volume: Path) -> None:
    with image.container(volume, environ=LISTEN) as process:
        probes = serving(process)
        status = Path(f"/proc/{process.pid}/status").read_text()
        mounts = [line.split()[4:6] for line in Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()]
        with Caller(f"unix:{volume}/state.sock") as caller:
            caller.state.Set(pb.SetRequest(namespace="session", key="key", value=b"value"))
            read = caller.state.Get(pb.GetRequest(namespace="session", key="key"))
        ready, live, metrics = (probe_now(probes, path)[0] for path in ("/readyz", "/healthz", "/metrics"))
        process.terminate()
        code = process.wait(STOP_S)
        last = process.stderr.read() if process.stderr else ""

    assert read.entry.value == b"value"
    assert (ready, live, metrics) == (200, 200, 200)
    assert (code, last.rstrip().endswith("stopped")) == (os.EX_OK, True), last
    assert "Uid:\t10001\t10001\t10001\t10001" in status
    assert "Gid:\t10001\t10001\t10001\t10001" in status
    assert re.search(r"^Groups:\s*$", status, re.MULTILINE)
    assert "CapEff:\t0000000000000000" in status
    assert "CapPrm:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    options = {where: given.split(",")[0] for where, given in mounts}
    assert options["/"] == "ro"
    assert {where for where in options if not where.startswith(("/proc", "/dev"))} == {"/", "/data"}
    assert {path.stat().st_uid for path in volume.iterdir()} == {10001}


def test_the_next_container_finds_the_state_in_the_volume(image: Image, volume: Path) -> None:
    for written in (True, False):
        with image.container(volume, environ=LISTEN) as process:
            serving(process)
            with Caller(f"unix:{volume}/state.sock") as caller:
                if written:
                    caller.state.Set(pb.SetRequest(namespace="session", key="key", value=b"value"))
                assert caller.state.Get(pb.GetRequest(namespace="session", key="key")).entry.value == b"value"
            process.terminate()
            assert process.wait(STOP_S) == os.EX_OK


def test_wrong_settings_end_it_with_their_code(image: Image, volume: Path) -> None:
    with image.container(volume, environ={"STATE_SIDECAR_LISTEN": "nonsense"}) as process:
        said = process.communicate(timeout=STOP_S)[1]

    assert process.returncode == os.EX_USAGE
    assert "listen" in said
    assert "Traceback" not in said
    assert not list(volume.iterdir())


def test_there_is_no_shell_no_installer_and_no_way_to_be_root(image: Image) -> None:
    paths = [path for path in image.root.rglob("*") if not path.is_symlink()]

    programs = {path.name for path in paths if path.is_file() and path.stat().st_mode & stat.S_IXUSR}
    assert "python3.11" in programs
    assert not programs & {"sh", "bash", "dash", "busybox", "apt-get", "dpkg", "pip", "pip3"}
    assert not [path for path in paths if path.name in {"pip", "setuptools", "ensurepip"} and ENVIRONMENT in str(path)]
    modes = {path: path.stat().st_mode for path in paths}
    assert not [path for path, mode in modes.items() if mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)]
    owners = {path: path.stat().st_uid for path in paths}
    assert [path.relative_to(image.root) for path, uid in owners.items() if uid != 0] == [Path("data")]


def test_its_user_can_read_all_of_the_environment(image: Image) -> None:
    paths = [path for path in (image.root / ENVIRONMENT).rglob("*") if not path.is_symlink()]

    assert len(paths) > 1000
    assert not [path for path in paths if not path.stat().st_mode & stat.S_IROTH]


def test_nothing_runs_because_python_starts(image: Image) -> None:
    """Lines of .pth files and these two modules run in every Python of an environment."""
    patterns = ("*.pth", "sitecustomize.py", "usercustomize.py")
    found = {str(path.relative_to(image.root)) for pattern in patterns for path in image.root.rglob(pattern)}

    # Debian's own, for its bug reporter: it does nothing where that is not installed.
    assert found == {"etc/python3.11/sitecustomize.py", "usr/lib/python3.11/sitecustomize.py"}


def test_every_module_of_the_environment_is_compiled(image: Image) -> None:
    sources = list((image.root / ENVIRONMENT / "lib").rglob("*.py"))
    compiled = image.root / ENVIRONMENT / "pycache" / ENVIRONMENT

    assert len(sources) > 500
    for source in sources:
        code = compiled / source.relative_to(image.root / ENVIRONMENT).with_suffix(".cpython-311.pyc")
        assert code.read_bytes()[4:8] == b"\x01\0\0\0", f"{code}: PEP 552, a hash that is not checked"


def test_the_bill_of_materials_is_what_the_lock_says(image: Image) -> None:
    label = image.config["Labels"]["state-sidecar.sbom"]
    bill = json.loads((image.root / label.lstrip("/")).read_text())
    pins = [Requirement(line.rstrip("\\ ")) for line in LOCKS[1].read_text().splitlines() if "==" in line]
    locked = {
        f"pkg:pypi/{pin.name}@{pin.specifier}".replace("==", "")
        for pin in pins
        if not pin.marker or pin.marker.evaluate()
    }

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    subject = bill["metadata"]["component"]
    assert (subject["name"], subject["version"], subject["licenses"][0]["expression"]) == (
        "state-sidecar",
        sidecar.__version__,
        "Apache-2.0",
    )
    ours = {f"pkg:pypi/state-sidecar-client@{sidecar.__version__}"}
    assert {component["purl"] for component in bill["components"]} == locked | ours
