"""Nothing secret and nothing stored is told: a daemon with a mark in every password, key, value and field is put through
failures, and the marks are looked for in all that it says.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from servers.base import free_ports
from servers.postgres import Postgres
from servers.redis import Valkey
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.admin_service_pb2 import GetStatusRequest
from tests.security.requests import METHODS, NAMESPACE, Place, answers, is_map, places, usual
from tests.support.daemon import CHANNEL_OPTIONS, Stubs
from tests.support.otlp import Receiver, receiving
from tests.support.process import DaemonProcess

pytestmark = pytest.mark.timeout(240)

MARK = "c4n4ry"
WHO = "canary-user"
PADDING = "0123456789"
"""A token has at least 16 characters."""
ROUNDS_TIMEOUT_S = 1.5
_NOT_NOW = {"CollectGarbage", "Connect", "GetStatus"}
"""They take nothing that could be told."""
_TOLD_BACK = ("key", "keys", "request_id", "checkpoint_id", "parent_id")
"""What an error is about, in its details."""


def mark(name: str) -> str:
    return f"{MARK}-{name}"


def hits(said: str | bytes) -> list[str]:
    """Where a mark is, as it is, in hexadecimal or in base64."""
    content = said.encode() if isinstance(said, str) else said
    forms = [MARK.encode(), MARK.upper().encode(), MARK.encode().hex().encode()]
    for shift in range(3):
        # Of the encoded text only what doesn't depend on the bytes around it.
        encoded = base64.b64encode(bytes(shift) + MARK.encode())
        forms.append(encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4])
    lines = content.splitlines()
    return [line.decode(errors="replace")[:300] for line in lines if any(form in line for form in forms)]


def filled(message: Any, field: FieldDescriptor) -> None:
    """The field with a mark in it."""
    text = mark(field.name)
    if is_map(field):
        getattr(message, field.name)[text] = text
    elif field.message_type is not None:
        getattr(message, field.name).add().MergeFrom(usual(field.message_type))
    elif field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        value: Any = text if field.type == FieldDescriptor.TYPE_STRING else b'{"%s": "%s"}' % ((text.encode(),) * 2)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)


def secret(place: Place) -> bool:
    """Whether what is in that field is nobody's but the caller's. A namespace is an operator's name."""
    return place.field.name != "namespace"


METADATA = (
    ("authorization", f"Bearer {mark('token')}{PADDING}"),
    ("x-secret-bin", mark("metadata").encode()),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("baggage", f"user={mark('baggage')}"),
)


async def every_call(target: str) -> list[str]:
    """Every request with every field marked, and what can't be read. What errors tell of it but keys, which are theirs."""
    told: list[str] = []

    async def ask(stubs: Stubs, method: Any, request: Any) -> None:
        try:
            await answers(stubs, method, request, timeout_s=ROUNDS_TIMEOUT_S, metadata=METADATA)
        except grpc.aio.AioRpcError as exc:
            told.append(f"{method.name}: {exc.details()} {exc.trailing_metadata()}")

    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        stubs = Stubs(channel)
        calls = [
            (place.method, place.request(filled))
            for place in places()
            if secret(place) and place.method.name not in _NOT_NOW
        ]
        calls += [(method, usual(method.input_type)) for method in METHODS if method.name not in _NOT_NOW]
        for begin in range(0, len(calls), 32):
            await asyncio.gather(*(ask(stubs, *call) for call in calls[begin : begin + 32]))
        stored = pb.SetRequest(namespace=NAMESPACE, key=mark("key"), value=mark("value").encode())
        numbers = pb.UpdateRequest(namespace=NAMESPACE, key=mark("key"), increment=pb.Increment(delta=1))
        patch = pb.UpdateRequest(namespace=NAMESPACE, key=mark("key"), merge_patch=f'{{"{MARK}": '.encode())
        again = pb.CASRequest(namespace=NAMESPACE, key=mark("key"), value=b"1", expected_version=7)
        for name, request in (("Set", stored), ("Update", numbers), ("Update", patch), ("CAS", again)):
            await ask(stubs, next(method for method in METHODS if method.name == name), request)
        for name in ("Set", "Update", "Transact"):
            raw: Any = channel.unary_unary(f"/statesidecar.v1.StateService/{name}")
            with contextlib.suppress(grpc.aio.AioRpcError):
                await raw(b"\xff" + mark("malformed").encode(), timeout=ROUNDS_TIMEOUT_S, metadata=METADATA)
        with contextlib.suppress(grpc.aio.AioRpcError):
            unknown: Any = channel.unary_unary("/statesidecar.v1.NoSuchService/Get")
            await unknown(mark("unknown").encode(), timeout=ROUNDS_TIMEOUT_S)
        for token in (mark("guessed-token"), mark("token") * 100, ""):
            with contextlib.suppress(grpc.aio.AioRpcError):
                headers = (("authorization", f"Bearer {token}"),)
                await stubs.state.Get(pb.GetRequest(namespace=NAMESPACE, key=mark("key")), metadata=headers)
    return told


def status(target: str) -> str:
    with grpc.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        return str(Stubs(channel).admin.GetStatus(GetStatusRequest(), timeout=10, metadata=METADATA))  # type: ignore[arg-type]


@pytest.fixture
def servers() -> Iterator[tuple[Postgres, Valkey]]:
    with Postgres() as postgres, Valkey() as valkey:
        postgres.execute(f"CREATE ROLE \"{WHO}\" SUPERUSER LOGIN PASSWORD '{mark('postgres')}'")
        valkey.ask("ACL", "SETUSER", WHO, "on", f">{mark('redis')}", "~*", "&*", "+@all")
        yield postgres, valkey


def configuration(postgres: Postgres, valkey: Valkey, receiver: Receiver, home: Path) -> dict[str, str]:
    """An environment with a mark in every secret."""
    nats, s3 = free_ports(2)
    (home / "keys").mkdir()
    (home / "keys" / "first.key").write_bytes(MARK.encode() + os.urandom(32 - len(MARK)))
    (home / "keys" / "first.key").chmod(0o600)
    (home / "tokens").write_text(f"everybody: {mark('token')}{PADDING}\n")
    (home / "tokens").chmod(0o600)
    everything = ["read", "write", "watch", "checkpoint", "outbox", "admin"]
    identities = {"everybody": {"namespaces": ["*"], "methods": everything}}
    (home / "config.yaml").write_text(json.dumps({"auth": {"tokens": str(home / "tokens"), "identities": identities}}))
    return {
        "STATE_SIDECAR_CONFIG": str(home / "config.yaml"),
        "STATE_SIDECAR_TIERS__HOT": f"redis://{WHO}:{mark('redis')}@127.0.0.1:{valkey.port}/0",
        "STATE_SIDECAR_TIERS__WARM": f"postgresql://{WHO}:{mark('postgres')}@127.0.0.1:{postgres.port}/postgres",
        "STATE_SIDECAR_TIERS__COLD": f"s3://bucket/cold?endpoint_url=http://127.0.0.1:{s3}&region=here",
        "STATE_SIDECAR_OUTBOX__SINK": f"nats://{WHO}:{mark('nats')}@127.0.0.1:{nats}?stream=S&subject_prefix=p",
        "STATE_SIDECAR_ENCRYPTION__KEYS": str(home / "keys"),
        "STATE_SIDECAR_AUDIT__FILE": str(home / "audit.log"),
        "STATE_SIDECAR_TELEMETRY__OTLP_ENDPOINT": receiver.endpoint,
        "STATE_SIDECAR_TELEMETRY__EXPORT_INTERVAL_S": "0.2",
        "STATE_SIDECAR_LOG_LEVEL": "debug",
        "AWS_ACCESS_KEY_ID": mark("access"),
        "AWS_SECRET_ACCESS_KEY": mark("secret"),
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={mark('collector')}",
    }


def test_a_daemon_in_trouble_tells_no_secret_and_no_content(tmp_path: Path, servers: tuple[Postgres, Valkey]) -> None:
    postgres, valkey = servers
    (tmp_path / "home").mkdir()
    told: dict[str, Any] = {}
    with receiving() as receiver:
        environ = configuration(postgres, valkey, receiver, tmp_path / "home")
        cold = environ["STATE_SIDECAR_TIERS__COLD"]
        daemon = DaemonProcess(tmp_path / "data", tiers__cold=cold, log_format="json")
        try:
            daemon.launch(environ)
            daemon.wait_serving()
            told["errors"] = asyncio.run(every_call(daemon.target))
            _tamper(postgres, valkey)
            told["errors, tampered"] = asyncio.run(every_call(daemon.target))
            valkey.ask("ACL", "SETUSER", WHO, f"<{mark('redis')}", ">another")  # the password is wrong from now on
            valkey.ask("CLIENT", "KILL", "USER", WHO)
            postgres.kill()
            told["errors, away"] = asyncio.run(every_call(daemon.target))
            told["status"] = status(daemon.target)
            told |= {path: daemon.probe(path) for path in ("/metrics", "/readyz", "/healthz")}
            told["command line"] = Path(f"/proc/{daemon.pid}/cmdline").read_bytes()
            told["doctor"] = _doctor(environ)
            valkey.end()
            assert daemon.terminate() == 0
        finally:
            if daemon.alive():
                daemon.kill()
        told["traces and metrics"] = receiver.raw
        assert receiver.spans
        assert receiver.metrics
    told["log"] = "\n".join(daemon.lines)
    told["audit log"] = b"".join(path.read_bytes() for path in (tmp_path / "home").glob("audit.log*"))

    found = {where: hits(said if isinstance(said, str | bytes) else _text(said)) for where, said in told.items()}
    found = {where: lines for where, lines in found.items() if lines}
    assert len(daemon.lines) > 20
    assert b'"denied"' in told["audit log"]
    assert not found, json.dumps(found, indent=1)[:6000]


def _text(said: Any) -> str:
    """As lines. Errors without the names that their own request gave, which they tell back."""
    text = "\n".join(map(str, said))
    for name in _TOLD_BACK:
        text = text.replace(mark(name), "")
    return text


def _tamper(postgres: Postgres, valkey: Valkey) -> None:
    garbage = mark("garbage").encode()
    tables = postgres.execute(
        "SELECT table_schema, table_name FROM information_schema.columns WHERE column_name = 'value' "
        "AND data_type = 'bytea' AND table_schema NOT LIKE 'pg%'"
    )
    assert tables
    for schema, table in tables:
        postgres.execute(f'UPDATE "{schema}"."{table}" SET value = %s', garbage)
    with valkey.client() as client:
        for key in client.scan_iter():
            with contextlib.suppress(Exception):
                client.set(key, garbage, keepttl=True)


def _doctor(environ: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "doctor"],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout
    return done.stdout + done.stderr
