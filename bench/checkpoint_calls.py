"""What checkpoints cost a caller and a disk: a daemon on embedded defaults, 2 KB appended and checkpointed each turn.

    python -m bench.checkpoint_calls [--turns N]

Stored bytes are what the daemon keeps for them: every row of the ledger in its database, and every object in its cold tier.
A restore is a Restore call over gRPC, of each checkpoint once, in random order.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import time
from itertools import islice
from pathlib import Path

import grpc
from rich.console import Console
from rich.table import Table

from bench.checkpoint_storage import TURNS
from bench.figures import percentile
from bench.processes import daemon
from sidecar.core.ledger import LEDGER
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub

NAMESPACE, KEY = "conversations", "alice"
VALUE_BYTES_MAX = 16 << 20


def measure(name: str, count: int, console: Console) -> list[str]:
    """A row of the table: a conversation of that many turns."""
    turns = [json.loads(b"[%b]" % turn.rstrip(b",")) for turn in islice(TURNS[name](), count)]
    with daemon(
        f"namespaces.{NAMESPACE}.value_bytes_max={VALUE_BYTES_MAX}", "limits.message_bytes_max=33554432"
    ) as running:
        state = StateServiceStub(
            grpc.insecure_channel(running.target, options=[("grpc.max_receive_message_length", -1)])
        )
        ids, took_ms = _converse(state, turns)
        kept = _kept_bytes(running.log.parent / "data")
        value = state.Get(pb.GetRequest(namespace=NAMESPACE, key=KEY)).entry.value
        random.Random(2).shuffle(ids)
        restores_ms = []
        for checkpoint_id, size in ids:
            began = time.perf_counter()
            reply = state.Restore(pb.RestoreRequest(namespace=NAMESPACE, checkpoint_id=checkpoint_id))
            restores_ms.append((time.perf_counter() - began) * 1000)
            assert value.startswith(reply.entries[0].value[:-1]), "a prefix of the list, but for its bracket"
            assert len(reply.entries[0].value) == size
        console.log(f"{name}: {len(turns)} turns, {len(value)} bytes")
    restores_ms.sort()
    took_ms.sort()
    return [
        name,
        str(len(turns)),
        f"{len(value) / 1e3:.0f} kB",
        f"{kept / len(value):.2f}",
        f"{sum(size for _, size in ids) / len(value):.0f}",
        f"{percentile(took_ms, 0.5):.1f} / {percentile(took_ms, 0.99):.1f}",
        f"{percentile(restores_ms, 0.5):.1f} / {percentile(restores_ms, 0.99):.1f}",
    ]


def _converse(state: StateServiceStub, turns: list[list[object]]) -> tuple[list[tuple[str, int]], list[float]]:
    """Append and checkpoint, turn by turn: each checkpoint's id with the size of its state, and how long it took."""
    ids: list[tuple[str, int]] = []
    took_ms: list[float] = []
    for turn in turns:
        items = [json.dumps(item).encode() for item in turn]
        state.Update(pb.UpdateRequest(namespace=NAMESPACE, key=KEY, create=True, append=pb.Append(items=items)))
        began = time.perf_counter()
        made = state.Checkpoint(pb.CheckpointRequest(namespace=NAMESPACE, key=KEY)).checkpoint
        took_ms.append((time.perf_counter() - began) * 1000)
        ids.append((made.checkpoint_id, made.value_bytes))
    return ids, took_ms


def _kept_bytes(data: Path) -> int:
    with sqlite3.connect(f"file:{data / 'state.db'}?mode=ro", uri=True) as database:
        [(rows,)] = database.execute(
            "SELECT coalesce(sum(length(key) + length(value) + length(labels)), 0) FROM entries "
            "WHERE namespace = ? AND delete_time IS NULL",
            (LEDGER.encode(),),
        )
    objects = sum(path.stat().st_size for path in (data / "cold").rglob("*") if path.is_file())
    return int(rows) + objects


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, nargs="*", default=[100, 1000])
    options = parser.parse_args()
    console = Console()
    table = Table(
        "state",
        "turns",
        "size",
        "stored / live",
        "full copies / live",
        "checkpoint ms p50 / p99",
        "restore ms p50 / p99",
    )
    for count in options.turns:
        for name in ("base64", "text"):
            table.add_row(*measure(name, count, console))
    console.print(table)


if __name__ == "__main__":
    main()
