"""`python -m tests.stores.postgres.child URL LIFE COUNT`: another daemon's writes, each told on a line: key and version."""

from __future__ import annotations

import asyncio
import os
import sys

from sidecar.runtime.ports import SystemClock
from sidecar.stores.postgres import PostgresStore, parse_target
from tests.stores.postgres.conftest import add_one, put

WORKERS = 8
SHARED_KEYS = 5


async def main(url: str, life: str, count: int) -> None:
    store = PostgresStore(parse_target(url), clock=SystemClock())
    await store.open()

    async def worker(number: int) -> None:
        for n in range(count):
            own, shared = f"{life} {number} {n % 3}", f"shared {(number + n) % SHARED_KEYS}"
            for key, write in ((own, put(own)), (shared, add_one(f"{life} {number} {n}", key=shared))):
                version = (await store.commit(write)).version
                os.write(1, f"{key}\t{version}\n".encode())  # a line is there whole or not at all

    await asyncio.gather(*[worker(number) for number in range(WORKERS)])
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
