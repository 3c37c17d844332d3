"""`python -m tests.stores.journal.child DIRECTORY LIFE`: a daemon's journal under load, each answer told on a line.

A line is there whole or not at all. `+ key sequence` a write is acknowledged, `x sequence` dead, `r sequence` removed,
`s sequence` settled (told before: a crash may forget it), `! what` an answer that must not be.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from sidecar.core.journal import Buffered, Settlement
from sidecar.stores.journal import FileJournal
from tests.stores.journal.subjects import buffering
from tests.support.clock import START_MS

WORKERS = 6
SEGMENT_BYTES = 20_000


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def main(directory: Path, life: int) -> None:
    journal = FileJournal(directory, bytes_max=1 << 30, segment_bytes=SEGMENT_BYTES)
    await journal.open()
    random = Random(life)

    async def end(buffered: Buffered) -> None:
        sequence = buffered.sequence
        if random.random() < 0.7:
            tell(f"s {sequence}")
            await journal.settle(sequence, Settlement.APPLIED)
            return
        tell(f"X {sequence}")
        await journal.bury(sequence, reason="R", message="m", now=START_MS)
        tell(f"x {sequence}")
        if random.random() < 0.7:
            tell(f"R {sequence}")
            await journal.remove(sequence)
            tell(f"r {sequence}")

    async def worker(number: int) -> None:
        n = 0
        while True:
            n += 1
            key = f"{life}/{number}/{n}"
            buffered = await journal.append(buffering(key, key.encode() * random.randint(1, 100)))
            tell(f"+ {key} {buffered.sequence}")
            if random.random() < 0.9:
                await end(buffered)

    await asyncio.gather(*[worker(number) for number in range(WORKERS)])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
