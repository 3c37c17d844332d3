"""`state-sidecar doctor`: every setting that names something outside, with what is wrong and what to do."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from servers.base import free_ports, shared
from servers.ministack import CREDENTIALS, Ministack
from servers.postgres import Postgres
from servers.redis import TlsRedis
from servers.seaweedfs import BUCKET, Seaweedfs
from sidecar.cli import main
from tests.cli.test_serve import serving


@dataclass(frozen=True)
class Told:
    """What the doctor said, and its exit code."""

    code: int
    lines: list[str]
    err: str

    def all_of(self, setting: str) -> list[tuple[str, str, str]]:
        """Verdict, message and subject of each finding about a setting."""
        found = [line.split("\t") for line in self.lines]
        return [(verdict, message, subject) for verdict, about, message, subject in found if about == setting]

    def of(self, setting: str) -> tuple[str, str, str]:
        """The first, which says whether it can be used; what follows is advice."""
        return self.all_of(setting)[0]

    def advice(self, setting: str) -> dict[str, str]:
        """Those that follow: message and verdict."""
        return {message: verdict for verdict, message, _ in self.all_of(setting)[1:]}


class Doctor:
    """Settings without anything outside, and what a test sets besides."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def __call__(self, *options: str, **settings: str) -> Told:
        result = self.run(*options, **settings)
        return Told(result.exit_code, result.stdout.splitlines(), result.stderr)

    def run(self, *options: str, **settings: str) -> Any:
        given = {
            "data_dir": str(self.data_dir),
            "listen": "127.0.0.1:0",
            "http_listen": "",
            "tiers.hot": "none://",
            "tiers.warm": "memory://",
            "tiers.cold": "none://",
        }
        given |= {name.replace("__", "."): value for name, value in settings.items()}
        arguments = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
        result = CliRunner().invoke(main, ["doctor", *arguments, *options])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path / "data")


@pytest.fixture
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def test_the_embedded_defaults_are_well_and_nothing_is_made(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STATE_SIDECAR_")}
    ports = free_ports(2)
    listening = ["--set", f"listen=127.0.0.1:{ports[0]}", "--set", f"http_listen=127.0.0.1:{ports[1]}"]
    program = [sys.executable, "-m", "sidecar", "doctor", *listening]
    ran = subprocess.run(program, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
    told = [line.split("\t") for line in ran.stdout.splitlines()]
    assert [setting for verdict, setting, *_ in told if verdict == "ok"] == [
        "versions",
        "data_dir",
        "listen",
        "http_listen",
        "tiers.hot",
        "tiers.warm",
        "tiers.cold",
    ]
    assert {verdict for verdict, *_ in told} <= {"ok", "note"}  # as the machine is
    assert list(tmp_path.iterdir()) == []


def test_configuration_problems_are_listed_as_by_serve(doctor: Doctor) -> None:
    told = doctor(requests_max="0", log_levl="debug")

    assert (told.code, told.lines) == (64, [])
    assert told.err.startswith("state-sidecar: 2 problems in the configuration\n")
    assert "requests_max" in told.err
    assert "did you mean log_level?" in told.err


def test_the_settings_come_from_where_serve_finds_them(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state.yaml").write_text(f"tiers: {{warm: 'sqlite://{tmp_path}/file.db'}}\n")
    monkeypatch.setenv("STATE_SIDECAR_CONFIG", str(tmp_path / "state.yaml"))
    monkeypatch.setenv("STATE_SIDECAR_TIERS__COLD", "none://")
    result = CliRunner().invoke(main, ["doctor", "--set", f"data_dir={doctor.data_dir}"])

    assert f"sqlite://{tmp_path}/file.db" in result.stdout
    assert "ok\ttiers.cold\tleft out\tnone://" in result.stdout


def test_json_says_the_same(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    well = doctor.run("--json")
    ill = doctor.run("--json", tiers__warm=f"sqlite://{tmp_path}/file/state.db")

    assert (well.exit_code, json.loads(well.stdout)["ok"]) == (0, True)
    assert (ill.exit_code, json.loads(ill.stdout)["ok"]) == (1, False)
    [finding] = [found for found in json.loads(ill.stdout)["findings"] if found["verdict"] == "WRONG"]
    assert finding["setting"] == "tiers.warm"
    assert finding["subject"] == f"sqlite://{tmp_path}/file/state.db"


def test_what_is_probably_not_meant_is_a_note(doctor: Doctor) -> None:
    told = doctor(tiers__warm="none://")

    assert told.code == 0
    assert told.of("settings")[0] == "note"
    assert "every answer is PASSTHROUGH" in told.of("settings")[1]


# This machine.


def test_a_data_directory_that_is_a_file(doctor: Doctor) -> None:
    doctor.data_dir.write_text("")
    told = doctor()

    assert told.code == 1
    assert told.of("data_dir")[:2] == (
        "wrong",
        f"{doctor.data_dir} is no directory: set data_dir to a directory this user can write",
    )
    assert told.err == "state-sidecar: 1 thing is wrong\n"


def test_a_running_daemon_is_recognised_and_not_disturbed(doctor: Doctor, tmp_path: Path) -> None:
    tcp, http = (f"127.0.0.1:{port}" for port in free_ports(2))
    where = {"listen": f"{tcp},unix://{tmp_path}/s.sock", "http_listen": http, "app": "shop"}
    warm = f"sqlite://{doctor.data_dir}/state.db"
    settings = {**where, "data_dir": str(doctor.data_dir), "tiers.warm": warm}
    arguments = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    with serving(*arguments, cwd=tmp_path) as daemon:
        told = doctor(**where, tiers__warm=warm)

        assert told.code == 0, told.lines
        assert told.of("data_dir")[1].endswith(f", in use by process {daemon.pid}")
        listening = [line.split("\t") for line in told.lines if "\tlisten\t" in line]
        assert [message.startswith("state-sidecar ") for _, _, message, _ in listening] == [True, True]
        assert all(message.endswith(" of app shop serves there, mode normal") for _, _, message, _ in listening)
        assert told.of("http_listen")[1] == "a daemon's probes answer there"
        assert told.of("tiers.warm")[1].startswith(f"SQLite {sqlite3.sqlite_version}, schema ")
        assert daemon.poll() is None

    left = doctor(**where)
    assert left.code == 0
    assert left.of("data_dir")[1].endswith("GiB free")
    assert [line.split("\t")[2] for line in left.lines if "listen\t" in line] == ["free"] * 3


@pytest.fixture
def foreign() -> Iterator[str]:
    """An address where somebody listens who speaks no gRPC and no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_port_of_another_program(doctor: Doctor, foreign: str) -> None:
    told = doctor("--timeout", "0.5s", listen=foreign)

    assert told.code == 1
    assert told.of("listen")[:2] == (
        "wrong",
        "another program answers there: stop it, or choose another address with listen",
    )
    told = doctor("--timeout", "0.5s", http_listen=foreign)
    assert told.of("http_listen")[0] == "wrong"


def test_a_daemon_whose_probes_answer_in_pieces_is_recognised(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:

        def answer() -> None:
            server.accept()[0].close()  # whether somebody listens
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                select.select([connection], [], [], 0.3)  # who reads only what is there would be gone by then
                connection.sendall(b'{"alive": true}\n')

        answered = pool.submit(answer)
        told = doctor(http_listen=f"127.0.0.1:{server.getsockname()[1]}")
        answered.result()

    assert told.of("http_listen")[:2] == ("ok", "a daemon's probes answer there")


def test_an_address_of_another_machine(doctor: Doctor) -> None:
    told = doctor(http_listen="192.0.2.1:7421", listen="127.0.0.1:0")

    assert told.of("http_listen")[0] == "wrong"
    assert "nobody can listen there" in told.of("http_listen")[1]


def test_a_file_in_the_place_of_a_socket(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "s.sock").write_text("")

    verdict, message, _ = doctor(listen=f"unix://{tmp_path}/s.sock").of("listen")
    assert verdict == "wrong"
    assert "is no socket: remove it" in message


def test_a_socket_that_a_dead_daemon_left_is_no_problem(doctor: Doctor, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s.sock"))

    assert doctor(listen=f"unix://{tmp_path}/s.sock").of("listen")[:2] == ("ok", "free")


# Files.


def test_a_database_of_another_program(doctor: Doctor, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    told = doctor(tiers__warm=f"sqlite://{tmp_path}/state.db")

    assert told.code == 1
    assert "a database of another program" in told.of("tiers.warm")[1]


def test_a_corrupt_database(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database" * 1000)

    verdict, message, _ = doctor(tiers__warm=f"sqlite://{tmp_path}/state.db").of("tiers.warm")
    assert verdict == "wrong"
    assert "corrupt" in message


def test_a_directory_of_blobs_that_can_not_be_made(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    verdict, message, subject = doctor(tiers__cold=f"file://{tmp_path}/file/cold").of("tiers.cold")
    assert (verdict, subject) == ("wrong", f"file://{tmp_path}/file/cold")
    assert "is no directory" in message


# Servers.


def test_a_library_that_is_not_installed(doctor: Doctor) -> None:
    program = (
        "import sys; sys.modules['botocore'] = None\n"
        "from sidecar.cli import main\n"
        f"main(['doctor', '--set', 'data_dir={doctor.data_dir}', '--set', 'tiers.cold=s3://bucket'])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 64
    assert "tiers.cold (--set): s3:// needs botocore: install state-sidecar[aws]" in ran.stderr


@pytest.mark.usefixtures("_credentials")
def test_s3(doctor: Doctor) -> None:
    endpoint = shared(Seaweedfs).endpoint_url
    verdict, message, subject = doctor(tiers__cold=f"s3://{BUCKET}/doctor?endpoint_url={endpoint}").of("tiers.cold")
    assert (verdict, subject) == ("ok", f"s3://{BUCKET}/doctor?endpoint_url={endpoint}")
    assert message.startswith("SeaweedFS")

    told = doctor(tiers__cold=f"s3://no-such-bucket?endpoint_url={endpoint}")
    assert told.code == 1
    assert told.of("tiers.cold")[1].endswith("make it, correct its name, or add create=true")


def test_what_does_not_answer_costs_the_timeout_and_names_no_secret(doctor: Doctor, foreign: str) -> None:
    told = doctor("--timeout", "0.5s", tiers__warm=f"postgresql://user:hush-hush@{foreign}/db")

    verdict, message, subject = told.of("tiers.warm")
    assert (verdict, subject) == ("wrong", f"postgresql://{foreign}/db")
    assert message
    assert "hush-hush" not in str(told)


def test_postgresql(doctor: Doctor) -> None:
    server = shared(Postgres)
    with contextlib.suppress(Exception):
        server.create_database("doctor")
    verdict, message, _ = doctor(tiers__warm=server.url("doctor")).of("tiers.warm")
    assert verdict == "ok", message
    assert "opened in " in message
    assert "this machine's clock is " in message

    told = doctor(tiers__warm=server.url("no_such_database"))
    assert told.code == 1
    assert "no_such_database" in told.of("tiers.warm")[1]


def test_postgresql_with_a_wrong_password(doctor: Doctor) -> None:
    with Postgres() as server:
        server.execute("ALTER ROLE postgres PASSWORD 'right'")
        rules = server.data / "pg_hba.conf"
        rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        server.run("pg_ctl", "reload", "-D", server.data)
        url = server.url().replace("postgres@", "postgres:{}@")

        told = doctor(tiers__warm=url.format("hush-hush"))
        well = doctor(tiers__warm=url.format("right"))
        server.end()

    assert told.code == 1
    assert "password" in told.of("tiers.warm")[1]
    assert "hush-hush" not in str(told)
    assert well.of("tiers.warm")[0] == "ok"


@pytest.mark.usefixtures("_credentials")
def test_dynamodb(doctor: Doctor) -> None:
    where = f"region=us-east-1&endpoint_url={shared(Ministack).endpoint_url}"
    verdict, message, _ = doctor(tiers__warm=f"dynamodb://doctor?{where}&create=true").of("tiers.warm")
    assert verdict == "ok", message

    told = doctor(tiers__warm=f"dynamodb://no-such-table?{where}")
    assert told.code == 1
    assert "no-such-table" in told.of("tiers.warm")[1]


def test_redis(doctor: Doctor) -> None:
    server = shared(TlsRedis)
    verdict, message, _ = doctor(tiers__hot=server.url).of("tiers.hot")
    assert verdict == "ok", message

    wrong_password = doctor(tiers__hot=server.url.replace("rediss://", "rediss://user:hush-hush@"))
    assert wrong_password.code == 1
    assert "hush-hush" not in str(wrong_password)
    assert wrong_password.of("tiers.hot")[0] == "wrong"

    other_name = doctor(tiers__hot=server.url.replace("localhost", "127.0.0.1"))
    assert other_name.of("tiers.hot")[0] == "wrong"
    assert "certificate" in other_name.of("tiers.hot")[1]
