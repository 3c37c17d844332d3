"""TLS of the daemon's ports: certificates in PEM, read again when their files change, for every connection that begins."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from sidecar.rpc.access.files import Watched
from sidecar.runtime.locks import StartError
from sidecar.runtime.settings_security import TlsSettings


def server_credentials(tls: TlsSettings) -> Any:
    """What the server's ports are opened with; None: without TLS. With `client_ca`, a caller without its certificate is cut off.

    Raises StartError for files that can't be used. Files that change to what can't be are not taken.
    """
    if tls.certificate is None or tls.key is None:
        return None
    paths = [tls.certificate, tls.key, *([] if tls.client_ca is None else [tls.client_ca])]
    try:
        watched = Watched(paths, lambda contents: _configuration(paths, contents), monotonic=time.monotonic)
    except OSError as exc:
        raise _unusable(f"{exc.filename}: {exc.strerror}") from exc
    except ValueError as exc:
        raise _unusable(str(exc)) from exc
    return grpc.dynamic_ssl_server_credentials(
        watched.get(), watched.get, require_client_authentication=tls.client_ca is not None
    )


def _configuration(paths: Sequence[Path], contents: Sequence[bytes]) -> Any:
    """Raises ValueError, which names files and repeats nothing of them."""
    certificate, key, *authorities = contents
    check_pair(*paths[:2])
    for authority, path in zip(authorities, paths[2:], strict=True):
        try:
            ssl.create_default_context(cadata=authority.decode())
        except (ssl.SSLError, ValueError):
            raise ValueError(f"{path}: no certificate in PEM") from None
    if [path.read_bytes() for path in paths[:2]] != [certificate, key]:
        raise ValueError("the files changed while they were read")
    return grpc.ssl_server_certificate_configuration([(key, certificate)], *authorities)


def check_pair(certificate: Path, key: Path) -> None:
    """ValueError unless they belong together; OSError where one can't be read."""
    for path in (certificate, key):
        path.open("rb").close()  # an error of the context doesn't say which
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_none)
    except ssl.SSLError as exc:
        raise ValueError(f"{certificate} and {key}: not a certificate in PEM and its key ({exc.reason})") from None


def _none() -> bytes:
    """No password: OpenSSL would ask a terminal for it."""
    return b""


def _unusable(why: str) -> StartError:
    return StartError(f"tls can't be used: {why}", exit_code=os.EX_USAGE)
