"""Who calls: files of tokens, JSON Web Key Sets, JWTs, and what of a call's metadata says it.

Files may be refused with ValueError, which repeats no token; tokens with Unauthenticated. Only what was signed is known.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from sidecar.core.errors import Unauthenticated
from sidecar.rpc.access import jwks, tokens
from sidecar.rpc.access.jwks import KeyFile
from sidecar.rpc.access.jwts import Jwts
from tests.fuzz.drawing import Draw

_NOW = 1_800_000_000.0
_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_KEY = json.loads(OKPAlgorithm.to_jwk(_PRIVATE.public_key())) | {"kid": "1", "use": "sig"}
_RSA = {"kty": "RSA", "kid": "2", "e": "AQAB", "n": urlsafe_b64encode(b"\xc1" * 256).decode().rstrip("=")}
_EC = {"kty": "EC", "kid": "3", "crv": "P-256", "x": "AA", "y": "AA"}
_CLAIMS = {"exp": _NOW + 60, "iss": "issuer", "aud": "state-sidecar", "sub": "shop"}
_TOKEN = jwt.encode(_CLAIMS, _PRIVATE, "EdDSA", {"kid": "1"})
_FOLDER = tempfile.TemporaryDirectory()
_SET = Path(_FOLDER.name) / "jwks.json"
_SET.write_text(json.dumps({"keys": [_KEY]}))


def _jwts() -> Jwts:
    return Jwts(
        KeyFile(_SET, monotonic=lambda: 0.0),
        issuer="issuer",
        audience="state-sidecar",
        algorithms=["RS256", "ES256", "EdDSA"],
        leeway_s=5.0,
        now=lambda: _NOW,
    )


_JWTS = _jwts()


def seeds() -> Iterator[bytes]:
    yield b"\0shop: 0123456789abcdefg\nother: sha256:" + b"a1" * 32 + b"\n# comment\n"
    yield b"\1" + json.dumps({"keys": [_KEY, _RSA, _EC]}).encode()
    yield b"\2" + _TOKEN.encode()
    yield b"\3\1\0\x20\0x"
    for header in (
        {"alg": "none", "kid": "1"},
        {"alg": "HS256", "kid": "1"},
        {"alg": "EdDSA", "kid": "1", "crit": ["b64"]},
    ):
        yield b"\4" + json.dumps(header).encode() + b"|" + json.dumps(_CLAIMS).encode()
    yield b"\5" + json.dumps(_CLAIMS).encode()
    yield b"\5" + json.dumps(_CLAIMS | {"exp": 1e400, "nbf": True, "aud": [1]}).encode()


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 6:
        case 0:
            _tokens(draw.rest())
        case 1:
            with suppress(ValueError):
                assert all(isinstance(kid, str) for kid in jwks.parse(draw.rest()))
        case 2:
            _refused(draw.rest().decode("latin-1"))
        case 3:
            _refused(draw.edited(_TOKEN.encode()).decode("latin-1"))
        case 4:
            header, _, claims = draw.rest().partition(b"|")
            _refused(b".".join((_encoded(header), _encoded(claims), _TOKEN.encode().rpartition(b".")[2])).decode())
        case _:
            _signed(draw.rest())


def _tokens(content: bytes) -> None:
    try:
        names = tokens.parse(content)
    except ValueError as exc:
        _says_no_token(str(exc), content)
    else:
        assert all(len(digest) == hashlib.sha256().digest_size for digest in names)


def _says_no_token(said: str, content: bytes) -> None:
    """Names may be told, not what is after them."""
    for line in content.decode("utf-8", "replace").splitlines():
        _, _, token = line.partition(":")
        token = token.strip()
        assert len(token) < tokens.TOKEN_CHARACTERS_MIN or token not in said, "a token is repeated"


def _refused(token: str) -> None:
    """It is known only if it says what was signed: the last characters of base64 have bits that say nothing."""
    with suppress(Unauthenticated):
        subject = _JWTS.subject(token, hashlib.sha256(token.encode()).digest())
        if subject is not None:
            said = token.encode().rpartition(b".")[0]
            assert said == _TOKEN.encode().rpartition(b".")[0], "a token that nobody signed was accepted"


def _signed(claims: bytes) -> None:
    """Whatever an issuer signs."""
    head = _TOKEN.encode().partition(b".")[0] + b"." + _encoded(claims)
    token = (head + b"." + _encoded(_PRIVATE.sign(head))).decode()
    with suppress(Unauthenticated):
        subject = _JWTS.subject(token, hashlib.sha256(token.encode()).digest())
        told = json.loads(urlsafe_b64decode(_encoded(claims) + b"=="))
        assert isinstance(subject, str)
        assert (told["sub"], told["iss"]) == (subject, "issuer")
        assert told["exp"] > _NOW - 6
        assert told["aud"] == "state-sidecar" or "state-sidecar" in told["aud"]


def _encoded(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")
