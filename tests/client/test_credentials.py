"""Who a client says it is, to real daemons that ask: tokens that rotate, TLS of both sides, and what is never said."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from statesidecar import (
    InvalidRequest,
    OutboxMessage,
    PermissionDenied,
    RetryPolicy,
    StateClient,
    StateSidecarError,
    Tls,
    Unauthenticated,
    Unavailable,
    WriteOutcomeUnknown,
)
from statesidecar._channel import connect as connection
from statesidecar._credentials import Credentials, is_local
from tests.client.asking import GOOD, SPIFFE, WRONG, Asking, replaced_unseen, serving
from tests.client.conftest import QUICK, Client
from tests.client.scripted import Server, status
from tests.client.streams import AsyncioConsumer, BlockingConsumer
from tests.client.test_watch import Watched
from tests.security.callers import Authority, token_of


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with serving(tmp_path_factory.mktemp("asking"), mutual=False) as served:
        yield served


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with serving(tmp_path_factory.mktemp("mutual"), mutual=True) as served:
        yield served


@pytest.fixture(params=[True, False], ids=["blocking", "asyncio"])
def blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


Connect = Callable[..., Client]


def refusal(client: Client, method: str = "get", namespace: str = "shop", *arguments: Any) -> tuple[type, str]:
    with pytest.raises(StateSidecarError) as caught:
        client.call(method, namespace, "key", *arguments)
    return type(caught.value), caught.value.reason


def projected(directory: Path, token: str) -> Path:
    """A token as Kubernetes mounts it: a link to a directory is swapped for another with each new one."""
    new = directory / f"..{len(list(directory.iterdir()))}"
    new.mkdir()
    (new / "token").write_text(f"{token}\n")
    link = directory / "..new"
    link.symlink_to(new.name)
    link.replace(directory / "..data")
    path = directory / "token"
    if not path.is_symlink():
        path.symlink_to("..data/token")
    return path


# ---- tokens


def test_a_token_goes_with_every_call(connect: Connect, asking: Asking, tmp_path: Path, key: str) -> None:
    given: list[dict[str, Any]] = [
        {"token": GOOD},
        {"token": lambda: f" {GOOD}\n"},
        {"token_file": str(projected(tmp_path, GOOD))},
    ]
    for how in given:
        client = connect(asking.unix, **how)
        written = client.call("set", "shop", key, b"{}", outbox=[OutboxMessage("told", "it")])
        assert client.call("get", "shop", key).version == written.version
        assert [entry.key for entry in client.listed("shop", key)] == [key]
        with client.session("shop", key) as session:
            session.state["changed"] = True
        assert client.call("status").daemon_version


def test_a_refusal_is_typed_and_says_why(connect: Connect, asking: Asking) -> None:
    assert refusal(connect(asking.unix)) == (Unauthenticated, "TOKEN_MISSING")
    assert refusal(connect(asking.unix, token="x" * 20)) == (Unauthenticated, "TOKEN_INVALID")
    reader = connect(asking.unix, token=token_of("reader"))
    assert refusal(reader, "set", "shop", b"") == (PermissionDenied, "METHOD_DENIED")
    assert refusal(reader, "get", "other") == (PermissionDenied, "NAMESPACE_DENIED")


def test_a_file_is_read_again_when_it_was_replaced(connect: Connect, asking: Asking, tmp_path: Path) -> None:
    client = connect(asking.unix, token_file=projected(tmp_path, WRONG), retry=RetryPolicy(attempts_max=1))
    assert refusal(client) == (Unauthenticated, "TOKEN_INVALID")
    path = projected(tmp_path, GOOD)
    assert not client.call("get", "shop", "key").found

    path.unlink()
    assert not client.call("get", "shop", "key").found, "what was read stays while there is nothing to read"
    path.write_text("")
    assert not client.call("get", "shop", "key").found


def test_a_refused_token_is_read_again_and_the_call_tried_once_more(
    connect: Connect, asking: Asking, tmp_path: Path, key: str
) -> None:
    path = tmp_path / "token"
    path.write_text(GOOD)
    client = connect(asking.unix, token_file=path)
    client.call("get", "shop", key)
    replaced_unseen(path, "x" * len(GOOD))
    assert not client.call("get", "shop", key).found, "the token that was read is still good"
    path.write_text("y" * len(GOOD))
    assert refusal(client) == (Unauthenticated, "TOKEN_INVALID")
    replaced_unseen(path, GOOD)
    assert client.call("set", "shop", key, b"1").version


@pytest.mark.parametrize(("fresh", "asked"), [(True, 3), (False, 2)])
def test_it_is_once_and_only_with_another_token(connect: Connect, asking: Asking, fresh: bool, asked: int) -> None:
    given: list[str] = []

    def token() -> str:
        given.append(f"{len(given) if fresh else 0:020}")
        return given[-1]

    client = connect(asking.unix, token=token)
    assert refusal(client, "set", "shop", b"") == (Unauthenticated, "TOKEN_INVALID")
    # For an attempt, when that was refused, and for the other attempt if there was one.
    assert len(given) == asked


def test_a_refused_repetition_says_nothing_of_the_first_write(client: Client, server: Server) -> None:
    server.expect(status(grpc.StatusCode.UNAVAILABLE), status(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"))
    assert refusal(client, "set", "shop", b"")[0] is WriteOutcomeUnknown


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("127.0.0.1:7420", True),
        ("127.9.9.9", True),
        ("localhost:7420", True),
        ("[::1]:7420", True),
        ("dns:///localhost:7420", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", True),
        ("unix:///run/state.sock", True),
        ("unix-abstract:name", True),
        ("state.example:7420", False),
        ("10.0.0.1:7420", False),
        ("0.0.0.0:7420", False),
        ("[2001:db8::1]:7420", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("localhost.example:7420", False),
        ("127.0.0.1.example:7420", False),
        ("dns://10.0.0.1/localhost:7420", False),
        ("127.0.0.1:7420@example", False),
        ("xds:///localhost", False),
    ],
)
def test_a_token_never_leaves_the_machine_in_plain_text(
    connect: Connect, target: str, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_local(target) is local
    monkeypatch.setenv("STATE_SIDECAR_TOKEN_FILE", "/nonexistent")
    for how in ({"token": GOOD}, {"token_file": "/nonexistent"}, {}):
        if local:
            connect(target, **how)
            continue
        with pytest.raises(InvalidRequest) as caught:
            connect(target, **how)
        assert caught.value.reason == "TOKEN_IN_PLAIN_TEXT"
        connect(target, **how, tls=Tls())


SECRET = "s3cret-" + "z" * 30


@pytest.mark.parametrize(
    ("token", "content"),
    [
        (f"{SECRET} two", None),
        (f"{SECRET}\xe9", None),
        (f"{SECRET}\n{SECRET}", None),
        ("", None),
        (None, f"{SECRET}\xff".encode("latin-1")),
    ],
)
def test_what_cannot_be_sent_is_told_and_not_repeated(
    connect: Connect, asking: Asking, tmp_path: Path, token: str | None, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    client = connect(asking.unix, token=token, token_file=None if content is None else tmp_path / "token")
    with pytest.raises(Unauthenticated) as caught:
        client.call("set", "shop", "key", b"")
    assert caught.value.reason == "TOKEN_UNUSABLE"
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_token_is_in_no_error_and_no_repr(
    connect: Connect, asking: Asking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    (tmp_path / "token").write_text(SECRET)
    for how in ({"token": SECRET}, {"token_file": tmp_path / "token"}):
        client = connect(asking.unix, **how)
        with pytest.raises(Unauthenticated) as caught:
            client.call("get", "shop", "key")
        told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__cause__)
        inner: Any = client.client
        told += "".join(map(repr, (inner, inner._credentials, inner._token, inner._token._source, inner._connection)))
        assert SECRET not in told + caplog.text


def test_a_missing_file_and_a_failing_function_are_told(connect: Connect, asking: Asking, tmp_path: Path) -> None:
    def fails() -> str:
        raise OSError(SECRET)

    with pytest.raises(Unauthenticated, match=f"TOKEN_UNUSABLE: the token file {tmp_path}/none: No such file"):
        connect(asking.unix, token_file=tmp_path / "none").call("get", "shop", "key")
    with pytest.raises(Unauthenticated, match="TOKEN_UNUSABLE: no token: OSError"):
        connect(asking.unix, token=fails).call("get", "shop", "key")
    with pytest.raises(ValueError, match="one of them"):
        connect(asking.unix, token=GOOD, token_file=tmp_path)


# ---- streams


def test_a_watch_has_the_token_and_goes_on_with_a_new_one(asking: Asking, blocking: bool, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(WRONG)
    watched = Watched(asking.unix, blocking=blocking, namespace="watched", snapshot=True, token_file=path)
    with pytest.raises(Unauthenticated, match="TOKEN_INVALID"):
        watched.begin()
    replaced_unseen(path, GOOD.ljust(len(WRONG)))
    watched.begin()
    watched.close()

    reader = Watched(asking.unix, blocking=blocking, namespace="watched", token=token_of("reader"))
    with pytest.raises(PermissionDenied, match="METHOD_DENIED"):
        reader.begin()
    reader.close()


def test_a_consumer_has_the_token_and_goes_on_with_a_new_one(
    asking: Asking, blocking: bool, tmp_path: Path, key: str
) -> None:
    with StateClient(asking.unix, token=GOOD) as client:
        client.set(key, "key", b"", outbox=[OutboxMessage("told", "it")])
    path = tmp_path / "token"
    path.write_text(WRONG)
    make = BlockingConsumer if blocking else AsyncioConsumer
    consumer = make(asking.unix, key, client={"token_file": path})
    with pytest.raises(Unauthenticated, match="TOKEN_INVALID"):
        consumer.next()
    replaced_unseen(path, GOOD.ljust(len(WRONG)))
    assert consumer.next().payload == b"it"
    consumer.close()


# ---- TLS


def test_tls_says_who_the_daemon_is(connect: Connect, asking: Asking, tmp_path: Path) -> None:
    assert not connect(asking.tcp, tls=asking.tls(), token=GOOD).call("get", "shop", "key").found
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other").file
    for unknown in ({"ca": other}, {"ca": None}, {"server_name": "other.test"}):
        client = connect(asking.tcp, tls=asking.tls(**unknown), token=GOOD, retry=RetryPolicy(attempts_max=1))
        assert refusal(client)[0] is Unavailable, unknown


def test_the_name_of_a_certificate_may_be_another(connect: Connect, asking: Asking) -> None:
    by_name = asking.tls(server_name="localhost")
    assert not connect(asking.tcp, tls=by_name, token=GOOD).call("get", "shop", "key").found


def test_a_certificate_says_who_calls_and_is_read_again(connect: Connect, mutual: Asking, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(SPIFFE)]
    mine = mutual.authority.issue("app", names=names)
    theirs = Authority(tmp_path / "other").issue("app", names=names)
    certificate, key = tmp_path / "crt", tmp_path / "key"

    def show(files: tuple[Path, Path]) -> None:
        certificate.write_bytes(files[0].read_bytes())
        key.write_bytes(files[1].read_bytes())

    show(theirs)
    tls = mutual.tls(certificate=certificate, key=key)
    client = connect(mutual.tcp, tls=tls, retry=QUICK)
    assert refusal(client)[0] is Unavailable
    show(mine)
    assert not client.call("get", "shop", "key").found, "the files of the failed connection are read again"
    assert client.client._connection is not None
    assert not client.client._connection.outdated
    assert refusal(connect(mutual.tcp, tls=mutual.tls(), retry=QUICK))[0] is Unavailable


def test_a_stream_alone_notices_new_files_too(mutual: Asking, blocking: bool, tmp_path: Path) -> None:
    certificate, key = mutual.authority.issue("streaming", names=[x509.UniformResourceIdentifier(SPIFFE)])
    shown = tmp_path / "crt"
    shown.write_bytes(mutual.authority.issue("server")[0].read_bytes())  # not the key's
    tls = mutual.tls(certificate=shown, key=key)
    watched = Watched(mutual.tcp, blocking=blocking, namespace="watched", snapshot=True, tls=tls)
    # The first stream fails, by whatever thread; from then on only a watch's own pauses lie between.
    watched.watch._following.failed = _then(watched.watch._following.failed, lambda: _copy(certificate, shown))
    watched.begin()
    watched.close()


def _then(function: Callable[[StateSidecarError], float], act: Callable[[], None]) -> Callable[..., float]:
    def call(error: StateSidecarError) -> float:
        act()
        return function(error)

    return call


def _copy(source: Path, to: Path) -> None:
    if to.read_bytes() != source.read_bytes():
        to.write_bytes(source.read_bytes())


def test_the_environment_says_it_all(
    connect: Connect, mutual: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = mutual.authority.issue("environment", names=[])
    (tmp_path / "token").write_text(GOOD)
    named = {"TOKEN_FILE": tmp_path / "token", "TLS_CA": mutual.authority.file, "TLS_CERTIFICATE": certificate}
    for name, path in (named | {"TLS_KEY": key}).items():
        monkeypatch.setenv(f"STATE_SIDECAR_{name}", str(path))

    assert not connect(mutual.tcp).call("get", "shop", "key").found
    assert not connect(mutual.unix).call("get", "shop", "key").found, "a Unix socket has no TLS"
    assert not connect(mutual.unix, tls=mutual.tls()).call("get", "shop", "key").found
    assert refusal(connect(mutual.unix, token=WRONG)) == (Unauthenticated, "TOKEN_INVALID")


def test_files_that_cannot_be_used_are_named(connect: Connect, asking: Asking, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no certificate")
    for name, why in (("none", "No such file"), ("text", "no PEM")):
        with pytest.raises(InvalidRequest, match=f"TLS_UNUSABLE: ca {tmp_path}/{name}: {why}"):
            connect(asking.tcp, tls=asking.tls(ca=tmp_path / name), token=GOOD).call("get", "shop", "key")
    with pytest.raises(ValueError, match="both"):
        Tls(certificate="alone")


def test_without_a_token_calls_are_those_of_grpc() -> None:
    plain = connection(grpc, "127.0.0.1:1", Credentials(None, None))
    assert all(type(rpc).__module__.startswith("grpc.") for rpc in plain.rpcs.values())
    plain.channel.close()
