"""The addresses that a daemon would listen on: free, or a daemon is there already, or somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

import grpc

from sidecar.runtime import parsing
from sidecar.runtime.examine_files import unusable
from sidecar.runtime.findings import Finding, note, ok, wrong
from sidecar.runtime.settings import DEFAULT_TCP, Settings
from statesidecar.v1.admin_service_pb2 import TIER_STATE_DOWN, GetStatusRequest, GetStatusResponse
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceStub
from statesidecar.v1.types_pb2 import SERVING_MODE_NORMAL, ServingMode, Tier

_ANSWER_BYTES_MAX = 4096


async def examine(settings: Settings, *, timeout_s: float) -> list[Finding]:
    """`listen`, each address, and `http_listen`."""
    addresses = settings.listen or [DEFAULT_TCP, f"unix://{settings.data_dir / 'state.sock'}"]
    found = await asyncio.gather(
        *(_grpc(address, timeout_s, asked_for=settings.listen is not None) for address in addresses),
        _http(settings.http_listen, timeout_s),
    )
    return list(found)


async def _grpc(address: str, timeout_s: float, *, asked_for: bool) -> Finding:
    path = parsing.unix_path(address)
    if path is None:
        taken, problem = await _tcp(address, timeout_s)
    else:
        if not asked_for and len(os.fsencode(path)) > parsing.UNIX_PATH_BYTES_MAX:
            return note("listen", address, "left out: its path is too long; set data_dir or listen")
        taken, problem = _unix(path)
    if not taken:
        return wrong("listen", address, problem) if problem else ok("listen", address, "free")
    status = await _daemon(address, timeout_s)
    if status is None:
        return wrong("listen", address, "another program answers there: stop it, or choose another address with listen")
    of_app = f" of app {status.app}" if status.app else ""
    told = f"state-sidecar {status.daemon_version}{of_app} serves there, mode {_word(ServingMode.Name(status.mode))}"
    down = [_word(Tier.Name(tier.tier)) for tier in status.tiers if tier.state == TIER_STATE_DOWN]
    if down:
        told += f", {', '.join(down)} away: see state-sidecar status"
    well = status.mode == SERVING_MODE_NORMAL and not down
    return ok("listen", address, told) if well else note("listen", address, told)


async def _http(address: str, timeout_s: float) -> Finding:
    if not address:
        return ok("http_listen", "", "left out")
    taken, problem = await _tcp(address, timeout_s)
    if not taken:
        return wrong("http_listen", address, problem) if problem else ok("http_listen", address, "free")
    if b'"alive": true' not in await _healthz(address, timeout_s):
        told = "another program answers there: stop it, or choose another address with http_listen"
        return wrong("http_listen", address, told)
    return ok("http_listen", address, "a daemon's probes answer there")


async def _tcp(address: str, timeout_s: float) -> tuple[bool, str]:
    """Whether somebody listens; else why nobody could, empty: one could."""
    host, port = parsing.parse_tcp_address(address)
    if port == 0:
        return False, ""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return True, ""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as exc:
        return False, f"nobody can listen there ({exc.strerror}): choose another address"
    return False, ""


def _unix(path: Path) -> tuple[bool, str]:
    """As `_tcp`."""
    if problem := unusable(path.parent):
        return False, f"{problem}: choose a path in a directory this user can write"
    if not path.exists():
        return False, ""
    if not stat.S_ISSOCK(path.stat().st_mode):
        return False, "it is there and is no socket: remove it, or choose another path"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(str(path))
    # A socket that a dead daemon left refuses, and a start replaces it.
    return answer in {0, errno.EAGAIN, errno.EINPROGRESS}, ""


async def _daemon(address: str, timeout_s: float) -> GetStatusResponse | None:
    """What answers GetStatus there; None: no daemon does."""
    async with grpc.aio.insecure_channel(address.replace("unix://", "unix:", 1)) as channel:
        try:
            status: GetStatusResponse = await AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return None
    return status


def _word(name: str) -> str:
    """What is particular in an enum's name."""
    return name.removeprefix("SERVING_MODE_").removeprefix("TIER_").lower()


async def _healthz(address: str, timeout_s: float) -> bytes:
    host, port = parsing.parse_tcp_address(address)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
                # To the end: the answer's head and body may come apart.
                return await reader.readexactly(_ANSWER_BYTES_MAX)
            except asyncio.IncompleteReadError as whole:
                return whole.partial
            finally:
                writer.close()
    return b""
