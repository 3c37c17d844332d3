"""Real processes on one file: killed in mid-load, and side by side."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sidecar.core.entry import Entry
from sidecar.core.errors import VersionConflict
from sidecar.core.operations import Change, Increment, Put, Write, WriteId
from sidecar.stores.sqlite import SqliteStore
from tests.support.clock import ManualClock
from tests.support.factories import NAMESPACE, write

ROOT = Path(__file__).parents[2]
COUNTERS = 4


def increment(number: int, request_id: str) -> Write:
    change = Change(key=f"counter {number}", change=Increment(delta=1), create=True, return_value=True)
    fingerprint = hashlib.sha256(b"%d" % number).digest()
    return write(change, request=WriteId(request_id=request_id, fingerprint=fingerprint))


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock=ManualClock())
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def acknowledge_for_ever(path: Path, life: str) -> None:
    """Write until killed, and say what was acknowledged: request id, counter, version, value."""
    store = SqliteStore(path, clock=ManualClock())
    await store.open()

    async def caller(number: int) -> None:
        n = 0
        while True:
            request_id = f"{life}-{number}-{n}"
            outcome = await store.commit(increment(number % COUNTERS, request_id))
            value = outcome.results[0].value
            assert value is not None
            # One system call: a line is there whole or not at all.
            os.write(1, f"{request_id} {number % COUNTERS} {outcome.version} {value.decode()}\n".encode())
            n += 1

    await asyncio.gather(*[caller(n) for n in range(16)])


async def add(path: Path, life: str, count: int) -> None:
    """Add to one counter from 8 callers, by turns in place and guarded, and say each version."""
    store = SqliteStore(path, clock=ManualClock())
    await store.open()

    async def caller(number: int) -> None:
        for n in range(count):
            if (number + n) % 2:
                version = (await store.commit(increment(0, f"{life}-{number}-{n}"))).version
            else:
                version = await guarded(store)
            os.write(1, f"{version}\n".encode())

    await asyncio.gather(*[caller(n) for n in range(8)])
    await store.close()


async def guarded(store: SqliteStore) -> int:
    while True:
        (entry,) = await store.get(NAMESPACE, ["counter 0"])
        value, version = (entry.value, entry.version) if isinstance(entry, Entry) else (b"0", 0)
        try:
            put = Put(key="counter 0", value=b"%d" % (int(value) + 1), expected_version=version)
            return (await store.commit(write(put))).version
        except VersionConflict:
            continue


def child(function: str, path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(Path(__file__)), function, str(path), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment)


async def entry_of(store: SqliteStore, key: str) -> Entry:
    (entry,) = await store.get(NAMESPACE, [key])
    assert isinstance(entry, Entry), key
    return entry


async def test_every_acknowledged_write_survives_kill_9_and_answers_the_same(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    acknowledged: dict[str, tuple[int, int, bytes]] = {}

    for life in range(5):
        process = child("acknowledge_for_ever", path, str(life))
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(150 + 37 * life)]
        process.kill()
        lines += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        for name, *told in (line.split() for line in lines if line.endswith(b"\n")):
            assert name.decode() not in acknowledged
            acknowledged[name.decode()] = (int(told[0]), int(told[1]), told[2])

    async with opened(path) as store:
        for request_id, (number, version, value) in acknowledged.items():
            outcome = await store.commit(increment(number, request_id))
            assert (outcome.replayed, outcome.version, outcome.results[0].value) == (True, version, value), request_id
        versions = [version for _, version, _ in acknowledged.values()]
        assert len(set(versions)) == len(versions) >= 5 * 150
        told_of = Counter(number for number, _, _ in acknowledged.values())
        for number in range(COUNTERS):
            entry = await entry_of(store, f"counter {number}")
            # Each life can have left 16 writes that were applied and not told.
            assert told_of[number] <= int(entry.value) <= told_of[number] + 5 * 16
            assert len({value for n, _, value in acknowledged.values() if n == number}) == told_of[number]


async def test_two_processes_on_one_file_count_exactly(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    processes = [child("add", path, str(life), "25") for life in range(2)]
    outputs = [process.communicate(timeout=100)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    versions = [int(line) for output in outputs for line in output.split()]
    assert len(versions) == len(set(versions)) == 2 * 8 * 25
    async with opened(path) as store:
        entry = await entry_of(store, "counter 0")
        assert entry.value == b"%d" % len(versions)
        assert entry.version == max(versions)
        page = await store.changes(after=0, limit=10_000)
        assert [row.version for row in page.changes] == sorted(versions)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["acknowledge_for_ever", path, life]:
            asyncio.run(acknowledge_for_ever(Path(path), life))
        case ["add", path, life, count]:
            asyncio.run(add(Path(path), life, int(count)))
