"""TLS: whose certificate is known, which identity it is, and certificates that change while the daemon serves."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from sidecar.runtime.locks import StartError
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub
from tests.security.callers import Authority, bearer, token_of, write_tokens
from tests.support.daemon import running_daemon
from tests.support.statuses import refusal

RULE = {"namespaces": ["shop"], "methods": ["read"]}
REQUEST = pb.GetRequest(namespace="shop", key="key")
SPIFFE = "spiffe://cluster.test/ns/shop/sa/app"
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "METHOD_DENIED")


class Served:
    """A daemon with TLS, and the ways to call it."""

    def __init__(self, address: str, authority: Authority) -> None:
        self.port = int(address.rpartition(":")[2])
        self._authority = authority

    async def get(self, client: tuple[Path, Path] | None = None, **given: Any) -> Any:
        """A Get on a connection of its own, with a client certificate or without."""
        certificate, key = (None, None) if client is None else (path.read_bytes() for path in client)
        credentials = grpc.ssl_channel_credentials(self._authority.pem, key, certificate)
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.secure_channel(f"localhost:{self.port}", credentials, options=options) as channel:
            return await StateServiceStub(channel).Get(REQUEST, timeout=10, **given)

    def certificate(self) -> bytes:
        """The one that it shows."""
        return ssl.get_server_certificate(("127.0.0.1", self.port)).encode()


@asynccontextmanager
async def served(tmp_path: Path, *, mutual: bool, listen: str = "127.0.0.1:0", **auth: Any) -> AsyncIterator[Served]:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    tls = {"certificate": certificate, "key": key} | ({"client_ca": authority.file} if mutual else {})
    async with running_daemon(tmp_path / "data", tls=tls, auth=auth, listen=[listen]) as daemon:
        yield Served(daemon.daemon.addresses[0], authority)


def uri(text: str = SPIFFE) -> list[x509.GeneralName]:
    """The alternative names of a workload's certificate."""
    return [x509.UniformResourceIdentifier(text)]


async def cut_off(call: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_with_tls_nothing_is_said_in_the_clear(tmp_path: Path) -> None:
    async with served(tmp_path, mutual=False) as daemon:
        await daemon.get()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{daemon.port}") as channel:
            await cut_off(StateServiceStub(channel).Get(REQUEST, timeout=10))


async def test_only_certificates_of_the_authority_come_in(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    async with served(tmp_path, mutual=True) as daemon:
        await cut_off(daemon.get())
        await cut_off(daemon.get(other.issue("app", names=uri())))
        await daemon.get(daemon._authority.issue("app", names=uri()))


async def test_a_certificate_is_the_identity_whose_name_it_has(tmp_path: Path) -> None:
    identities = {
        "app": RULE | {"certificate": SPIFFE},
        "dns": RULE | {"certificate": "app.shop.test"},
        "common": RULE | {"certificate": "batch"},
    }
    async with served(tmp_path, mutual=True, identities=identities) as daemon:
        issue = daemon._authority.issue
        dns: list[x509.GeneralName] = [x509.DNSName("app.shop.test")]
        for known in (uri(), [*uri(), x509.DNSName("unknown.test")], dns):
            await daemon.get(issue("any", names=known))
        await daemon.get(issue("batch", names=[]))

        wrong: dict[str, list[x509.GeneralName]] = {
            "another path": uri(f"{SPIFFE}2"),
            "a name of another kind": [x509.DNSName(SPIFFE)],
            "a wildcard": [x509.DNSName("*.shop.test")],
            "two identities": [*uri(), x509.DNSName("app.shop.test")],
            "unknown": [x509.DNSName("unknown.test")],
        }
        for name, names in wrong.items():
            assert (await refusal(daemon.get(issue("any", names=names)))).told == DENIED, name
        # A common name counts only where there is nothing better: anybody may be called anything there.
        told = (await refusal(daemon.get(issue("batch", names=[x509.DNSName("unknown.test")])))).told
        assert told == DENIED


async def test_a_token_goes_before_a_certificate(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", "app", "nobody")
    identities = {"app": RULE, "mesh": RULE | {"certificate": SPIFFE}}
    async with served(tmp_path, mutual=True, tokens=tokens, identities=identities) as daemon:
        mesh = daemon._authority.issue("any", names=uri())
        await daemon.get(mesh)
        await daemon.get(mesh, metadata=bearer(token_of("app")))
        # What is said is meant: a token that is wrong isn't made good by the certificate.
        told = (await refusal(daemon.get(mesh, metadata=bearer("x" * 20)))).told
        assert told == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
        assert (await refusal(daemon.get(mesh, metadata=bearer(token_of("nobody"))))).told == DENIED


async def test_beyond_loopback_a_daemon_serves_with_tls_and_identities(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", "app")
    identities = {"app": RULE}
    async with served(tmp_path, mutual=False, listen="0.0.0.0:0", tokens=tokens, identities=identities) as daemon:
        await daemon.get(metadata=bearer(token_of("app")))
        assert (await refusal(daemon.get())).told == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


async def test_a_new_certificate_is_shown_without_a_restart_and_a_broken_one_never(tmp_path: Path) -> None:
    async with served(tmp_path, mutual=False) as daemon:
        before = daemon.certificate()
        certificate, key = daemon._authority.issue("server")
        after = certificate.read_bytes()
        while daemon.certificate() == before:  # files are looked at once a second
            pass
        assert daemon.certificate() == after

        key.write_bytes(b"half a key")
        await daemon.get()
        other, _ = daemon._authority.issue("other")
        certificate.write_bytes(other.read_bytes())  # not the key's
        await daemon.get()
        assert daemon.certificate() == after


@pytest.mark.parametrize("broken", ["certificate", "key", "client_ca"])
@pytest.mark.parametrize("content", [b"nothing", None])
async def test_files_that_cannot_be_used_are_named_at_start(tmp_path: Path, broken: str, content: bytes | None) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    tls = {"certificate": certificate, "key": key, "client_ca": authority.file}
    if content is None:
        tls[broken].unlink()
    else:
        tls[broken].write_bytes(content)

    with pytest.raises(StartError, match="tls can't be used") as caught:
        async with running_daemon(tmp_path / "data", tls=tls):
            pass
    assert str(tls[broken]) in str(caught.value)
    assert caught.value.exit_code == 64
