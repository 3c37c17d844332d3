"""Many clients of several processes add to a few counters; the totals must be exact, whatever is lost on the way.

    python -m tests.e2e.increments --increments 200 [--clients 64] [--drop 0.05] [--seed 1] [--daemons 3]

Each client adds to its counter by Update and, on another key, by compare-and-set in a loop. With `--drop`, a proxy loses
that share of the daemons' replies after they were sent. With several daemons, they share a Redis and a PostgreSQL, and
a client's calls go to all of them. Besides the totals, the writes are audited: what a client was
told of each compare-and-set (applied, conflict) is held against the chain of versions that the key went through.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from statesidecar import AsyncStateClient, Consistency, VersionConflict
from tests.support.backends import shared_tiers
from tests.support.process import daemon_process
from tests.support.proxy import never, running_proxy, some_of

NS = "process"
KEYS = 8
PROCESSES = 3
CALL_TIMEOUT_S = 60.0
BACKOFF_S, BACKOFF_MAX_S = 0.005, 0.25


@dataclass
class Told:
    """What the clients of one process were told of their compare-and-sets: the value that each wrote or wanted to."""

    applied: list[tuple[int, int, str]] = field(default_factory=list)
    """Counter, value, request id."""
    conflicts: list[tuple[int, str]] = field(default_factory=list)
    """Counter, request id."""


@dataclass
class Figures:
    """The result of a run; the differences are of the totals, and must be 0."""

    increments: int
    seconds: float
    missing_by_update: int
    missing_by_cas: int
    conflicts: int
    conflicts_that_were_applied: int
    told_twice: int
    replies_dropped: int
    connections: int

    def exact(self) -> bool:
        """Whether nothing was lost, doubled or told wrongly."""
        wrong = (self.missing_by_update, self.missing_by_cas, self.conflicts_that_were_applied, self.told_twice)
        return not any(wrong)


async def add_by_update(client: AsyncStateClient, counter: int, increments: int) -> None:
    """Increments on the server."""
    for _ in range(increments):
        await client.increment(NS, f"update {counter}")


async def add_by_cas(client: AsyncStateClient, counter: int, name: str, increments: int, told: Told) -> None:
    """Increments here, and a compare-and-set of the result; the value carries the request ids that made it."""
    jitter = Random(name)
    for number in range(increments):
        attempt = 0
        while True:
            request_id = f"{name}/{number}/{attempt}"
            found = await client.get(NS, f"cas {counter}", consistency=Consistency.STRONG)
            state: dict[str, Any] = {"count": 0, "by": []}
            if found.entry is not None:
                state = json.loads(found.entry.value)
            state = {"count": state["count"] + 1, "by": [*state["by"], request_id]}
            try:
                await client.cas(
                    NS,
                    f"cas {counter}",
                    json.dumps(state),
                    expected_version=0 if found.entry is None else found.entry.version,
                    request_id=request_id,
                )
            except VersionConflict:
                told.conflicts.append((counter, request_id))
                attempt += 1
                # As the client's own update() does: losers that come back at once only lose again.
                await asyncio.sleep(jitter.random() * min(BACKOFF_MAX_S, BACKOFF_S * 2**attempt))
                continue
            told.applied.append((counter, state["count"], request_id))
            break


async def work(targets: list[str], process: int, clients: int, increments: int) -> Told:
    """One process's share of the clients, each with a connection of its own to each of two daemons if there are more."""
    told = Told()

    async def one(number: int) -> None:
        one_daemon, another = targets[number % len(targets)], targets[(number + 1) % len(targets)]
        async with (
            AsyncStateClient(one_daemon, timeout_s=CALL_TIMEOUT_S) as client,
            AsyncStateClient(another, timeout_s=CALL_TIMEOUT_S) as second,
        ):
            counter = number % KEYS
            await asyncio.gather(
                add_by_update(client, counter, increments),
                add_by_cas(second, counter, f"{process}/{number}", increments, told),
            )

    await asyncio.gather(*(one(number) for number in range(process, clients, PROCESSES)))
    return told


async def run(
    directory: Path, *, clients: int, increments: int, drop: float, seed: int, daemons: int = 1, **settings: str
) -> Figures:
    """Daemons, a proxy before each, and the processes of clients."""
    losing = some_of(drop, Random(seed)) if drop else never
    async with AsyncExitStack() as stack:
        running = [
            stack.enter_context(daemon_process(directory / f"data-{number}", **settings)) for number in range(daemons)
        ]
        proxies = [await stack.enter_async_context(running_proxy(daemon.target, drop=losing)) for daemon in running]
        targets = ",".join(proxy.target for proxy in proxies)
        start = time.monotonic()
        told = await asyncio.gather(*(_process(targets, number, clients, increments) for number in range(PROCESSES)))
        seconds = time.monotonic() - start
        async with AsyncStateClient(running[-1].target) as client:
            dropped, connections = sum(proxy.dropped for proxy in proxies), sum(proxy.connections for proxy in proxies)
            return await _audit(client, told, clients * increments, seconds, dropped, connections)


async def _process(targets: str, process: int, clients: int, increments: int) -> Told:
    arguments = [targets, str(process), str(clients), str(increments)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.increments", "--share", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"client process {process} ended with {child.returncode}")
    share = json.loads(output)
    return Told(
        applied=[(counter, value, request_id) for counter, value, request_id in share["applied"]],
        conflicts=[(counter, request_id) for counter, request_id in share["conflicts"]],
    )


async def _audit(
    client: AsyncStateClient, told: list[Told], expected: int, seconds: float, dropped: int, connections: int
) -> Figures:
    async def value(key: str) -> Any:
        found = await client.get(NS, key, consistency=Consistency.STRONG)
        return 0 if found.entry is None else json.loads(found.entry.value)

    by_update = sum([await value(f"update {counter}") for counter in range(KEYS)])
    states = [await value(f"cas {counter}") or {"count": 0, "by": []} for counter in range(KEYS)]
    # Every state carries the ids of all that made it: an id is in the final list if and only if its write was applied.
    applied = Counter(request_id for state in states for request_id in state["by"])
    conflicts = [request_id for share in told for _, request_id in share.conflicts]
    confirmed = [(counter, value) for share in told for counter, value, _ in share.applied]
    return Figures(
        increments=expected,
        seconds=round(seconds, 2),
        missing_by_update=expected - by_update,
        missing_by_cas=expected - sum(state["count"] for state in states),
        conflicts=len(conflicts),
        conflicts_that_were_applied=sum(applied[request_id] for request_id in conflicts),
        told_twice=len(confirmed) - len(set(confirmed)) + sum(count - 1 for count in applied.values()),
        replies_dropped=dropped,
        connections=connections,
    )


def main() -> int:
    """Run, print the figures, and say by the exit code whether they are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--increments", type=int, default=200, help="by each client, in each of the two ways")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--drop", type=float, default=0.0, help="share of replies that are lost, 0 to 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--daemons", type=int, default=1, help="more than one share a Redis and a PostgreSQL")
    parser.add_argument(
        "--share", nargs=4, metavar=("TARGETS", "PROCESS", "CLIENTS", "INCREMENTS"), help="one process's"
    )
    options = parser.parse_args()
    if options.share:
        targets, process, clients, increments = options.share
        told = asyncio.run(work(targets.split(","), int(process), int(clients), int(increments)))
        json.dump(asdict(told), sys.stdout)
        return 0
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="increments-"))
        settings = stack.enter_context(shared_tiers()) if options.daemons > 1 else {}
        figures = asyncio.run(
            run(
                Path(directory),
                clients=options.clients,
                increments=options.increments,
                drop=options.drop,
                seed=options.seed,
                daemons=options.daemons,
                **settings,
            )
        )
    print(json.dumps(asdict(figures), indent=2))
    return 0 if figures.exact() else 1


if __name__ == "__main__":
    sys.exit(main())
