from __future__ import annotations

import asyncio
import json
import logging
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli.audit import audit
from sidecar.core.audit import AuditEvent, AuditKind
from sidecar.runtime.audit import (
    ACTS_PER_WINDOW,
    REFUSALS_PER_WINDOW,
    TEXT_CHARACTERS_MAX,
    AuditLog,
    audit_log,
)
from sidecar.runtime.audit_file import GENESIS, AuditFile, Broken, digest_of, verify
from sidecar.runtime.locks import StartError
from sidecar.runtime.ports import SystemClock
from sidecar.runtime.settings_security import AuditSettings

pytestmark = pytest.mark.timeout(60)

DENIED = AuditEvent(kind=AuditKind.DENIED, identity="shop", method="Get", namespace="bank", reason="NAMESPACE_DENIED")
RESTORED = AuditEvent(
    kind=AuditKind.RESTORE, identity="ops", namespace="process", key_hash="00ff", details={"checkpoint": "c1"}
)


@asynccontextmanager
async def writing(path: Path, **given: Any) -> AsyncIterator[AuditLog]:
    log = audit_log(AuditSettings(file=str(path), **given), SystemClock())
    assert log is not None
    try:
        await log.start()
        yield log
    finally:
        await log.stop()


def lines(path: Path) -> list[dict[str, Any]]:
    """Those that are written whole; the next may be under way."""
    return [json.loads(line) for line in path.read_bytes().rpartition(b"\n")[0].splitlines()]


async def written(log: AuditLog, count: int) -> None:
    async with asyncio.timeout(10):
        while log.recorded < count:  # noqa: ASYNC110  # a thread's count has no signal here
            await asyncio.sleep(0)


async def test_a_line_says_what_happened_and_names_the_line_before(tmp_path: Path) -> None:
    path = tmp_path / "audit" / "log"
    async with writing(path) as log:
        log.record(DENIED)
        log.record(RESTORED)
    opened, denied, restored = lines(path)
    assert (opened["kind"], opened["sequence"], opened["previous"]) == ("opened", 1, GENESIS)
    shown = {name: value for name, value in denied.items() if name not in {"time", "previous"}}
    assert shown == {
        "sequence": 2,
        "kind": "denied",
        "identity": "shop",
        "method": "Get",
        "namespace": "bank",
        "outcome": "ok",
        "reason": "NAMESPACE_DENIED",
    }
    assert restored["details"] == {"checkpoint": "c1"}
    assert restored["previous"] == digest_of(path.read_bytes().splitlines()[1])
    assert path.stat().st_mode & 0o777 & ~0o640 == 0
    assert (log.recorded, log.suppressed, log.dropped) == (2, 0, 0)


async def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for _ in range(3):
        async with writing(path) as log:
            log.record(RESTORED)
    told = verify(path)
    assert (told.lines, told.first, told.last, told.torn) == (6, 1, 6, False)


async def test_the_daemons_log_tells_the_end_of_the_chain(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with writing(tmp_path / "log") as log:
        log.record(RESTORED)
    assert caplog.records[-1].__dict__["digest"] == verify(tmp_path / "log").digest


def changed(content: list[bytes]) -> list[bytes]:
    return [*content[:3], content[3].replace(b"ops-2", b"ops-9"), *content[4:]]


TAMPERINGS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a line is changed": changed,
    "a line is taken out": lambda content: content[:3] + content[4:],
    "a line is put in": lambda content: [*content[:3], content[2], *content[3:]],
    "lines are moved": lambda content: [*content[:3], content[4], content[3], *content[5:]],
    "the first line of all is changed": lambda content: [content[0].replace(b"opened", b"closed"), *content[1:]],
    "a line is made unreadable": lambda content: [*content[:3], content[3][:20], *content[4:]],
    "text is put in": lambda content: [*content[:3], b"nothing happened", *content[3:]],
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
async def test_tampering_shows(tmp_path: Path, tampering: Callable[[list[bytes]], list[bytes]]) -> None:
    path = tmp_path / "log"
    async with writing(path) as log:
        for number in range(6):
            log.record(AuditEvent(kind=AuditKind.ADMIN, identity=f"ops-{number}"))
    assert verify(path).lines == 7
    path.write_bytes(b"".join(line + b"\n" for line in tampering(path.read_bytes().splitlines())))
    with pytest.raises(Broken, match=r"log:\d"):
        verify(path)
    ran = CliRunner().invoke(audit, ["verify", str(path)])
    assert ran.exit_code == 70
    assert "log:" in ran.stderr


async def test_every_byte_counts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with writing(path) as log:
        for _ in range(3):
            log.record(RESTORED)
    content = path.read_bytes()
    last = content.rstrip(b"\n").rindex(b"\n")  # of the newest line only the digest that was kept elsewhere tells
    for at in range(last):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(Broken):
            verify(path)


async def test_every_length_that_a_kill_can_leave_is_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with writing(path) as log:
        log.record(DENIED)
        log.record(RESTORED)
    content = path.read_bytes()
    ends = [at for at, byte in enumerate(content) if byte == ord("\n")]
    for size in {*range(0, len(content), 5), *(end + by for end in ends for by in (-1, 0))}:
        path.write_bytes(content[:size])
        file = AuditFile(path, size_max=1 << 20, keep=1, now=lambda: "")
        file.open()
        file.append([{"kind": "admin"}])
        file.close()
        told = verify(path)
        assert not told.torn
        assert path.read_bytes().startswith(content[:size])
        assert told.last == content[:size].count(b"\n") + 2 + (size > 0 and content[size : size + 1] == b"\n")


def test_a_killed_process_leaves_a_chain_that_holds(tmp_path: Path) -> None:
    path = tmp_path / "log"
    told = 0
    for round_ in range(3):
        command = [sys.executable, "-m", "tests.security.audit_writer", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told_now = 0
            try:
                for _ in range(1 + 5 * round_):
                    told_now = int(process.stdout.readline())
            finally:
                process.kill()
            told += told_now
        assert verify(path).lines > told
    assert verify(path).files > 1  # it was rotated, too


def rotated(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}*"))


async def test_files_are_rotated_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with writing(path, size_max=64 * 1024, keep=2) as log:
        for number in range(2000):
            log.record(AuditEvent(kind=AuditKind.ADMIN, identity=f"ops-{number % 5}", method="m" * 100))
            if number % 500 == 499:
                await written(log, number)
    sizes = {one.name: one.stat().st_size for one in rotated(path)}
    assert sizes.keys() == {"log", "log.1", "log.2", "log.lock"}
    assert sum(sizes.values()) < 3 * 64 * 1024 + 3 * 256 * 400
    told = verify(path)
    assert told.files == 3
    assert told.first > 1
    assert told.last > 2000
    (tmp_path / "log.1").unlink()
    (tmp_path / "log.2").rename(tmp_path / "log.1")
    with pytest.raises(Broken):
        verify(path)


async def test_the_chain_goes_on_when_somebody_moves_the_file_away(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with writing(path) as log:
        log.record(RESTORED)
        await written(log, 1)
        path.rename(tmp_path / "log.1")
        log.record(RESTORED)
    told = verify(path)
    assert (told.files, told.lines, told.first) == (2, 4, 1)


async def test_a_flood_is_counted_and_others_are_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with writing(path) as log:
        for number in range(100_000):
            log.record(DENIED)
            if number == 50_000:
                log.record(RESTORED)
    kinds = [line["kind"] for line in lines(path)]
    assert kinds == ["opened", *["denied"] * REFUSALS_PER_WINDOW, "restore", "suppressed"]
    told = lines(path)[-1]
    assert told["details"] == {"kind": "denied", "count": str(100_000 - REFUSALS_PER_WINDOW)}
    assert (told["identity"], told["reason"]) == ("shop", "NAMESPACE_DENIED")
    assert log.suppressed == 100_000 - REFUSALS_PER_WINDOW
    assert verify(path).lines == len(kinds)


async def test_a_flood_is_summed_up_when_its_window_is_over(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = AuditFile(path, size_max=1 << 20, keep=1, now=lambda: "")
    log = AuditLog(file, clock=SystemClock(), window_s=0.2)
    await log.start()
    for _ in range(REFUSALS_PER_WINDOW + 5):
        log.record(DENIED)
    async with asyncio.timeout(10):
        while lines(path)[-1]["kind"] != "suppressed":  # noqa: ASYNC110  # a thread's file has no signal
            await asyncio.sleep(0)
    assert lines(path)[-1]["details"]["count"] == "5"
    log.record(DENIED)  # a new window
    await written(log, REFUSALS_PER_WINDOW + 1)
    await log.stop()


async def test_what_floods_identities_is_bounded_too(tmp_path: Path) -> None:
    async with writing(tmp_path / "log") as log:
        for number in range(5_000):
            log.record(AuditEvent(kind=AuditKind.DENIED, reason=str(number)))
        await written(log, 1024)
    assert len(log._seen) <= 1025
    assert log.recorded + log.suppressed + log.dropped == 5_000
    assert log.suppressed >= 3_900


async def test_a_line_is_bounded_whatever_was_sent(tmp_path: Path) -> None:
    path = tmp_path / "log"
    text = "\U0001f600" * 100_000
    event = AuditEvent(
        kind=AuditKind.DENIED, method=text, namespace=text, details={f"{number}{text}": text for number in range(100)}
    )
    async with writing(path) as log:
        log.record(event)
        log.record(AuditEvent(kind=AuditKind.DENIED, method='a\n{"sequence": 9}\x00\x1b[2J'))
    assert verify(path).lines == 3
    assert len(lines(path)[1]["namespace"]) == TEXT_CHARACTERS_MAX
    assert max(map(len, path.read_bytes().splitlines())) < 64 * 1024


async def test_a_disk_that_is_full_loses_events_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with writing(path) as log:
        log.record(RESTORED)
        await written(log, 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
        try:
            log.record(RESTORED)
            async with asyncio.timeout(10):
                while not log.dropped:  # noqa: ASYNC110  # a thread's count has no signal
                    await asyncio.sleep(0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.record(RESTORED)
        await written(log, 2)
    kinds = [line["kind"] for line in map(readable, path.read_bytes().splitlines()) if line]
    assert kinds == ["opened", "restore", "opened", "restore", "lost"]
    assert (log.recorded, log.dropped) == (2, 1)
    assert not verify(path).torn
    assert "can't be written" in caplog.text


def readable(line: bytes) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return read


async def test_one_process_a_file(tmp_path: Path) -> None:
    async with writing(tmp_path / "log"):
        with pytest.raises(StartError, match="in use"):
            async with writing(tmp_path / "log"):
                pass


@pytest.mark.parametrize("content", [b"root:x:0:0:root\n", b'{"hot": "memory://"}\n', b"\x00" * 100])
async def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(StartError, match=r"audit\.file"):
        async with writing(tmp_path / "log"):
            pass
    assert (tmp_path / "log").read_bytes() == content


async def test_a_directory_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"audit\.file"):
        async with writing(tmp_path / "file" / "log"):
            pass


async def test_events_go_to_the_daemons_log_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    caplog.handler.setLevel(logging.NOTSET)  # what the log lets through is heard
    async with writing(Path("-")) as log:
        log.record(DENIED)
    (told,) = [json.loads(record.message) for record in caplog.records if record.name == "sidecar.audit"]
    assert (told["kind"], told["namespace"]) == ("denied", "bank")


async def test_operators_acts_have_room(tmp_path: Path) -> None:
    async with writing(tmp_path / "log") as log:
        for _ in range(ACTS_PER_WINDOW):
            log.record(RESTORED)
    assert log.recorded == ACTS_PER_WINDOW


async def test_the_command_tells_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with writing(path) as log:
        log.record(RESTORED)
    ran = CliRunner().invoke(audit, ["verify", str(path)])
    assert (ran.exit_code, ran.stdout.splitlines()[0]) == (0, "2 lines hold, 1 to 2, in 1 files")
    assert digest_of(path.read_bytes().splitlines()[-1]) in ran.stdout
    told = json.loads(CliRunner().invoke(audit, ["verify", "--json", str(path)]).stdout)
    assert told["digest"] == verify(path).digest
    with path.open("ab") as stream:
        stream.write(b'{"sequence": 3, "ki')
    assert "unfinished" in CliRunner().invoke(audit, ["verify", str(path)]).stderr
