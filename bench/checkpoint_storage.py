"""What checkpoints of a state that grows cost to keep: by what changed, against full copies, plain zstd and chunks.

A conversation gets 2 KB a turn, and a checkpoint after each; the document that a checkpoint keeps is the value and a manifest
that changes every time. Every scheme is given the same documents and counted by the bytes that it would keep.
`python -m bench.checkpoint_storage` measures this alone and writes results/checkpoint_storage.json and .svg.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from backports import zstd
from rich.console import Console

from bench import report
from bench.figures import CheckpointStorage, percentile
from sidecar.core import checkpoints, deltas
from sidecar.core.entry import Entry

RESULTS = Path(__file__).parent / "results"
SAMPLE = Path(__file__).parents[1] / "examples" / "dialogues" / "data" / "sample.jsonl"
TURN_BYTES = 2048
MARKS = (10, 20, 50, 100, 200, 500, 1000)
FRONT = "base64, changed in front"
"""A field before the turns changes too: nothing is in common at the beginning, and the manifest is at the end."""
SIZE_MAX = 1 << 30
RESTORED_AT, RESTORES, ROUNDS = (100, 1000), 200, 3
STORED_MAX = {("base64", 100): 2.0, ("base64", 1000): 2.5, ("text", 100): 1.0, ("text", 1000): 1.0}
"""Stored bytes, as a multiple of the live state."""
RESTORE_MS_MAX = 20.0
"""At 100 turns, the 99th percentile."""


class Scheme(Protocol):
    """A way to keep documents; `stored`: bytes so far."""

    stored: int

    def put(self, content: bytes) -> None: ...


class Copies:
    """Each as it is."""

    def __init__(self) -> None:
        self.stored = 0

    def put(self, content: bytes) -> None:
        self.stored += len(content)


class CompressedCopies(Copies):
    """Each compressed by itself."""

    def put(self, content: bytes) -> None:
        self.stored += len(zstd.compress(content))


class TwoLevels:
    """zstd as it comes, with another document as dictionary: the parent, and for every 32nd the 32nd before."""

    def __init__(self) -> None:
        self.stored = 0
        self._kept: list[bytes] = []
        self._parent = self._anchor = b""

    def put(self, content: bytes) -> None:
        anchors = not len(self._kept) % 32
        kept = zstd.compress(content, zstd_dict=self._prefix(self._anchor if anchors else self._parent))
        self.stored += len(kept)
        self._kept.append(kept)
        self._parent = content
        self._anchor = content if anchors else self._anchor

    def get(self, index: int) -> bytes:
        content = b""
        for link in (*range(0, index + 1, 32), *range(index - index % 32 + 1, index + 1)):
            content = zstd.decompress(self._kept[link], zstd_dict=self._prefix(content))
        return content

    @staticmethod
    def _prefix(content: bytes) -> tuple[zstd.ZstdDict, int] | None:
        return zstd.ZstdDict(content, is_raw=True).as_prefix if content else None


class ByChange:
    """As the daemon keeps them: sidecar/core/deltas.py, and what a row says about its chain."""

    def __init__(self) -> None:
        self.stored = 0
        self.links: list[deltas.Link] = []
        self._kept: list[deltas.Stored] = []
        self._contents: dict[str, bytes] = {}

    def put(self, content: bytes) -> None:
        index = len(self._kept)
        parent = self._kept[-1].link if self._kept else None
        base = deltas.choose_base(str(index - 1), parent, size=len(content))
        kept = deltas.store(content, base, self._contents[base.content_id] if base else None)
        self.stored += len(kept.data) + len(json.dumps([kept.base_id, *dataclasses.astuple(kept.link)]))
        self._kept.append(kept)
        self.links.append(kept.link)
        needed = {kept.link.anchor}
        self._contents = {name: held for name, held in self._contents.items() if name in needed} | {str(index): content}

    def get(self, index: int) -> bytes:
        chain = [self._kept[index]]
        while chain[-1].base_id:
            chain.append(self._kept[int(chain[-1].base_id)])
        return deltas.restore((kept.data for kept in reversed(chain)), bytes_max=SIZE_MAX)


class Chunks:
    """Chunks that end where their content says (a gear hash over 32 bytes), each kept once; and a list of them for each."""

    AVERAGE_BITS, LEAST, MOST, NAME = 12, 1024, 16 * 1024, 16

    def __init__(self) -> None:
        self.stored = 0
        self._chunks: dict[bytes, bytes] = {}
        self._lists: list[list[bytes]] = []
        self._gear = np.random.default_rng(1).integers(0, 1 << 32, 256, dtype=np.uint32)

    def put(self, content: bytes) -> None:
        names = []
        for start, end in itertools.pairwise((0, *self._ends(content))):
            chunk = content[start:end]
            name = hashlib.blake2b(chunk, digest_size=self.NAME).digest()
            names.append(name)
            if name not in self._chunks:
                packed = zstd.compress(chunk)
                self._chunks[name] = packed
                self.stored += len(packed) + self.NAME
        self._lists.append(names)
        self.stored += len(names) * self.NAME

    def get(self, index: int) -> bytes:
        return b"".join(zstd.decompress(self._chunks[name]) for name in self._lists[index])

    def _ends(self, content: bytes) -> Iterator[int]:
        hashes = self._gear[np.frombuffer(content, np.uint8)]
        for shift in (1, 2, 4, 8, 16):  # Doubled five times, the hash of one byte becomes that of 32
            hashes[shift:] += hashes[:-shift] << np.uint32(shift)
        start = 0
        for end in np.flatnonzero(hashes >> np.uint32(32 - self.AVERAGE_BITS) == 0) + 1:
            while end - start > self.MOST:
                start += self.MOST
                yield start
            if end - start >= self.LEAST:
                start = int(end)
                yield start
        while len(content) - start > self.MOST:
            start += self.MOST
            yield start
        if start < len(content):
            yield len(content)


SCHEMES: dict[str, Callable[[], Scheme]] = {
    "copies": Copies,
    "zstd copies": CompressedCopies,
    "zstd two levels": TwoLevels,
    "chunks": Chunks,
    "by change": ByChange,
}


RESTORABLE = ("zstd two levels", "chunks", "by change")


def _utterances() -> Iterator[str]:
    """What people said, and when all of it was said, the same utterances with their words in another order."""
    lines = SAMPLE.read_text().splitlines()
    said = [turn["utterance"] for line in lines for turn in json.loads(line)["turns"]]
    yield from said
    chance = random.Random(1)
    while True:
        for utterance in said:
            words = utterance.split()
            chance.shuffle(words)
            yield " ".join(words)


def _texts() -> Iterator[bytes]:
    said, turn = _utterances(), ""
    while True:
        turn += json.dumps({"role": "user", "content": next(said)}) + ","
        if len(turn) >= TURN_BYTES:
            yield turn.encode()
            turn = ""


def _base64() -> Iterator[bytes]:
    chance = random.Random(1)
    while True:
        yield b'{"role":"user","content":"%b"},' % base64.b64encode(chance.randbytes(1500))


def _noise() -> Iterator[bytes]:
    chance = random.Random(1)
    while True:
        yield chance.randbytes(TURN_BYTES)


TURNS: dict[str, Callable[[], Iterator[bytes]]] = {
    "base64": _base64,
    "random bytes": _noise,
    "text": _texts,
    FRONT: _base64,
}


def documents(kind: str, turns: int) -> Iterator[bytes]:
    """What each turn's checkpoint has to keep."""
    state = bytearray()
    for number, turn in enumerate(itertools.islice(TURNS[kind](), turns)):
        state += turn
        now = 1_790_000_000_000 + number * 61_237
        head = b'{"updated":%d,"turns":[' % now if kind == FRONT else b"["
        entry = Entry(
            namespace="session",
            key="agent-7/conversation",
            value=b"%b%bnull%b" % (head, bytes(state), b"]}" if kind == FRONT else b"]"),
            version=(1 << 48) + 37 * number,
            create_time=1_790_000_000_000,
            update_time=now,
            expire_time=now + 604_800_000,
            ttl_ms=604_800_000,
            content_type="application/json",
        )
        yield checkpoints.document([entry])


def measure(progress: Callable[[str], None], *, turns: int) -> list[CheckpointStorage]:
    """Every scheme on every kind of state, looked at on the way to so many turns."""
    rows = []
    for kind in TURNS:
        schemes = {name: make() for name, make in SCHEMES.items()}
        digests: list[bytes] = []
        for content in documents(kind, turns):
            for scheme in schemes.values():
                scheme.put(content)
            digests.append(_digest(content))
            if len(digests) in MARKS:
                progress(f"checkpoints of {kind}, {len(digests)} turns")
                rows.append(_row(kind, len(content), schemes, digests))
    return rows


def _row(kind: str, state_bytes: int, schemes: dict[str, Scheme], digests: list[bytes]) -> CheckpointStorage:
    turns, by_change = len(digests), schemes["by change"]
    assert isinstance(by_change, ByChange)
    restored = {name: _restored(schemes[name], digests) for name in RESTORABLE} if turns in RESTORED_AT else {}
    return CheckpointStorage(
        state=kind,
        turns=turns,
        state_bytes=state_bytes,
        stored={name: scheme.stored / state_bytes for name, scheme in schemes.items()},
        stored_max=STORED_MAX.get((kind, turns)),
        links_max=max(link.depth for link in by_change.links),
        restore_ms_p50={name: percentile(times, 0.5) for name, times in restored.items()},
        restore_ms_p99={name: percentile(times, 0.99) for name, times in restored.items()},
        restore_ms_max=RESTORE_MS_MAX if turns == 100 else None,
    )


def _restored(scheme: Scheme, digests: list[bytes]) -> list[float]:
    """Milliseconds of restores, in order; of every checkpoint, or of some hundred that are spread over all."""
    assert isinstance(scheme, TwoLevels | Chunks | ByChange)
    times = []
    for index in [*range(0, len(digests), max(len(digests) // RESTORES, 1))] * ROUNDS:
        start = time.perf_counter()
        content = scheme.get(index)
        times.append((time.perf_counter() - start) * 1e3)
        assert _digest(content) == digests[index]
    return sorted(times)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def save(rows: list[CheckpointStorage]) -> None:
    """As JSON, and as a plot: a panel for each kind of state, a line for each scheme."""
    from matplotlib import rcParams  # noqa: PLC0415  # half a second, which only who saves has to wait
    from matplotlib.figure import Figure  # noqa: PLC0415

    RESULTS.mkdir(parents=True, exist_ok=True)
    told = [dataclasses.asdict(row) for row in rows]
    (RESULTS / "checkpoint_storage.json").write_text(json.dumps(told, indent=2) + "\n")
    rcParams["svg.fonttype"], rcParams["svg.hashsalt"] = "none", "checkpoints"
    figure = Figure(figsize=(11, 8), layout="constrained")
    for axes, kind in zip(figure.subplots(2, 2, sharex=True, sharey=True).flat, TURNS, strict=True):
        points = [row for row in rows if row.state == kind]
        turns = [row.turns for row in points]
        for name in SCHEMES:
            axes.plot(turns, [row.stored[name] for row in points], marker="o", label=name)
        axes.axhline(2, color="grey", linestyle=":", linewidth=1)
        axes.set(xscale="log", yscale="log", title=kind)
        axes.set_xticks(turns, [str(number) for number in turns])
        axes.minorticks_off()
    figure.supxlabel("turns, a checkpoint after each")
    figure.supylabel("stored bytes / live state")
    axes.legend()
    figure.savefig(RESULTS / "checkpoint_storage.svg", metadata={"Date": None})


def main() -> int:
    """Measures, saves and prints. 1: a target is missed."""
    console = Console()
    with console.status("") as status:
        rows = measure(status.update, turns=MARKS[-1])
    save(rows)
    report.show_tables(report.checkpoint_tables(rows), console)
    return 0 if all(row.stored_met and row.restore_met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
