from __future__ import annotations

import base64
import json
import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from statesidecar import StateClient
from tests.cli.conftest import Run, process

BINARY = bytes(range(256))


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key of the test's own: the daemon is the module's."""
    return str(request.node.name)


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: ours, and the one that a program gets."""
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def shown(*arguments: str) -> str:
    """What a command shows on a terminal of 100 columns."""
    with terminal() as (ours, theirs):
        with process(*arguments, stdout=theirs, env=os.environ | {"COLUMNS": "100", "TERM": "dumb"}) as running:
            os.close(theirs)
            content = b""
            while True:
                try:
                    part = os.read(ours, 65536)
                except OSError:  # EIO: the program has ended
                    break
                content += part
        assert running.returncode == 0
    return content.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("value", [b"", b"plain", BINARY, "snowman ☃\n".encode()])
def test_get_into_a_pipe_is_bit_for_bit_what_set_was_given(run: Run, key: str, value: bytes) -> None:
    assert run("set", "session", key, "-", stdin=value).code == 0

    got = run("get", "session", key)

    assert (got.code, got.out, got.err) == (0, value, "")


def test_a_value_comes_from_the_argument_a_file_or_stdin(run: Run, key: str, tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(BINARY)

    for arguments, value in [
        (["text"], b"text"),
        (["--file", str(tmp_path / "value")], BINARY),
        (["--file", "-"], b"stdin"),
        (["-"], b"stdin"),
        (["caf\udce9"], b"caf\xe9"),
    ]:
        assert run("set", "session", key, *arguments, stdin=b"stdin").code == 0
        assert run("get", "session", key).out == value


def test_set_says_what_it_wrote_and_verbose_get_shows_it(run: Run, client: StateClient, key: str) -> None:
    told = run(
        *("set", "session", key, "[1]", "--content-type", "application/json", "--schema-version", "3"),
        *("--label", "team=a=b", "--label", "z=", "--ttl", "1h30m"),
    )
    entry = client.get("session", key).entry

    assert entry is not None
    assert told.text == f"version {entry.version} · VOLATILE · expires in 1h30m\n"
    assert (entry.content_type, entry.schema_version, entry.labels) == ("application/json", 3, {"team": "a=b", "z": ""})
    got = run("get", "session", key, "--verbose")
    assert got.out == b"[1]"
    assert got.err.startswith(
        f"version {entry.version} · 3 B · expires in 1h30m · application/json · schema 3 · updated "
    )
    assert " · team=a=b · z= · from " in got.err


def test_json_of_get_tells_all_and_bytes_that_are_no_text_as_base64(run: Run, key: str) -> None:
    run("set", "session", key, "text", "--ttl", "60")
    told = run("get", "session", key, "--json", "--strong").json
    assert told["found"] is True
    assert (told["mode"], told["served_by"], told["stale_possible"]) == ("NORMAL", "WARM", False)
    assert (told["entry"]["value"], told["entry"]["value_encoding"]) == ("text", "utf-8")
    assert told["entry"]["expire_time"].endswith("+00:00")

    run("set", "session", key, "-", stdin=BINARY)
    told = run("get", "session", key, "--json").json
    assert (base64.b64decode(told["entry"]["value"]), told["entry"]["value_encoding"]) == (BINARY, "base64")


def test_cas_writes_over_the_version_it_was_shown_and_not_over_another(run: Run, client: StateClient, key: str) -> None:
    first = run("cas", "session", key, "1", "--expected-version", "0", "--json")
    assert (first.code, first.json["durability"]) == (0, "VOLATILE")

    second = run("cas", "session", key, "2", "--expected-version", str(first.json["version"]))
    assert second.code == 0

    lost = run("cas", "session", key, "3", "--expected-version", str(first.json["version"]))
    assert (lost.code, lost.out) == (3, b"")
    current = client.get("session", key).version
    assert f"VERSION_MISMATCH: expected version {first.json['version']}, found version {current}" in lost.err
    assert client.get("session", key).value == b"2"


def test_a_conflict_in_json_carries_both_versions(run: Run, key: str) -> None:
    version = run("set", "session", key, "1", "--json").json["version"]

    lost = run("cas", "session", key, "2", "--expected-version", "0", "--json")

    error = json.loads(lost.err)["error"]
    assert (lost.code, error["exit_code"], error["reason"]) == (3, 3, "VERSION_MISMATCH")
    assert (error["expected_version"], error["current_version"]) == (0, version)


def test_a_request_id_makes_a_repeated_write_take_effect_once(run: Run, key: str) -> None:
    first, again = (run("set", "session", key, "1", "--request-id", key, "--json").json for _ in range(2))

    assert first["version"] == again["version"]
    reused = run("set", "session", key, "2", "--request-id", key)
    assert (reused.code, "REQUEST_ID_REUSED" in reused.err) == (4, True)


def test_delete_of_what_is_there_and_of_what_is_not(run: Run, key: str) -> None:
    version = run("set", "session", key, "1", "--json").json["version"]
    assert run("delete", "session", key, "--expected-version", str(version + 1)).code == 3

    deleted = run("delete", "session", key, "--expected-version", str(version))
    assert (deleted.code, deleted.text.startswith("deleted · version ")) == (0, True)

    absent = run("delete", "session", key)
    assert (absent.code, absent.out, absent.err) == (1, b"", f"no entry {key} in session\n")
    assert run("delete", "session", key, "--json").json["found"] is False


def test_touch_moves_the_expiry(run: Run, key: str) -> None:
    run("set", "session", key, "1", "--ttl", "5s")

    assert run("touch", "session", key, "--ttl", "PT2H").text == "expires in 2h\n"
    assert run("touch", "session", f"{key} absent").code == 1


def test_update_prints_the_new_value(run: Run, key: str) -> None:
    assert run("update", "default", key, "--merge-patch", '{"a": {"b": 1}}').json == {"a": {"b": 1}}
    assert run("update", "default", key, "--merge-patch", '{"a": {"b": null}}').json == {"a": {}}
    assert run("update", "default", f"{key} list", "--append", "1", "--append", '"x"').json == [1, "x"]
    assert run("update", "default", f"{key} list", "--append", "2", "--max-items", "2").json == ["x", 2]
    assert run("update", "default", f"{key} count", "--increment", "-7").out == b"-7"
    refused = run("update", "default", f"{key} count", "--increment", "-1", "--minimum", "-7")
    assert refused.code == 4
    assert run("update", "default", f"{key} absent", "--increment", "1", "--no-create").code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--increment", "1", "--append", "1"],
        ["--increment", "1", "--max-items", "2"],
        ["--merge-patch", "{}", "--minimum", "2"],
        ["--merge-patch", "{"],
        ["--increment", str(2**63)],
    ],
)
def test_an_update_that_is_not_one_operation_is_a_usage_error(run: Run, key: str, arguments: list[str]) -> None:
    assert run("update", "default", key, *arguments).code == 2


def test_list_is_in_key_order_and_bounded(run: Run, client: StateClient, key: str) -> None:
    versions = {name: client.set(key, name, b"12345", ttl=7200).version for name in ("b", "a/2", "a/1", "c")}

    listed = run("list", key, "--limit", "2")
    assert listed.text == "".join(f"{name}\t{versions[name]}\t5 B\t2h\t\n" for name in ("a/1", "a/2"))
    assert listed.err == "only the first 2: --limit 0 lists all\n"
    assert [line.partition("\t")[0] for line in run("list", key, "--limit", "0").text.splitlines()] == [
        *("a/1", "a/2", "b", "c")
    ]
    assert run("list", key, "--limit", "4").err == ""
    assert [entry["key"] for entry in run("list", key, "--prefix", "a/", "--json").json["entries"]] == ["a/1", "a/2"]


def test_list_without_values_has_no_sizes(run: Run, client: StateClient, key: str) -> None:
    version = client.set(key, "a", b"12345").version

    assert run("list", key, "--keys-only").text == f"a\t{version}\tnever\t\n"
    (entry,) = run("list", key, "--keys-only", "--json").json["entries"]
    assert "value" not in entry
    assert "value_encoding" not in entry


def test_an_empty_list_is_no_error(run: Run, key: str) -> None:
    assert run("list", key).code == 0
    assert run("list", key).err == f"no entries in {key}\n"
    assert run("list", key, "--json").json == {"entries": [], "more": False}


def test_a_key_that_would_control_a_terminal_is_escaped(run: Run, client: StateClient, key: str) -> None:
    client.set(key, "a\x1b[2J\t", b"")

    assert "a\\x1b[2J\\t" in run("list", key).text
    assert run("list", key, "--json").json["entries"][0]["key"] == "a\x1b[2J\t"


def test_a_terminal_shows_json_indented_and_text_without_control_characters(
    target: str, client: StateClient, key: str
) -> None:
    client.set("session", key, b'{"a":[1]}')
    assert shown("get", "session", key, "--target", target) == '{\n  "a": [\n    1\n  ]\n}\n'

    client.set("session", key, b"red \x1b[31m \xff\tend")
    assert shown("get", "session", key, "--target", target) == "red \\x1b[31m \\xff\tend\n"


def test_a_terminal_shows_a_table(target: str, client: StateClient, key: str) -> None:
    version = client.set(key, "[bold]", b"x" * 2048, content_type="text/plain").version

    header, row = shown("list", key, "--target", target).splitlines()

    assert header.split() == ["key", "version", "size", "expires", "in", "content", "type"]
    assert row.split() == ["[bold]", str(version), "2.0", "KiB", "never", "text/plain"]
