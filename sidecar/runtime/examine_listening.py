"""The addresses that a daemon would listen on: free, or a daemon is there already, or somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import stat
from pathlib import Path

import grpc

from sidecar.rpc.status import DETAILS_KEY
from sidecar.runtime import guarding, parsing
from sidecar.runtime.examine_files import unusable
from sidecar.runtime.findings import Finding, note, ok, wrong
from sidecar.runtime.locks import StartError
from sidecar.runtime.settings import Settings
from sidecar.runtime.settings_sections import DEFAULT_TCP
from statesidecar.v1.admin_service_pb2 import TIER_STATE_DOWN, GetStatusRequest, GetStatusResponse
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceStub
from statesidecar.v1.types_pb2 import SERVING_MODE_NORMAL, ServingMode, Tier

_ANSWER_BYTES_MAX = 4096
_PEM_BEGIN, _PEM_END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


async def examine(settings: Settings, *, timeout_s: float) -> list[Finding]:
    """`listen`, each address, and `http_listen`."""
    addresses = settings.listen or [DEFAULT_TCP, f"unix://{settings.data_dir / 'state.sock'}"]
    found = await asyncio.gather(
        *(_grpc(settings, address, timeout_s) for address in addresses),
        _http(settings.http_listen, timeout_s),
    )
    return [*_files(settings), *found]


def _files(settings: Settings) -> list[Finding]:
    """Of TLS, and of who may call: as a start reads them."""
    found: list[Finding] = []
    try:
        if settings.tls.certificate is not None:
            from sidecar.runtime.tls import server_credentials  # noqa: PLC0415  # with OpenSSL, where it is used

            server_credentials(settings.tls)
            found.append(ok("tls", str(settings.tls.certificate), "a certificate and its key"))
        if guarding.gate(settings, None) is not None:
            found.append(ok("auth", "", f"{len(settings.auth.identities)} identities may call"))
    except StartError as exc:
        found.append(wrong("auth" if found or settings.tls.certificate is None else "tls", "", str(exc)))
    return found


async def _grpc(settings: Settings, address: str, timeout_s: float) -> Finding:
    path = parsing.unix_path(address)
    if path is None:
        taken, problem = await _tcp(address, timeout_s)
    else:
        if settings.listen is None and len(os.fsencode(path)) > parsing.UNIX_PATH_BYTES_MAX:
            return note("listen", address, "left out: its path is too long; set data_dir or listen")
        taken, problem = _unix(path)
    if not taken:
        return wrong("listen", address, problem) if problem else ok("listen", address, "free")
    if path is None and settings.tls.certificate is not None:
        return await _with_tls(address, settings.tls.certificate, timeout_s)
    status = await _daemon(address, timeout_s)
    if isinstance(status, grpc.StatusCode):
        return ok("listen", address, "state-sidecar serves there, and asks who calls")
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


async def _with_tls(address: str, certificate: Path, timeout_s: float) -> Finding:
    """Whether what answers there shows our certificate: that is as much as can be known without one's own."""
    host, port = parsing.parse_tcp_address(address)
    try:
        shown = await asyncio.to_thread(ssl.get_server_certificate, (host, port), timeout=timeout_s)
    except OSError:
        shown = ""
    if shown.split() and shown.split() == (await asyncio.to_thread(_leaf, certificate)).split():
        return ok("listen", address, "a daemon with this certificate serves there")
    told = (
        "another program answers there, or one with another certificate: stop it, or choose another address with listen"
    )
    return wrong("listen", address, told)


def _leaf(certificate: Path) -> str:
    """The first certificate of a file; empty: it can't be read, which `tls` tells."""
    try:
        first, end, _ = certificate.read_text().partition(_PEM_END)
    except (OSError, ValueError):
        return ""
    return first[first.find(_PEM_BEGIN) :] + end


async def _daemon(address: str, timeout_s: float) -> GetStatusResponse | grpc.StatusCode | None:
    """What answers GetStatus there; UNAUTHENTICATED: a daemon that asks who calls; None: no daemon does."""
    async with grpc.aio.insecure_channel(address.replace("unix://", "unix:", 1)) as channel:
        try:
            status: GetStatusResponse = await AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as exc:
            asks = b"TOKEN_MISSING" in dict(exc.trailing_metadata() or ()).get(DETAILS_KEY, b"")
            return grpc.StatusCode.UNAUTHENTICATED if asks else None
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
