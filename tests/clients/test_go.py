"""The Go client: its code, its stubs, and its own tests against a real daemon."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import DaemonProcess, daemon_process

pytestmark = pytest.mark.timeout(580)  # The first build of grpc-go on two busy cores

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients/go"
# Where Go's own installer puts it, if the shell's profile doesn't say.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/go/bin"])
NEEDED = "clients/go needs Go 1.26 or newer: the `go` command is not on the PATH"


def run(*command: str | Path, given: str = "", target: str = "") -> str:
    """What a command says; it succeeds, or the test fails with all it said."""
    done = subprocess.run(
        command,
        cwd=CLIENT,
        env=os.environ | {"PATH": PATH, "STATE_SIDECAR_TARGET": target},
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=560,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def go() -> None:
    """Go, without which CI fails and a developer's run says what it left out."""
    if shutil.which("go", path=PATH) is None:
        assert os.environ.get("CI", "") not in {"true", "1"}, NEEDED
        pytest.skip(NEEDED)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    folder = tmp_path_factory.mktemp("go")
    with daemon_process(folder / "data", listen=f"127.0.0.1:0,unix://{folder}/state.sock") as running:
        yield running


def test_the_code_is_formatted_and_vetted() -> None:
    assert run("gofmt", "-l", ".") == ""
    assert run("go", "vet", "./...") == ""


def test_the_stubs_are_what_the_protos_generate(tmp_path: Path) -> None:
    run(Path(sys.executable).with_name("buf"), "generate", "-o", tmp_path)
    fresh, committed = tmp_path / "v1", CLIENT / "v1"
    names = sorted({path.name for path in [*fresh.iterdir(), *committed.iterdir()]})

    assert len(names) == 7
    assert filecmp.cmpfiles(fresh, committed, names, shallow=False) == (names, [], []), "run `make protos`"


def test_its_own_tests_pass_over_a_unix_socket(daemon: DaemonProcess) -> None:
    [socket] = [address for address in daemon.addresses if address.startswith("unix:")]

    assert "ok" in run("go", "test", "-count=1", "-timeout=300s", "./...", target=socket)


def test_the_example_keeps_a_conversation_over_tcp(daemon: DaemonProcess) -> None:
    chat = ("go", "run", "./examples/chat", "example-session")

    assert run(*chat, given="hello\nagain\n", target=daemon.target).splitlines() == ["HELLO (turn 1)", "AGAIN (turn 2)"]
    assert run(*chat, given="and on", target=daemon.target) == "AND ON (turn 3)\n"


def test_what_the_readme_shows_is_in_the_examples_that_run() -> None:
    examples = [line.strip() for line in (CLIENT / "example_test.go").read_text().splitlines()]
    shown = re.findall(r"```go\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)

    assert len(shown) == 4
    for line in filter(None, "".join(shown).splitlines()):
        assert line.strip() in examples
