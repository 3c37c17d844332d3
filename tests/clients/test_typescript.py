"""The TypeScript client: its stubs, its own tests, what it publishes and its documents, with real daemons."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from statesidecar import StateClient
from tests.security.callers import Authority, token_of, write_tokens
from tests.support.process import DaemonProcess, daemon_process

PACKAGE = Path(__file__).parents[2] / "clients/typescript"
COMMAND_S = 240.0
"""The first build fetches packages; this bounds how long a failing test waits."""

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, cwd: Path = PACKAGE, environ: Mapping[str, str] | None = None) -> str:
    """What the command prints. Fails with it if the command does."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | dict(environ or {}),
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done.stdout


@pytest.fixture(scope="module")
def tools() -> Path:
    """The folder of the programs that build the package, of the versions that are locked."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI needs {' and '.join(missing)}, for the TypeScript client")
    if missing:
        pytest.skip(f"the TypeScript client is NOT tested: no {' and no '.join(missing)} here")
    installed, lock = PACKAGE / "node_modules/.package-lock.json", PACKAGE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return PACKAGE / "node_modules/.bin"


@pytest.fixture(scope="module")
def built(tools: Path) -> Path:
    """The compiled package."""
    compiled = PACKAGE / "dist"
    shutil.rmtree(compiled, ignore_errors=True)
    run(tools / "tsc")
    return compiled


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    folder = tmp_path_factory.mktemp("daemon")
    with daemon_process(folder, listen=f"127.0.0.1:0,unix://{folder}/state.sock") as running:
        yield running


def test_the_stubs_are_what_the_protos_generate(tools: Path, tmp_path: Path) -> None:
    buf = Path(sys.executable).parent / "buf"
    run(buf, "generate", "--output", tmp_path, environ={"HOME": str(tmp_path)})

    fresh, committed = tmp_path / "src/gen", PACKAGE / "src/gen"
    names = sorted({str(path.relative_to(root)) for root in (fresh, committed) for path in root.rglob("*.ts")})
    _, stale, missing = filecmp.cmpfiles(fresh, committed, names, shallow=False)
    assert names
    assert not stale + missing, "run `make protos`"


def test_the_sources_are_formatted(tools: Path) -> None:
    run(tools / "prettier", "--check", ".")


def test_its_own_tests_pass(built: Path, daemon: DaemonProcess) -> None:
    tests = sorted((built / "test").glob("*.test.js"))
    environ = dict(zip(("STATE_SIDECAR_TARGET", "STATE_SIDECAR_SOCKET"), daemon.addresses, strict=True))

    said = run("node", "--test", "--test-reporter=tap", *tests, environ=environ)

    counts = {name: int(count) for name, count in re.findall(r"^# (\w+) (\d+)$", said, re.MULTILINE)}
    assert counts["pass"] == counts["tests"] >= 40, said


@pytest.mark.parametrize("known_by", ["certificate", "token"])
def test_a_daemon_with_tls_knows_the_client(built: Path, tmp_path: Path, known_by: str) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    settings = {"tls__certificate": str(certificate), "tls__key": str(key)}
    settings |= {"auth__identities__app__namespaces": "shop", "auth__identities__app__methods": "read"}
    environ = {"STATE_SIDECAR_FILES": str(tmp_path)}
    if known_by == "token":
        settings["auth__tokens"] = str(write_tokens(tmp_path / "tokens", "app"))
        environ["STATE_SIDECAR_TOKEN"] = token_of("app")
    else:
        authority.issue("app", names=[])
        settings |= {"tls__client_ca": str(authority.file), "auth__identities__app__certificate": "app"}

    with daemon_process(tmp_path / "data", **settings) as daemon:
        run("node", "--test", built / "test/secured.js", environ=environ | {"STATE_SIDECAR_TARGET": daemon.target})


def test_updates_while_the_daemon_is_killed_count_once(built: Path, tmp_path: Path) -> None:
    updates = 300
    with daemon_process(tmp_path) as daemon:
        command = ["node", str(built / "test/counting.js"), "counter", str(updates)]
        environ = os.environ | {"STATE_SIDECAR_TARGET": daemon.target}
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            for line in program.stdout:
                if line.strip() in {"counted 50", "counted 150", "counted 250"}:
                    daemon.kill()
                    daemon.restart()
        with StateClient(daemon.target) as client:
            found = client.get("process", "counter")

    assert program.returncode == 0
    assert found.value == str(updates).encode()


@pytest.fixture(scope="module")
def program(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program of somebody else's, with the package as it is published."""
    folder = tmp_path_factory.mktemp("program")
    modules = folder / "node_modules"
    packed = json.loads(run("npm", "pack", "--ignore-scripts", "--json", "--pack-destination", folder))
    [about] = packed.values() if isinstance(packed, dict) else packed
    with tarfile.open(folder / about["filename"]) as archive:
        archive.extractall(folder, filter="data")
    (folder / "package").rename(folder / "state-sidecar-client")
    modules.mkdir()
    (folder / "state-sidecar-client").rename(modules / "state-sidecar-client")
    for scope in ("@bufbuild", "@grpc", "@types"):
        (modules / scope).symlink_to(PACKAGE / "node_modules" / scope)
    (folder / "package.json").write_text('{"type": "module"}')
    strict = {"module": "nodenext", "target": "es2022", "strict": True, "types": ["node"], "skipLibCheck": False}
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": strict, "include": ["*.ts"]}))
    return folder


def test_only_the_client_is_published(program: Path) -> None:
    published = program / "node_modules/state-sidecar-client"

    assert {path.name for path in published.iterdir()} == {"LICENSE", "README.md", "dist", "package.json"}
    assert {path.name for path in (published / "dist").iterdir()} == {"src"}


def test_the_documents_compile_and_run_in_a_program_of_another_package(
    tools: Path, program: Path, daemon: DaemonProcess
) -> None:
    blocks = re.findall(r"```ts\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    (program / "readme.ts").write_text("\n".join([*blocks, "client.close();"]))
    shutil.copy(PACKAGE / "examples/chat.ts", program)
    run(tools / "tsc", cwd=program)
    environ = {"STATE_SIDECAR_TARGET": daemon.target}

    assert len(blocks) >= 4
    assert "greeting" in run("node", "readme.js", cwd=program, environ=environ)
    said = [run("node", "chat.js", "bob", text, cwd=program, environ=environ) for text in ("I am Bob.", "Who?")]
    assert said == [
        "You have said 1 thing, and first: I am Bob.\n",
        "You have said 2 things, and first: I am Bob.\n",
    ]
