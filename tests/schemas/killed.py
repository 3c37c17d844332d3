"""A migration whose daemon is killed again and again, at random rows, while others write by compare-and-set.

What it does to PostgreSQL's rows is seen by a trigger: a row whose schema changes under its version was migrated.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psycopg

from sidecar.runtime.failpoints import VARIABLE
from statesidecar.v1 import admin_service_pb2, types_pb2
from statesidecar.v1 import state_service_pb2 as pb
from tests.schemas.steps import configuration
from tests.support.process import Caller, DaemonProcess, daemon_process, unstarted_process

NAMESPACE = "jobs"
BATCH = 100
WRITERS = 4
CALL_S = 20.0
DEATH_S = 2.0
ASKED_MAX = 20
PLACES = ("migrate.relocate.before", "migrate.relocate.after")
OBSERVER = """
CREATE TABLE relocations (key bytea NOT NULL);
CREATE FUNCTION relocated() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO relocations VALUES (NEW.key); RETURN NEW; END $$;
CREATE TRIGGER relocated AFTER UPDATE ON state_sidecar.entries FOR EACH ROW
  WHEN (OLD.version = NEW.version AND OLD.schema_version <> NEW.schema_version) EXECUTE FUNCTION relocated();
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of the entries; `wrong`: what must not have become of some."""

    entries: int
    kills: int
    written: int
    conflicts: int
    migrated: int
    remaining: int
    wrong: list[str]
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether everything that was promised was kept."""
        return not self.wrong and self.remaining == 0

    def __str__(self) -> str:
        return (
            f"{self.entries} entries, {self.kills} kills -9: {self.migrated} rows migrated, {self.remaining} remain; "
            f"{self.written} writes meanwhile, {self.conflicts} conflicts; {len(self.wrong)} wrong; {self.seconds:.0f} s"
        )


class Writer(threading.Thread):
    """Counts in even entries, in one of the two schemas, as long as nobody stops it."""

    def __init__(self, number: int, target: str, entries: int, seed: int) -> None:
        super().__init__(name="writer")
        self.counts: Counter[int] = Counter()
        self.conflicts = 0
        self.failed: list[str] = []
        self._schema = number % 2 + 1
        self._target = target
        self._entries = entries
        self._random = random.Random(f"{seed}/{number}")
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Finish the write under way, and end."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        with Caller(self._target) as caller:
            while not self._stopping.is_set():
                number = 2 * self._random.randrange((self._entries + 1) // 2)
                try:
                    self._count(caller.state, number)
                except grpc.RpcError as error:
                    if error.code() is grpc.StatusCode.ABORTED:
                        self.conflicts += 1
                    else:
                        self.failed.append(str(error))

    def _count(self, stub: Any, number: int) -> None:
        read = pb.GetRequest(namespace=NAMESPACE, key=key_of(number), max_schema_version=self._schema)
        entry = stub.Get(read, timeout=CALL_S).entry
        state = json.loads(entry.value)
        state["count_1"] += 1
        request = pb.CASRequest(
            namespace=NAMESPACE,
            key=key_of(number),
            value=json.dumps(state).encode(),
            schema_version=self._schema,
            expected_version=entry.version,
        )
        stub.CAS(request, timeout=CALL_S)
        self.counts[number] += 1


def key_of(number: int) -> str:
    """Its key."""
    return f"job/{number:05}"


def state_of(number: int) -> dict[str, Any]:
    """What an entry is in the first schema."""
    return {"turns": [{"speaker": "USER", "text": f"turn {number}"}], "count_1": 0}


def run(directory: Path, tiers: dict[str, str], *, entries: int, kills: int, seed: int) -> Verdict:
    """In a database of its own."""
    began_s = time.monotonic()
    _fill(directory / "first", tiers, entries)
    with (
        psycopg.connect(tiers["tiers.warm"].partition("?")[0], autocommit=True) as database,
        daemon_process(directory / "writing", **tiers, **_settings(2)) as writing,
    ):
        database.execute(OBSERVER)
        versions = {key: version for key, version, _ in _rows(database)}
        writers = [Writer(number, writing.target, entries, seed) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        try:
            killed = _kill(directory / "migrating", tiers, database, kills, random.Random(seed))
        finally:
            for writer in writers:
                writer.stop()
        with daemon_process(directory / "migrating", **tiers, **_settings(2)) as daemon:
            remaining = _migrate(daemon).remaining_count
        counts = sum((writer.counts for writer in writers), Counter[int]())
        wrong = [failure for writer in writers for failure in writer.failed]
        wrong += _wrong(database, writing, versions, counts, entries)
        [migrated] = database.execute("SELECT count(*) FROM relocations").fetchone() or (0,)
    return Verdict(
        entries=entries,
        kills=killed,
        written=counts.total(),
        conflicts=sum(writer.conflicts for writer in writers),
        migrated=migrated,
        remaining=remaining,
        wrong=wrong,
        seconds=time.monotonic() - began_s,
    )


def _settings(version: int) -> dict[str, str]:
    return {name.replace(".", "__"): text for name, text in configuration(NAMESPACE, version).items()}


def _fill(directory: Path, tiers: dict[str, str], entries: int) -> None:
    """By a daemon that knows the first schema only."""
    with daemon_process(directory, **tiers, **_settings(1)) as daemon, Caller(daemon.target) as caller:
        for first in range(0, entries, BATCH):
            sets = [
                pb.SetRequest(key=key_of(number), value=json.dumps(state_of(number)).encode(), schema_version=1)
                for number in range(first, min(first + BATCH, entries))
            ]
            operations = [pb.TransactOperation(set=each) for each in sets]
            caller.state.Transact(pb.TransactRequest(namespace=NAMESPACE, operations=operations), timeout=CALL_S)
        assert daemon.terminate() == 0


def _migrate(daemon: DaemonProcess) -> Any:
    """The last that it tells."""
    with Caller(daemon.target) as caller:
        *_, done = caller.admin.Migrate(admin_service_pb2.MigrateRequest(namespace=NAMESPACE), timeout=300)
    return done


def _kill(
    directory: Path, tiers: dict[str, str], database: psycopg.Connection[Any], kills: int, chance: random.Random
) -> int:
    """So many times: a daemon that dies at a row that nobody chose. How many died."""
    killed = 0
    for number in range(kills):
        left = sum(schema == 1 for _, _, schema in _rows(database))
        nth = chance.randint(1, max(1, 2 * left // (kills - number + 1)))
        with unstarted_process(directory, **tiers, **_settings(2)) as daemon:
            daemon.launch({VARIABLE: f"{chance.choice(PLACES)}:{nth}"})
            daemon.wait_serving()
            killed += _dies(daemon)
    return killed


def _dies(daemon: DaemonProcess) -> bool:
    """Whether the daemon dies of its migration; else the writers had brought most of the rows along, and it ended."""
    for _ in range(ASKED_MAX):
        try:
            _migrate(daemon)
        except grpc.RpcError as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert daemon.process.wait(DEATH_S) == -signal.SIGKILL
                return True
            # On a busy machine an authority may be away for a moment: whoever wants the migration asks again.
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        else:
            return False
    raise AssertionError(f"it neither ended nor died: {daemon.lines[-20:]}")


def _rows(database: psycopg.Connection[Any]) -> Iterator[tuple[str, int, int]]:
    """Key, version and schema of each entry."""
    query = "SELECT key, version, schema_version FROM state_sidecar.entries WHERE namespace = %s ORDER BY key"
    for key, version, schema in database.execute(query, [NAMESPACE.encode()]).fetchall():
        yield key.decode(), version, schema


def _wrong(
    database: psycopg.Connection[Any],
    daemon: DaemonProcess,
    versions: dict[str, int],
    counts: Counter[int],
    entries: int,
) -> Iterator[str]:
    """Everything that is not as it has to be."""
    rows = {key: (version, schema) for key, version, schema in _rows(database)}
    relocated = Counter(key.decode() for (key,) in database.execute("SELECT key FROM relocations").fetchall())
    if len(rows) != entries or any(schema != 2 for _, schema in rows.values()):
        yield f"{len(rows)} rows, of schemas {Counter(schema for _, schema in rows.values())}"
    for number in range(entries):
        key = key_of(number)
        if relocated[key] > 1 or (not counts[number] and relocated[key] != 1):
            yield f"{key} was migrated {relocated[key]} times"
        if (rows[key][0] == versions[key]) != (counts[number] == 0):
            yield f"{key} was written {counts[number]} times, and its version went from {versions[key]} to {rows[key][0]}"
    with Caller(daemon.target) as caller:
        for number in range(entries):
            request = pb.GetRequest(namespace=NAMESPACE, key=key_of(number), consistency=types_pb2.CONSISTENCY_STRONG)
            found = json.loads(caller.state.Get(request, timeout=CALL_S).entry.value)
            wanted = {
                "history": [{"speaker": "USER", "utterance": f"turn {number}"}],
                "count_1": counts[number],
                "count_2": 0,
            }
            if found != wanted:
                yield f"{key_of(number)} is {found}, not {wanted}"
