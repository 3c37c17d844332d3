"""What telling callers apart and sealing values cost: the same calls of two daemons in one run, in alternating blocks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench.figures import Row
from bench.processes import daemon
from bench.unary import Case, Side, compare

TOKEN = "a-token-of-a-benchmark-and-of-nothing-else"
WARM_ONLY = "tiers.hot=none://"
"""So that every Get asks SQLite, whose values are sealed."""


async def _measure(cases: list[Case], off: str, on: str, *, token: str, rounds: int, calls: int) -> list[Row]:
    plain, secured = Side(off), Side(on, token=token)
    rows = []
    for case in cases:
        for side in (plain, secured):
            await side.prepare(case)
        rows.append(await compare(case, plain, secured, rounds=rounds, calls=calls))
    for side in (plain, secured):
        await side.channel.close()
    return rows


def measure(progress: Callable[[str], None], *, rounds: int, calls: int) -> list[Row]:
    """The floor's columns are those of the daemon without."""
    with tempfile.TemporaryDirectory(prefix="state-sidecar-bench-") as made:
        keys, tokens = Path(made, "keys"), Path(made, "tokens")
        keys.mkdir()
        (keys / "bench.key").write_bytes(os.urandom(32))
        tokens.write_text(f"bench: {TOKEN}\n")
        for path in (keys / "bench.key", tokens):
            path.chmod(0o600)
        progress("sealed, and not")
        cases = [
            Case(title=f"{method}, SQLite, 1 KB sealed, against the same not", method=method, namespace="model")
            for method in ("Get", "Set")
        ]
        with daemon(WARM_ONLY) as off, daemon(WARM_ONLY, f"encryption.keys={keys}") as on:
            rows = uvloop.run(_measure(cases, off.target, on.target, token="", rounds=rounds, calls=calls))
        progress("callers told apart, and not")
        rule = (
            f"auth.tokens={tokens}",
            "auth.identities.bench.namespaces=*",
            "auth.identities.bench.methods=read,write,health",
            "auth.identities.bench.quota.ops_per_s=1000000",
        )
        case = Case(title="Get, hot, a token and a quota, against the same without", method="Get", namespace="session")
        with daemon() as off, daemon(*rule, token=TOKEN) as on:
            rows += uvloop.run(_measure([case], off.target, on.target, token=TOKEN, rounds=rounds, calls=calls))
    return rows


if __name__ == "__main__":
    for row in measure(lambda _: None, rounds=20, calls=200):
        print(row)
