"""What a daemon costs that nobody asks for anything: time to start, memory, imports."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.figures import Footprint
from bench.processes import RunningDaemon, daemon
from servers.postgres import Postgres
from servers.redis import Valkey
from servers.seaweedfs import ADMIN, BUCKET, Seaweedfs

BACKENDS = ("botocore", "psycopg", "hiredis")
"""Client libraries that embedded tiers have no use for."""
SETTLE_S = 2.0
"""Idle, and past the first round of the background work."""


def measure(progress: Callable[[str], None], *, starts: int) -> Footprint:
    """One start that tells every import, then several that are measured, one after another."""
    progress("daemon start and memory")
    seconds, megabytes = [], []
    with tempfile.TemporaryDirectory(prefix="state-sidecar-bench-") as directory:
        bytecode = Path(directory)
        # This start compiles the modules, as an installation does, and so isn't measured; the interpreter itself tells
        # what it imports, on standard error.
        with daemon(python_options=("-X", "importtime"), bytecode=bytecode) as running:
            imported = set(re.findall(r"^import time:.*\| +([\w.]+)$", running.log.read_text(), re.MULTILINE))
        for _ in range(starts):
            with daemon(bytecode=bytecode) as running:
                time.sleep(SETTLE_S)
                seconds.append(running.start_s)
                megabytes.append(running.rss_mb())
    assert "sidecar.runtime.daemon" in imported, "the list of imports was not read"
    progress("daemon memory with Redis, PostgreSQL and S3")
    with connected() as running:
        time.sleep(SETTLE_S)
        connected_mb = running.rss_mb()
    return Footprint(
        start_s=statistics.median(seconds),
        start_s_max=1.0,
        rss_mb=statistics.median(megabytes),
        rss_mb_max=75.0,
        connected_mb=connected_mb,
        connected_mb_max=110.0,
        modules=len(imported),
        backends_imported=tuple(name for name in BACKENDS if name in imported),
        backends_looked_for=BACKENDS,
    )


@contextmanager
def connected() -> Iterator[RunningDaemon]:
    """A daemon whose tiers are a Valkey, a PostgreSQL and an S3 server."""
    with ExitStack() as stack:
        valkey, server = stack.enter_context(Valkey()), stack.enter_context(Postgres())
        s3 = stack.enter_context(Seaweedfs())
        tiers = (
            f"tiers.hot={valkey.url}",
            f"tiers.warm={server.url(schema='state_sidecar')}",
            f"tiers.cold=s3://{BUCKET}/bench?endpoint_url={s3.endpoint_url}&region=us-east-1",
        )
        key, secret = ADMIN
        yield stack.enter_context(daemon(*tiers, environ={"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}))
