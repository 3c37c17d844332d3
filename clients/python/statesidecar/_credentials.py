"""Who a client says it is: a bearer token that may rotate, and TLS, both from files as secrets are mounted."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from statesidecar.errors import InvalidRequest, StateSidecarError, Unauthenticated

TOKEN_FILE_VARIABLE: Final = "STATE_SIDECAR_TOKEN_FILE"  # noqa: S105  # a name
TLS_VARIABLES: Final = {name: f"STATE_SIDECAR_TLS_{name.upper()}" for name in ("ca", "certificate", "key")}
_FILE_BYTES_MAX: Final = 1 << 20
# Anything else is no header of HTTP/2; gRPC would say so, and repeat it.
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")

FilePath = str | os.PathLike[str]
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS to the daemon, and for mutual TLS who calls. Paths of PEM files, read again for a connection after they changed.

    It is for TCP addresses: a daemon serves its Unix sockets without, and so are they called.
    """

    #: The authority of the daemon's certificate. None: those that gRPC comes with.
    ca: FilePath | None = None
    #: What this client shows: both, or none.
    certificate: FilePath | None = None
    key: FilePath | None = None
    #: The name in the daemon's certificate, where it is not the target's.
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key are both needed, or none")

    def read(self) -> grpc.ChannelCredentials:
        """The files as they are now. Raises InvalidRequest (TLS_UNUSABLE)."""
        return grpc.ssl_channel_credentials(_pem("ca", self.ca), _pem("key", self.key), _pem("cert", self.certificate))

    def stamp(self) -> Stamp:
        """Differs when a file is another. Empty: one is not there."""
        return _stamp(*(Path(path) for path in (self.ca, self.certificate, self.key) if path is not None))


class Token:
    """The bearer token of now. Thread-safe. Nothing that it raises or is printed as has the token in it."""

    def __init__(self, source: Callable[[bool], object]) -> None:
        """`source` tells the token; given True, it makes sure that there is no newer one."""
        self._source = source
        #: What goes with a call. Empty: nobody has looked yet.
        self.metadata: Metadata = ()

    def look(self, *, at_once: bool = False) -> None:
        """Takes the latest. Raises Unauthenticated (TOKEN_UNUSABLE) if there is none that can be sent."""
        try:
            token = self._source(at_once)
        except Unauthenticated:
            raise
        except Exception as error:
            raise Unauthenticated("TOKEN_UNUSABLE", f"no token: {type(error).__name__}") from error
        text = token.strip() if isinstance(token, str) else ""
        if not _TOKEN.fullmatch(text):
            raise Unauthenticated("TOKEN_UNUSABLE", "the token is empty, or no text that a header may have")
        self.metadata = (("authorization", f"Bearer {text}"),)

    def renewed(self, since: Metadata) -> bool:
        """Whether there is another by now than `since`, with which a call was refused; empty: the first one."""
        refused = since or self.metadata
        try:
            self.look(at_once=True)
        except Unauthenticated:
            return False  # What is told is the refusal
        return self.metadata != refused

    def carried_by(self, rpc: Any) -> Any:
        """An RPC whose calls have the token."""

        def call(request: Any, timeout: float | None = None) -> Any:
            return rpc(request, timeout=timeout, metadata=self.metadata)

        return call


class Renewal:
    """Whether what was refused for its token is tried again: once, if there is another by now. Of a call, or of a stream."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._sent: Metadata = token.metadata
        self._left = True

    def begins(self) -> None:
        """An attempt is made with the token of now."""
        self._sent = self._token.metadata

    def answered(self) -> None:
        """It was believed."""
        self._left = True

    def helps(self, error: StateSidecarError) -> bool:
        """Whether to try again after `error`. If not, the caller is told, and what the caller tries then is another call."""
        if not isinstance(error, Unauthenticated):
            return False
        again = self._left and self._token.renewed(self._sent)
        self._left = not again
        return again


class _File:
    """A token in a file. One that was read stays while the file can't be, or is empty: it is being replaced then."""

    def __init__(self, path: FilePath) -> None:
        self._path = Path(path)
        self._read: tuple[Stamp, str] = (), ""

    def __call__(self, at_once: bool) -> str:
        # Before it is read: what changes meanwhile is another stamp, and read the next time.
        stamp = _stamp(self._path)
        before, token = self._read
        if stamp == before and token and not at_once:
            return token
        try:
            content = _content(self._path).decode("ascii").strip()
        except (OSError, ValueError) as error:
            if token:
                return token
            # Not as the cause: what can't be decoded is in it.
            why = error.strerror if isinstance(error, OSError) else "it is no text, or too large"
            raise Unauthenticated("TOKEN_UNUSABLE", f"the token file {self._path}: {why}") from None
        if content:
            self._read = stamp, content
        return content or token


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client connects and calls with. Unset: without."""

    token: Token | None
    tls: Tls | None


def credentials_for(
    target: str, token: str | Callable[[], str] | None, token_file: FilePath | None, tls: Tls | None
) -> Credentials:
    """What was given, else the environment's. Raises InvalidRequest for a token that others could read on its way."""
    if token is not None and token_file is not None:
        raise ValueError("token or token_file: one of them")
    if token is None:
        token_file = token_file or os.environ.get(TOKEN_FILE_VARIABLE) or None
    if target.startswith(("unix:", "unix-abstract:")):
        tls = None
    elif tls is None:
        named = {name: os.environ.get(variable) or None for name, variable in TLS_VARIABLES.items()}
        tls = Tls(**named) if any(named.values()) else None
    if token is None and token_file is None:
        return Credentials(None, tls)
    if tls is None and not is_local(target):
        raise InvalidRequest("TOKEN_IN_PLAIN_TEXT", f"a token for {target} needs TLS")
    if token_file is not None:
        return Credentials(Token(_File(token_file)), tls)
    return Credentials(Token(lambda _: token() if callable(token) else token), tls)


def is_local(target: str) -> bool:
    """Whether what is sent to a target of gRPC's stays on this machine, whatever any name server says."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("ipv4:", "ipv6:", "dns:///", "dns:"):
        target = target.removeprefix(scheme)
    return all(_is_loopback(address) for address in target.split(","))


def _is_loopback(address: str) -> bool:
    host = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]|(?P<name>[^:]+))(?::\d+)?", address)
    if host is None:
        return False
    try:
        return host["name"] == "localhost" or ipaddress.ip_address(host["six"] or host["name"]).is_loopback
    except ValueError:
        return False


Stamp = tuple[tuple[int, ...], ...]


def _stamp(*paths: Path) -> Stamp:
    # Kubernetes swaps a link above the files: what it leads to then has another inode.
    try:
        stats = [path.stat() for path in paths]
    except OSError:
        return ()
    return tuple((stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_FILE_BYTES_MAX + 1)
    if len(content) > _FILE_BYTES_MAX:
        raise ValueError("too large")
    return content


def _pem(name: str, path: FilePath | None) -> bytes | None:
    if path is None:
        return None
    try:
        content = _content(Path(path))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidRequest("TLS_UNUSABLE", f"{name} {os.fspath(path)}: {why}") from error
    if b"-----BEGIN " not in content:
        raise InvalidRequest("TLS_UNUSABLE", f"{name} {os.fspath(path)}: no PEM")
    return content
