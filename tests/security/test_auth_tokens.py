"""Who is believed: static tokens, JSON Web Tokens, and everything that is no good as one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest

from sidecar.rpc.access.jwks import KeyAddress, KeyFile, parse
from sidecar.rpc.access.jwts import Jwts
from sidecar.rpc.access.tokens import parse as parse_tokens
from statesidecar.v1 import state_service_pb2 as pb
from tests.security.callers import AUDIENCE, ISSUER, Authority, Issuer, bearer, part, token_of, write_jwks, write_tokens
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.statuses import refusal

SUBJECT = "system:serviceaccount:shop:app"
RULE = {"namespaces": ["shop"], "methods": ["read"]}
INVALID = (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
MISSING = (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
REQUEST = pb.GetRequest(namespace="shop", key="key")


def get(daemon: RunningDaemon, *metadata: tuple[str, str]) -> Any:
    """A Get with that metadata."""
    return daemon.state.Get(REQUEST, metadata=metadata or None)


@asynccontextmanager
async def with_tokens(tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    auth = {"tokens": tmp_path / "tokens", "identities": {"app": RULE}}
    async with running_daemon(tmp_path / "data", auth=auth) as daemon:
        yield daemon


@asynccontextmanager
async def with_jwts(tmp_path: Path, jwks: Path | str, **given: Any) -> AsyncIterator[RunningDaemon]:
    auth = {
        "jwt": {"jwks": str(jwks), "issuer": ISSUER, "leeway_s": 0, **given},
        "identities": {"app": RULE | {"jwt_subject": SUBJECT}},
    }
    async with running_daemon(tmp_path / "data", auth=auth) as daemon:
        yield daemon


# ---- static tokens


async def test_a_static_token_is_taken_and_nothing_else_is(tmp_path: Path) -> None:
    write_tokens(tmp_path / "tokens", "app")
    good = token_of("app")
    async with with_tokens(tmp_path) as daemon:
        for scheme in ("Bearer", "bearer", "BEARER"):
            await get(daemon, ("authorization", f"{scheme} {good}"))

        assert (await refusal(get(daemon))).told == MISSING
        for wrong in ("", "x", good[:-1], f"{good}x", good.upper(), hashlib.sha256(good.encode()).hexdigest()):
            assert (await refusal(get(daemon, ("authorization", f"Bearer {wrong}")))).told == INVALID
        for header in (good, f"Basic {good}", f"Bearer{good}", "Bearer"):
            assert (await refusal(get(daemon, ("authorization", header)))).told == INVALID
        for twice in (bearer("wrong") + bearer(good), bearer(good) + bearer("wrong"), bearer(good) * 2):
            assert (await refusal(get(daemon, *twice))).told == INVALID
        for elsewhere in ("x-authorization", "authorization-bin", "token"):
            value: Any = f"Bearer {good}".encode() if elsewhere.endswith("-bin") else f"Bearer {good}"
            assert (await refusal(get(daemon, (elsewhere, value)))).told == MISSING


async def test_every_wrong_token_is_told_the_same(tmp_path: Path) -> None:
    """What is wrong with it is for the operator, not for who tries."""
    issuer = Issuer(kind="ES256")
    jwks = write_jwks(tmp_path / "jwks", issuer)
    wrong = ["x", "a.b.c", issuer.token(exp=1), issuer.token(aud="other"), Issuer("other", "ES256").token()]
    async with with_jwts(tmp_path, jwks) as daemon:
        told = [await refusal(get(daemon, *bearer(token))) for token in wrong]

    assert len({(one.message, str(one.info)) for one in told}) == 1


async def test_a_changed_tokens_file_is_taken_without_a_restart(tmp_path: Path) -> None:
    file = write_tokens(tmp_path / "tokens", "app")
    old, new = token_of("app"), "another-0123456789abcdef"
    async with with_tokens(tmp_path) as daemon:
        await get(daemon, *bearer(old))
        file.write_text(f"app: {old}\napp: sha256:{hashlib.sha256(new.encode()).hexdigest()}\n")
        await _until(lambda: get(daemon, *bearer(new)))
        await get(daemon, *bearer(old))
        file.write_text(f"app: {new}\n")
        await _until_refused(lambda: get(daemon, *bearer(old)))

        file.write_text("app new\n")  # not taken: what was known stays
        await get(daemon, *bearer(new))


async def _until(call: Any, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
    """Until a call is answered so: files are looked at once a second."""
    async with asyncio.timeout(10):
        while await call().code() is not code:
            pass


async def _until_refused(call: Any) -> None:
    await _until(call, grpc.StatusCode.UNAUTHENTICATED)


def test_a_tokens_file_is_read_strictly_and_its_tokens_are_never_repeated() -> None:
    digest = hashlib.sha256(b"first-0123456789").digest()
    assert parse_tokens(b"# comment\n\n a : first-0123456789 \n") == {digest: "a"}
    assert parse_tokens(f"a: sha256:{digest.hex().upper()}".encode()) == {digest: "a"}
    for wrong in (
        b"a: short",
        b"a first-0123456789",
        b"a:",
        b": secretsecretsecret",
        b"a: secretsecret secret",
        b"\xff",
    ):
        with pytest.raises(ValueError, match="tokens") as caught:
            parse_tokens(wrong)
        assert "secret" not in str(caught.value)
    for twice in (b"sha256:12", b"sha256:" + b"0" * 63):
        with pytest.raises(ValueError, match="line 1"):
            parse_tokens(b"a: " + twice)
    with pytest.raises(ValueError, match="line 2: b has the token of a"):
        parse_tokens(b"a: first-0123456789\nb: first-0123456789\n")


# ---- JSON Web Tokens


@pytest.mark.parametrize("kind", ["RS256", "ES256", "EdDSA"])
async def test_a_good_token_is_taken(tmp_path: Path, kind: str) -> None:
    issuer = Issuer(kind=kind)
    async with with_jwts(tmp_path, write_jwks(tmp_path / "jwks", issuer)) as daemon:
        for token in (issuer.token(), issuer.token(aud=[AUDIENCE, "other"]), issuer.token(nbf=None, iat=None)):
            await get(daemon, *bearer(token))


async def test_tokens_that_are_not_for_us_or_not_from_whom_they_say_are_refused(tmp_path: Path) -> None:
    issuer, other = Issuer(), Issuer()  # the other one says it has the same key
    now = int(time.time())
    good = issuer.token()
    head, body, signature = good.split(".")
    header = {"typ": "JWT", "kid": issuer.kid}
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": SUBJECT, "exp": now + 600}

    def with_secret(algorithm: str, secret: bytes) -> str:
        signed = f"{part(header | {'alg': algorithm})}.{part(claims)}"
        digest = hmac.new(secret, signed.encode(), "sha256").digest()
        return f"{signed}.{jwt.utils.base64url_encode(digest).decode()}"

    wrong = {
        "ended": issuer.token(exp=now - 1),
        "not begun": issuer.token(nbf=now + 60),
        "made later": issuer.token(iat=now + 60),
        "without an end": issuer.token(exp=None),
        "an end that is no time": jwt.encode(claims | {"exp": 1e300}, issuer.key, "RS256", {"kid": issuer.kid}),
        "another audience": issuer.token(aud="other"),
        "no audience": issuer.token(aud=None),
        "an audience that begins alike": issuer.token(aud=f"{AUDIENCE}-2"),
        "another issuer": issuer.token(iss=f"{ISSUER}/"),
        "no issuer": issuer.token(iss=None),
        "no subject": issuer.token(sub=None),
        "another's key under the same name": other.token(),
        "no algorithm": f"{part(header | {'alg': 'none'})}.{part(claims)}.",
        "no algorithm, and a signature": f"{part(header | {'alg': 'none'})}.{part(claims)}.{signature}",
        "NONE": f"{part(header | {'alg': 'NONE'})}.{part(claims)}.",
        "the public key as a secret": with_secret("HS256", issuer.public_pem()),
        "the public key as a secret, said to be RS256": with_secret("RS256", issuer.public_pem()),
        "the empty secret": with_secret("HS256", b""),
        "another algorithm of the same key": jwt.encode(claims, issuer.key, "PS256", {"kid": issuer.kid}),
        "a key that it brings along": jwt.encode(claims, other.key, "RS256", {"jwk": other.jwk(), "kid": "new"}),
        "a key of an address that it names": jwt.encode(claims, other.key, "RS256", {"jku": "https://x", "kid": "new"}),
        "no key named": jwt.encode(claims, issuer.key, "RS256"),
        "a path as its key": jwt.encode(claims, issuer.key, "RS256", {"kid": "../../etc/passwd"}),
        "something that must be understood": jwt.encode(
            claims, issuer.key, "RS256", {"kid": "one", "crit": ["x"], "x": 1}
        ),
        "claims that were changed": f"{head}.{part(claims | {'sub': 'system:admin'})}.{signature}",
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "no base64": "~.~.~",
    }
    async with with_jwts(tmp_path, write_jwks(tmp_path / "jwks", issuer)) as daemon:
        await get(daemon, *bearer(good))
        for name, token in wrong.items():
            assert (await refusal(get(daemon, *bearer(token)))).told == INVALID, name
        for at in range(0, len(good) - 1, 7):
            changed = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
            assert (await refusal(get(daemon, *bearer(changed)))).told == INVALID, f"character {at}"
        await get(daemon, *bearer(good))


async def test_a_verified_subject_without_a_rule_may_nothing(tmp_path: Path) -> None:
    issuer = Issuer(kind="ES256")
    async with with_jwts(tmp_path, write_jwks(tmp_path / "jwks", issuer)) as daemon:
        for subject in ("system:serviceaccount:shop:app2", "app", "system:serviceaccount:shop:ap", ""):
            told = (await refusal(get(daemon, *bearer(issuer.token(subject))))).told
            assert told == (grpc.StatusCode.PERMISSION_DENIED, "METHOD_DENIED")


async def test_a_new_key_is_taken_at_once_and_an_old_one_is_not_taken_for_long(tmp_path: Path) -> None:
    """Also not for a token that was verified before."""
    old, new = Issuer("old", "ES256"), Issuer("new", "ES256")
    jwks = write_jwks(tmp_path / "jwks", old)
    token = old.token()
    async with with_jwts(tmp_path, jwks) as daemon:
        await get(daemon, *bearer(token))
        write_jwks(jwks, old, new)
        await get(daemon, *bearer(new.token()))
        await get(daemon, *bearer(token))

        write_jwks(jwks, new)
        await _until_refused(lambda: get(daemon, *bearer(token)))
        await get(daemon, *bearer(new.token()))


def test_a_token_that_was_verified_ends_all_the_same(tmp_path: Path) -> None:
    issuer = Issuer(kind="ES256")
    keys = KeyFile(write_jwks(tmp_path / "jwks", issuer), monotonic=lambda: 0.0)
    now = [time.time()]
    jwts = Jwts(keys, issuer=ISSUER, audience=AUDIENCE, algorithms=["ES256"], leeway_s=10, now=lambda: now[0])
    token = issuer.token(exp=int(now[0]) + 60)
    digest = hashlib.sha256(token.encode()).digest()

    assert jwts.subject(token, digest) == SUBJECT
    now[0] += 65
    assert jwts.subject(token, digest) == SUBJECT  # the leeway
    now[0] += 6
    with pytest.raises(Exception, match="not accepted"):
        jwts.subject(token, digest)


def test_of_a_key_set_only_keys_that_verify_are_taken() -> None:
    issuer = Issuer(kind="ES256")
    others: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"},
        issuer.jwk() | {"use": "enc", "kid": "encryption"},
        {"kty": "EC", "kid": "broken", "crv": "P-256", "x": "AA", "y": "AA"},
        {name: value for name, value in issuer.jwk().items() if name != "kid"},
        "text",
    ]
    assert set(parse(json.dumps({"keys": [*others, issuer.jwk()]}).encode())) == {issuer.kid}
    for wrong in (
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        json.dumps({"keys": others}).encode(),
        b"[" * 10**5,
    ):
        with pytest.raises(ValueError, match="jwks"):
            parse(wrong)


# ---- keys from an address


class _Keys(BaseHTTPRequestHandler):
    content: bytes = b""
    status = 200
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("location", "https://127.0.0.1:1/")
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def key_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *issuers: Issuer) -> Iterator[tuple[str, type[_Keys]]]:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("keys"))
    kind = type("Keys", (_Keys,), {"content": json.dumps({"keys": [one.jwk() for one in issuers]}).encode()})
    server = HTTPServer(("127.0.0.1", 0), kind)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    try:
        yield f"https://localhost:{server.server_port}/keys", kind
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


async def test_keys_of_an_address_are_asked_for_when_a_token_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer(kind="ES256")
    with key_server(tmp_path, monkeypatch, issuer) as (url, server):
        async with with_jwts(tmp_path, url) as daemon:
            await asyncio.gather(*(get(daemon, *bearer(issuer.token())) for _ in range(20)))
            assert server.asked == 1

            for index in range(20):  # keys that nobody has are no way to make the daemon ask and ask
                assert (await refusal(get(daemon, *bearer(Issuer(f"{index}", "ES256").token())))).told == INVALID
            assert server.asked == 1


async def test_a_rotation_behind_an_address_is_learned_and_its_outage_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Issuer("old", "ES256"), Issuer("new", "ES256")
    now = [0.0]
    with key_server(tmp_path, monkeypatch, old) as (url, server):
        keys = KeyAddress(url, monotonic=lambda: now[0], refresh_s=300, retry_s=10)
        await keys.learn()
        assert keys.key("old") is not None

        server.content = json.dumps({"keys": [new.jwk()]}).encode()
        now[0] = 9
        await keys.learn()
        assert keys.key("new") is None  # too soon to ask again
        now[0] = 10
        await keys.learn()
        assert keys.key("new") is not None
        assert (keys.key("old"), keys.generation) == (None, 2)

        for status, content in ((500, b""), (200, b"<html>"), (200, b" " * (2 << 20)), (302, b"")):
            server.status, server.content = status, content
            now[0] += 10
            await keys.learn()
            assert keys.key("new") is not None
        assert keys.generation == 2


async def test_keys_that_cannot_be_had_are_an_outage_and_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer(kind="ES256")
    with key_server(tmp_path, monkeypatch, issuer) as (url, server):
        monkeypatch.delenv("SSL_CERT_FILE")  # its certificate is of an authority that is not trusted
        async with with_jwts(tmp_path, url) as daemon:
            refused = await refusal(get(daemon, *bearer(issuer.token())))

        assert refused.told == (grpc.StatusCode.UNAVAILABLE, "TOKEN_KEYS_UNAVAILABLE")
        assert refused.retry is not None
        assert server.asked == 0
