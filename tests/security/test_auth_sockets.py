"""Who reaches a Unix socket: our user and group, from the moment it is there."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from pathlib import Path

from sidecar.runtime.listening import Listening
from tests.support.daemon import running_daemon, settings

CONNECT = """
import os, socket, sys
os.setgroups([]), os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))
socket.socket(socket.AF_UNIX).connect(sys.argv[1])
"""
NOBODY = 65534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class WideOpen:
    """A server that binds as gRPC does, and looks at what it made at once."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.modes: list[int] = []

    def add_insecure_port(self, target: str) -> int:
        path = target.removeprefix("unix:")
        self.sockets.append(socket.socket(socket.AF_UNIX))
        self.sockets[-1].bind(path)
        self.modes.append(mode(Path(path)))
        return 1


async def test_a_socket_is_never_wider_than_for_our_group(tmp_path: Path) -> None:
    path = tmp_path / "state.sock"
    server = WideOpen()
    before = os.umask(0)
    try:
        await Listening(settings(tmp_path / "data", listen=[f"unix://{path}"])).bind(server)  # type: ignore[arg-type]
        assert os.umask(0) == 0, "the process has its mask back"
    finally:
        os.umask(before)
        server.sockets[0].close()

    assert server.modes == [0o700]
    assert mode(path) == 0o660


async def test_a_daemons_socket_is_for_our_user_and_group(tmp_path: Path) -> None:
    path = tmp_path / "state.sock"
    before = os.umask(0)
    try:
        async with running_daemon(tmp_path / "data", listen=[f"unix://{path}"]):
            assert mode(path) == 0o660
            assert mode(tmp_path / "data") & 0o077 == 0
    finally:
        os.umask(before)


async def test_another_user_cannot_connect(tmp_path: Path) -> None:
    """Only root can become somebody else; for others, the modes above have to do."""
    for directory in (tmp_path, *tmp_path.parents):  # nothing but the socket itself may keep them out
        if os.geteuid() == directory.stat().st_uid and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    path = tmp_path / "state.sock"
    users = {0: True, NOBODY: False} if os.geteuid() == 0 else {}
    async with running_daemon(tmp_path / "data", listen=[f"unix://{path}"]):
        for user, reached in users.items():
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", CONNECT, str(path), str(user)), stderr=asyncio.subprocess.PIPE
            )
            _, told = await program.communicate()
            assert (program.returncode == 0) == reached, told
            assert reached or b"PermissionError" in told
