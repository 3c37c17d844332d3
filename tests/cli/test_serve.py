from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import process, runner

MEMORY = ("--set", "tiers.warm=memory://", "--set", "tiers.cold=none://", "--set", "http_listen=")


def environment(**variables: str) -> Mapping[str, str]:
    """Ours, without settings of the daemon."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STATE_SIDECAR_")}
    return kept | {f"STATE_SIDECAR_{name}": value for name, value in variables.items()}


@contextmanager
def serving(*arguments: str, cwd: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that says that it serves; killed at the end, if it hasn't ended."""
    env = environment(**variables)
    with process("serve", *arguments, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        try:
            assert running.stderr is not None
            said = b""
            for line in running.stderr:
                said += line
                if b"is serving on" in line:
                    break
            else:
                pytest.fail(said.decode())
            yield running
        finally:
            running.kill()


def refused(*arguments: str, cwd: Path, **variables: str) -> tuple[int, str]:
    """Exit code and stderr of a daemon that doesn't start."""
    env = environment(**variables)
    ran = subprocess.run(
        [sys.executable, "-m", "sidecar", "serve", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout == b""
    return ran.returncode, ran.stderr.decode()


def test_every_configuration_problem_is_listed_and_nothing_is_opened(tmp_path: Path) -> None:
    (tmp_path / "state.yaml").write_text("app: shop\nlog_levl: debug\n")

    code, told = refused("--set", "requests_max=0", cwd=tmp_path, CONFIG="state.yaml", TIERS__HOT="redis+sentinel://h")

    assert code == 64
    heading, *listed = told.splitlines()
    assert heading == "state-sidecar: 3 problems in the configuration"
    assert sorted(listed) == [
        "  log_levl (state.yaml): no such setting: did you mean log_level?",
        "  requests_max (--set): must be above 0",
        "  tiers.hot (STATE_SIDECAR_TIERS__HOT): the primary's name is missing: write redis+sentinel://host:port/NAME",
    ]
    assert not (tmp_path / ".state-sidecar").exists()


def test_it_serves_until_sigterm_and_ends_with_0(tmp_path: Path) -> None:
    socket = f"unix://{tmp_path}/s.sock"
    with serving(*MEMORY, "--set", f"listen={socket}", cwd=tmp_path) as running:
        assert runner(socket)("set", "session", "k", "v").code == 0
        assert runner(socket)("get", "session", "k").out == b"v"

        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0

    assert runner(socket)("get", "session", "k").code == 5


def test_a_second_daemon_is_refused_and_the_first_serves_on(tmp_path: Path) -> None:
    socket = f"unix://{tmp_path}/s.sock"
    with serving(*MEMORY, "--set", f"listen={socket}", cwd=tmp_path) as first:
        code, told = refused(*MEMORY, "--set", f"listen={socket}", "--set", "data_dir=other", cwd=tmp_path)
        assert (code, f"the socket {tmp_path}/s.sock is in use by process {first.pid}" in told) == (75, True)

        code, told = refused(*MEMORY, "--set", "listen=127.0.0.1:0", cwd=tmp_path)
        assert (code, f"{tmp_path}/.state-sidecar is in use by process {first.pid}: stop it" in told) == (75, True)
        assert "Traceback" not in told

        assert runner(socket)("set", "session", "k", "v").code == 0


def test_a_daemon_killed_by_kill_9_leaves_its_socket_and_directory_to_the_next(tmp_path: Path) -> None:
    socket = f"unix://{tmp_path}/s.sock"
    with serving(*MEMORY, "--set", f"listen={socket}", cwd=tmp_path) as first:
        first.kill()
        first.wait(30)

    with serving(*MEMORY, "--set", f"listen={socket}", cwd=tmp_path):
        assert runner(socket)("set", "session", "k", "v").code == 0


def test_what_was_set_on_embedded_tiers_is_there_after_kill_9(tmp_path: Path) -> None:
    socket = f"unix://{tmp_path}/s.sock"
    arguments = ("--set", f"listen={socket}", "--set", "http_listen=")
    with serving(*arguments, cwd=tmp_path) as first:
        told = runner(socket)("set", "session", "k", "v", "--json").json
        assert told["durability"] == "COMMITTED"
        first.kill()
        first.wait(30)

    with serving(*arguments, cwd=tmp_path):
        got = runner(socket)("get", "session", "k", "--json").json
        assert (got["entry"]["value"], got["entry"]["version"]) == ("v", told["version"])


def test_a_data_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    code, told = refused(*MEMORY, "--set", "data_dir=file/data", "--set", "listen=127.0.0.1:0", cwd=tmp_path)

    assert code == 73
    line = told.splitlines()[-1]
    assert line.startswith(f"state-sidecar: cannot make the data directory {tmp_path}/file/data: Not a directory")
    assert "Traceback" not in told


def test_serving_loads_neither_the_client_s_channel_nor_the_terminal_s_library(tmp_path: Path) -> None:
    program = (
        "import sys; from sidecar.cli import main\n"
        "try: main(['serve', '--set', 'nonsense'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'rich', 'statesidecar', 'yaml', 'grpc', 'prometheus_client'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"


def test_the_version_is_told() -> None:
    ran = subprocess.run([sys.executable, "-m", "sidecar", "--version"], capture_output=True, text=True, check=True)

    assert ran.stdout.startswith("state-sidecar, version 0.")
