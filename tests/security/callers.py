"""Callers of a daemon that tells them apart: their tokens, their certificates, and every method that they can try."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from statesidecar.v1 import admin_service_pb2, outbox_service_pb2, state_service_pb2

FILES = (
    state_service_pb2.DESCRIPTOR,
    outbox_service_pb2.DESCRIPTOR,
    admin_service_pb2.DESCRIPTOR,
    health_pb2.DESCRIPTOR,
    reflection_pb2.DESCRIPTOR,
)
ALL = ["read", "write", "watch", "checkpoint", "outbox", "admin", "health", "reflection"]
ISSUER = "https://issuer.test"
AUDIENCE = "state-sidecar"
_PEM = serialization.Encoding.PEM


def methods() -> dict[str, MethodDescriptor]:
    """Every method of every service that a daemon has, by its path."""
    return {
        f"/{service.full_name}/{method.name}": method
        for file in FILES
        for service in file.services_by_name.values()
        for method in service.methods
    }


METHODS = methods()


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)


def token_of(name: str) -> str:
    """The static token of an identity, as `write_tokens` writes it."""
    return f"{name}-0123456789abcdef"


def write_tokens(path: Path, *names: str) -> Path:
    """A tokens file with a line for each name."""
    path.write_text("".join(f"{name}: {token_of(name)}\n" for name in names))
    return path


def request_for(method: MethodDescriptor, **given: Any) -> Any:
    """A request with those of the given fields that it has."""
    kind = message_factory.GetMessageClass(method.input_type)
    return kind(**{name: value for name, value in given.items() if name in method.input_type.fields_by_name})


@dataclass
class Told:
    """What came back of a call: the bytes of all responses, and its status."""

    responses: list[bytes] = field(default_factory=list)
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    everything: bytes = b""
    """Responses, message, details and trailers: whatever a caller could look at."""


async def call(
    channel: grpc.aio.Channel,
    path: str,
    requests: list[Any],
    metadata: Any = None,
    *,
    responses_max: int = 100,
    timeout_s: float = 20,
) -> Told:
    """Any method, by its path, with requests as bytes or messages; a stream is left after `responses_max`, or some quiet."""
    told = Told()
    sent = [one if isinstance(one, bytes) else one.SerializeToString() for one in requests]
    given: dict[str, Any] = {"metadata": metadata, "timeout": timeout_s}
    # On the wire they are the same; a write into a stream that was refused meanwhile would be an error of its own.
    single = len(sent) == 1
    calls: Any = channel.unary_stream(path) if single else channel.stream_stream(path)
    stream = calls(*(sent if single else ()), **given)
    error: Any = None
    try:
        for one in () if single else sent:
            await stream.write(one)
        if not single:
            await stream.done_writing()
        while len(told.responses) < responses_max and (response := await stream.read()) is not grpc.aio.EOF:
            told.responses.append(response)
        if len(told.responses) < responses_max:
            told.code = await stream.code()
    except (grpc.aio.AioRpcError, grpc.aio.UsageError) as exc:
        error = exc
        told.code = await stream.code()
    stream.cancel()
    pieces = list(told.responses)
    if told.code is not grpc.StatusCode.OK:
        pieces.append(str(await stream.details()).encode())
        for _, value in await stream.trailing_metadata() or ():
            pieces.append(value if isinstance(value, bytes) else str(value).encode())
        told.reason = _reason(b"".join(pieces))
    told.everything = b"\n".join(pieces) + repr(error).encode()
    return told


def _reason(details: bytes) -> str:
    for reason in (b"TOKEN_MISSING", b"TOKEN_INVALID", b"METHOD_DENIED", b"NAMESPACE_DENIED"):
        if reason in details:
            return reason.decode()
    return ""


# ---- JSON Web Tokens


class Issuer:
    """Signs tokens with a key that it has, and publishes its public half."""

    def __init__(self, kid: str = "one", kind: str = "RS256") -> None:
        self.kid = kid
        self.kind = kind
        self.key: Any = {
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }[kind]()

    def jwk(self) -> dict[str, Any]:
        """The public key as a JSON Web Key."""
        algorithm: Any = jwt.get_algorithm_by_name(self.kind)
        given: dict[str, Any] = json.loads(algorithm.to_jwk(self.key.public_key()))
        return given | {"kid": self.kid, "use": "sig", "alg": self.kind}

    def public_pem(self) -> bytes:
        """The public key in PEM."""
        pem: bytes = self.key.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return pem

    def token(self, subject: str = "system:serviceaccount:shop:app", **claims: Any) -> str:
        """A good token but for what is given; a claim that is None is left out."""
        now = int(time.time())
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "nbf": now, "exp": now + 600} | claims
        kept = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(kept, self.key, algorithm=self.kind, headers={"kid": self.kid})


def write_jwks(path: Path, *issuers: Issuer) -> Path:
    """A set in a file, put there at once, as Kubernetes does."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"keys": [issuer.jwk() for issuer in issuers]}))
    return new.replace(path)


def part(content: dict[str, Any]) -> str:
    """A part of a token that nobody signed."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


# ---- certificates


class Authority:
    """A certificate authority, with a directory for what it issues."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = self._signed(self._name, self._key, [x509.BasicConstraints(ca=True, path_length=None)])
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(self.pem)

    def issue(self, name: str, *, names: list[x509.GeneralName] | None = None) -> tuple[Path, Path]:
        """Files of a certificate and its key; `names` None: those of this machine; empty: none but the common one."""
        key = ec.generate_private_key(ec.SECP256R1())
        if names is None:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        extensions: list[Any] = [x509.SubjectAlternativeName(names)] if names else []
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        files = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        files[0].write_bytes(self._signed(subject, key, extensions))
        files[1].write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return files

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: list[Any]) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM)
