from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from sidecar.runtime.locks import FileLock, LockHeld, StartError, claim_unix_socket, lock_data_dir

HOLD = """
import socket, sys
from pathlib import Path
from sidecar.runtime import locks
path = Path(sys.argv[2])
lock = getattr(locks, sys.argv[1])(path)
if sys.argv[1] == "claim_unix_socket":
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
print("held", flush=True)
sys.stdin.read()
"""
CLAIMS = {"lock_data_dir": lock_data_dir, "claim_unix_socket": claim_unix_socket}


@contextmanager
def holder(function: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is killed or its stdin ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, function, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def place(function: str, tmp_path: Path) -> Path:
    return tmp_path / "data" if function == "lock_data_dir" else tmp_path / "run" / "state.sock"


@pytest.mark.parametrize("function", CLAIMS)
def test_a_second_daemon_is_refused_and_told_who_is_first(function: str, tmp_path: Path) -> None:
    path = place(function, tmp_path)
    with holder(function, path) as first:
        with pytest.raises(LockHeld) as refused:
            CLAIMS[function](path)

        assert refused.value.pid == first.pid
        assert refused.value.exit_code == 75
        assert f"{path} is in use by process {first.pid}: stop it" in str(refused.value)


def test_a_refused_daemon_leaves_the_socket_working(tmp_path: Path) -> None:
    path = tmp_path / "state.sock"
    with holder("claim_unix_socket", path):
        with pytest.raises(LockHeld):
            claim_unix_socket(path)

        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@pytest.mark.parametrize("function", CLAIMS)
def test_a_daemon_that_died_by_kill_9_leaves_no_lock(function: str, tmp_path: Path) -> None:
    path = place(function, tmp_path)
    with holder(function, path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert function == "lock_data_dir" or path.is_socket()

        CLAIMS[function](path).release()

    assert function == "lock_data_dir" or not path.exists()


def test_the_lock_file_holds_our_pid_alone_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("a longer text of a former holder")

    with FileLock(path):
        assert path.read_text() == f"{os.getpid()}\n"

    assert path.exists()


def test_a_lock_is_exclusive_within_a_process_and_free_after_release(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(LockHeld) as refused:
        second.acquire()
    assert refused.value.pid == os.getpid()

    first.release()
    first.release()

    second.acquire()
    second.release()


def test_a_child_does_not_keep_the_lock_of_a_dead_parent(tmp_path: Path) -> None:
    program = "import sys; print('running', flush=True); sys.stdin.read()"
    with FileLock(tmp_path / "lock"):
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False
        )
        # Its descriptors are closed at its exec, which its own first line is after.
        assert child.stdout is not None
        assert child.stdout.readline() == b"running\n"
    try:
        with FileLock(tmp_path / "lock"):
            pass
    finally:
        child.kill()
        child.communicate()


def test_a_holder_that_has_not_written_its_pid_is_another_process(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"):
        (tmp_path / "lock").write_text("")
        with pytest.raises(LockHeld, match="another process") as refused:
            FileLock(tmp_path / "lock").acquire()

    assert refused.value.pid is None


def test_what_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "state.sock"
    path.write_text("notes")

    with pytest.raises(StartError, match="is no socket") as refused:
        claim_unix_socket(path)

    assert refused.value.exit_code == 73
    assert path.read_text() == "notes"
    path.unlink()
    claim_unix_socket(path).release()


def test_a_socket_that_answers_is_never_taken_even_without_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "state.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        with pytest.raises(LockHeld):
            claim_unix_socket(path)

        assert path.is_socket()


def test_a_data_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    lock_data_dir(tmp_path / "a" / "b").release()

    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@contextmanager
def _file_in_the_way(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "file").write_text("")
    yield tmp_path / "file" / "data"


@contextmanager
def _lock_is_a_link(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "data").mkdir()
    for name in ("daemon.lock", "lock.lock"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere")
    yield tmp_path / "data"


@contextmanager
def _read_only(tmp_path: Path) -> Iterator[Path]:
    # Root may write to any mode of directory, and to no read-only filesystem: /proc/sys takes no new files from anybody.
    path = Path("/proc/sys") if os.geteuid() == 0 else tmp_path / "data"
    if os.geteuid() != 0:
        path.mkdir(mode=0o500)
    yield path


@pytest.mark.parametrize("obstacle", [_file_in_the_way, _lock_is_a_link, _read_only])
@pytest.mark.parametrize("function", CLAIMS)
def test_a_place_that_cannot_be_written_is_a_typed_error(
    function: str, obstacle: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    with obstacle(tmp_path) as directory:
        path = directory if function == "lock_data_dir" else directory / "lock"
        with pytest.raises(StartError, match=r"cannot .*: set data_dir or listen to a directory") as refused:
            CLAIMS[function](path)

    assert refused.value.exit_code == 73
    assert str(path) in str(refused.value)
    assert not (tmp_path / "elsewhere").exists()
