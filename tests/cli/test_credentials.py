"""Commands to a daemon that asks who calls: a token, a certificate, and what a person is told without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cryptography import x509

from sidecar.cli import main
from sidecar.cli.admin_client import AdminClient
from statesidecar import RetryPolicy, Unauthenticated
from tests.cli.conftest import Run, process, runner
from tests.client.asking import GOOD, SPIFFE, WRONG, Asking, replaced_unseen, serving
from tests.security.callers import token_of

OPTIONS = {"--token-file", "--tls-ca", "--tls-certificate", "--tls-key"}


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with serving(tmp_path_factory.mktemp("asking"), mutual=True) as served:
        yield served


@pytest.fixture
def run(asking: Asking) -> Run:
    return runner(asking.unix)


@pytest.fixture
def token(tmp_path: Path) -> str:
    (tmp_path / "token").write_text(GOOD)
    return str(tmp_path / "token")


@pytest.fixture
def tls(asking: Asking, tmp_path: Path) -> list[str]:
    """Options of a caller that its certificate names, over TCP."""
    certificate, key = asking.authority.issue("cli", names=[x509.UniformResourceIdentifier(SPIFFE)])
    files = ["--tls-ca", asking.authority.file, "--tls-certificate", certificate, "--tls-key", key]
    return ["--target", asking.tcp, *map(str, files)]


def commands(group: click.Group, context: click.Context) -> Iterator[click.Command]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, context)
        else:
            yield command


def test_every_command_that_connects_takes_credentials() -> None:
    connecting = 0
    for command in commands(main, click.Context(main)):
        options = {name for parameter in command.params for name in parameter.opts}
        if "--target" in options:
            connecting += 1
            assert options >= OPTIONS, command.name
    assert connecting >= 20


@pytest.mark.parametrize("known_by", ["token", "tls"])
def test_commands_say_who_calls(run: Run, token: str, tls: list[str], known_by: str, tmp_path: Path) -> None:
    who = ["--token-file", token] if known_by == "token" else tls
    written = run("set", "shop", "key", "value", "--message", f"told-{known_by}=it", *who)
    assert (written.code, written.err) == (0, "")
    assert run("get", "shop", "key", *who).out == b"value"
    assert run("list", "shop", "--json", *who).code == 0
    assert run("status", *who).code == 0
    assert run("top", "--once", "--interval", "0.1s", *who).code == 0
    assert run("gc", "--dry-run", *who).code == 0
    consumed = run("outbox", "consume", "shop", "--topic", f"told-{known_by}", "--max", "1", *who)
    assert (consumed.code, consumed.text.split("\t")[5]) == (0, "it\n")
    exported = run("export", "shop", "--to", f"file://{tmp_path}/lake", "--format", "jsonl", *who)
    assert (exported.code, exported.err) == (0, "")


def test_the_environment_says_who_calls(asking: Asking, token: str, tls: list[str]) -> None:
    for target, files in ((asking.unix, {"TOKEN_FILE": token}), (asking.tcp, {})):
        named = dict(zip(("TLS_CA", "TLS_CERTIFICATE", "TLS_KEY"), tls[3::2], strict=True)) | files
        environ = {f"STATE_SIDECAR_{name}": value for name, value in named.items()}
        with process("status", "--json", "--target", target, env=environ, stdout=-1, stderr=-1) as ran:
            out, err = ran.communicate()
        assert ran.returncode == 0, err
        assert json.loads(out)["mode"] == "NORMAL"


def test_a_watch_says_who_calls(asking: Asking, token: str) -> None:
    command = ["watch", "watched", "--all", "--snapshot", "--target", asking.unix, "--token-file", token]
    with process(*command, stdout=-1, stderr=-1) as ran:
        assert ran.stdout is not None
        assert b"synced" in ran.stdout.readline()
        ran.terminate()
    denied = runner(asking.unix)("watch", "watched", "--all")
    assert (denied.code, denied.err.startswith("state-sidecar: TOKEN_MISSING: ")) == (7, True)


def test_a_command_that_lasts_reads_a_refused_token_again(asking: Asking, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(WRONG)
    with AdminClient(asking.unix, timeout_s=5.0, retry=RetryPolicy(), token_file=path) as client:
        with pytest.raises(Unauthenticated, match="TOKEN_INVALID"):
            client.daemon_status()
        replaced_unseen(path, GOOD.ljust(len(WRONG)))
        assert client.daemon_status().daemon_version


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "shop", "key"],
        ["status"],
        ["top", "--once"],
        ["gc"],
        ["outbox", "consume", "shop"],
        ["export", "shop", "--to", "file://{folder}/lake"],
    ],
)
def test_who_says_nothing_is_told_what_to_say(run: Run, arguments: list[str], tmp_path: Path) -> None:
    ran = run(*(argument.format(folder=tmp_path) for argument in arguments))
    assert (ran.code, ran.out) == (7, b"")
    assert ran.err.startswith("state-sidecar: TOKEN_MISSING: ")
    assert "Say who calls: with --token-file, or with --tls-certificate and --tls-key." in ran.err


def test_what_no_rule_allows_is_denied(run: Run, tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    reader.write_text(token_of("reader"))
    told = run("set", "shop", "key", "value", "--token-file", str(reader), "--json")
    error = json.loads(told.err)["error"]
    assert (told.code, error["reason"], error["exit_code"]) == (7, "METHOD_DENIED", 7)
    assert token_of("reader") not in told.err


def test_mistakes_are_told(run: Run, asking: Asking, token: str, tls: list[str], tmp_path: Path) -> None:
    plain = run("get", "shop", "key", "--target", "state.example:7420", "--token-file", token)
    assert (plain.code, plain.err) == (
        4,
        "state-sidecar: TOKEN_IN_PLAIN_TEXT: a token for state.example:7420 needs TLS\n",
    )

    half = run("get", "shop", "key", *tls[:-2])
    assert (half.code, "--tls-certificate and --tls-key: give both, or none" in half.err) == (2, True)

    missing = run("get", "shop", "key", "--token-file", str(tmp_path / "none"))
    assert (missing.code, missing.err.splitlines()[0]) == (
        7,
        f"state-sidecar: TOKEN_UNUSABLE: the token file {tmp_path}/none: No such file or directory",
    )
    unnamed = run("get", "shop", "key", "--timeout", "2s", *tls[:4])
    assert unnamed.code == 5
    assert f"state-sidecar: {asking.tcp} ended the connection, or could not be believed" in unnamed.err
    assert "--tls-certificate with --tls-key where it asks for one" in unnamed.err
