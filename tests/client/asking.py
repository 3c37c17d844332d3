"""A daemon that asks who calls, and callers that it knows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statesidecar import Tls
from statesidecar.testing import sidecar
from tests.security.callers import Authority, token_of, write_tokens

SPIFFE = "spiffe://cluster.test/ns/shop/sa/app"
GOOD, WRONG = token_of("app"), token_of("nobody")
EVERYTHING = {"namespaces": ["*"], "methods": ["read", "write", "watch", "checkpoint", "outbox", "admin"]}
IDENTITIES = {
    "app": EVERYTHING,
    "reader": {"namespaces": ["shop"], "methods": ["read"]},
    "mesh": EVERYTHING | {"certificate": SPIFFE},
}
QUIET = {"tiers": {"warm": "memory://", "cold": "none://"}, "outbox": {"retry_delay_s": 0.01}}


@dataclass(frozen=True)
class Asking:
    """A daemon that asks who calls: over a Unix socket without TLS, over TCP with it."""

    unix: str
    tcp: str
    authority: Authority

    def tls(self, **given: Any) -> Tls:
        """What a client needs to believe it."""
        return Tls(**{"ca": self.authority.file} | given)


@contextmanager
def serving(directory: Path, *, mutual: bool) -> Iterator[Asking]:
    """Starts it; `mutual`: a caller without a certificate of the authority is cut off."""
    authority = Authority(directory)
    certificate, key = authority.issue("server")
    tls = {"certificate": certificate, "key": key} | ({"client_ca": authority.file} if mutual else {})
    unix = f"unix://{directory}/state.sock"
    tokens = write_tokens(directory / "tokens", "app", "reader")
    identities = IDENTITIES if mutual else {name: IDENTITIES[name] for name in ("app", "reader")}
    auth = {"tokens": tokens, "identities": identities}
    with sidecar(**QUIET, tls=tls, auth=auth, listen=["127.0.0.1:0", unix]) as running:
        yield Asking(unix, running.target, authority)


def replaced_unseen(path: Path, token: str) -> None:
    """Another token of the same length, and nothing to tell it by: as on a file system whose times are coarse."""
    before = path.stat()
    path.write_text(token)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
