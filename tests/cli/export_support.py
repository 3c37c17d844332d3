"""What the tests of `export` share: a real daemon whose days pass when a test says so, odd entries, and reading back."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.dataset as ds
import pytest

from sidecar.runtime import daemon
from sidecar.runtime.ports import SystemClock, SystemPorts
from statesidecar import Entry, SetOp, StateClient
from statesidecar.testing import sidecar

DAY_MS = 86_400_000
LARGE_BYTES = 3 * 1024 * 1024
STRANGE_KEYS = (
    *("a\x00b", "\x00", "line\nbreak", 'quo"te', "back\\slash", "tab\t", "\u2028", "a/b=c%2Fd", " ", ".", ".."),
    *("\u043a\u043b\u044e\u0447", "\U0001f511", "e\u0301", "\uffff", "k" * 1024, "\U00010348" * 256),
)
VALUES = (b"", b"\x00", b"plain", b'{"turns": [1, 2]}', bytes(range(256)), "caf\u00e9 \u2028".encode(), b"\xff\xfe")


class Calendar(SystemClock):
    """The machine's clock, so many days later."""

    days = 0

    def now(self) -> int:
        return super().now() + self.days * DAY_MS


@dataclass
class Lake:
    """A daemon, and a client of it for what a test needs besides the command."""

    target: str
    client: StateClient
    calendar: Calendar

    def tomorrow(self) -> None:
        self.calendar.days += 1

    def put(self, namespace: str, operations: list[SetOp]) -> None:
        for start in range(0, len(operations), 100):
            self.client.transact(namespace, operations[start : start + 100])

    def rows(self, namespace: str, prefix: str = "") -> list[dict[str, Any]]:
        """What an export has to hold, by the client's own listing."""
        return [row_of(entry) for entry in self.client.list(namespace, prefix)]


@contextmanager
def lake(**settings: Any) -> Iterator[Lake]:
    """A real daemon, with its authority in memory unless said otherwise."""
    calendar = Calendar()

    class Ports(SystemPorts):
        def __init__(self) -> None:
            super().__init__()
            self.clock = calendar

    defaults: dict[str, Any] = {"tiers": {"hot": "memory://", "warm": "memory://", "cold": "none://"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemon, "SystemPorts", Ports)
        with sidecar(**(defaults | settings)) as running:
            yield Lake(running.target, running.client(timeout_s=30.0), calendar)


def fill(lake: Lake, namespace: str, count: int, *, days: int, large: int = 0) -> None:
    """Odd entries, written over some days; some again later, some deleted."""
    random_ = random.Random(7)
    keys = [*STRANGE_KEYS, *(f"user/{number:05}" for number in range(count - len(STRANGE_KEYS)))]
    for day in range(days):
        chosen = keys[day::days] + random_.sample(keys, len(keys) // 10)
        lake.put(namespace, [_odd(random_, key) for key in dict.fromkeys(chosen)])
        lake.tomorrow()
    for number in range(large):
        lake.client.set(namespace, f"large/{number}", random_.randbytes(LARGE_BYTES))
    for key in random_.sample(keys[len(STRANGE_KEYS) :], count // 50):
        lake.client.delete(namespace, key)


def _odd(random_: random.Random, key: str) -> SetOp:
    labels = {f"label \x00{number}": "caf\u00e9" * number for number in range(random_.choice((0, 0, 1, 5, 64)))}
    return SetOp(
        key,
        random_.choice(VALUES) or random_.randbytes(random_.choice((0, 100, 5_000))),
        content_type=random_.choice(("", "application/json")),
        schema_version=random_.choice((0, 1, 2**32 - 1)),
        labels=labels,
        ttl=random_.choice((None, 40 * 86_400, 40 * 86_400.123)),
    )


def row_of(entry: Entry) -> dict[str, Any]:
    assert entry.update_time is not None
    return {
        "namespace": entry.namespace,
        "key": entry.key,
        "value": entry.value,
        "version": entry.version,
        "content_type": entry.content_type,
        "schema_version": entry.schema_version,
        "create_time": entry.create_time,
        "update_time": entry.update_time,
        "expire_time": entry.expire_time,
        "labels": dict(entry.labels),
        "date": entry.update_time.astimezone(UTC).date().isoformat(),
    }


def by_key(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of a listing: by UTF-8 bytes, none left out and none twice."""
    return sorted(rows, key=lambda row: str(row["key"]).encode())


def read_parquet(path: str | Path, filesystem: Any = None) -> list[dict[str, Any]]:
    """As any reader of Hive's partitions."""
    table = ds.dataset(str(path), filesystem=filesystem, format="parquet", partitioning="hive").to_table()
    return by_key([row | {"labels": dict(row["labels"])} for row in table.to_pylist()])


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """With nothing but JSON, and the partitions of the paths."""
    rows = []
    for file in path.rglob("part-*.jsonl"):
        partition = dict(part.split("=", 1) for part in file.parts if "=" in part)
        for line in file.read_bytes().split(b"\n")[:-1]:
            row = json.loads(line)
            assert row["namespace"] == unquote(partition["namespace"])
            rows.append(_told(row) | {"date": partition["date"]})
    return by_key(rows)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    value = row.pop("value").encode() if "value" in row else base64.b64decode(row.pop("value_base64"))
    times = {name: told and datetime.fromisoformat(told) for name, told in row.items() if name.endswith("_time")}
    return row | times | {"value": value}
