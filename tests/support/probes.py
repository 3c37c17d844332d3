"""What the daemon's HTTP side answers."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request


def probe_now(address: str, path: str) -> tuple[int, str]:
    """Status and body of a GET, whatever the status."""
    # Not through a proxy that the environment may name: the daemon is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}{path}", timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def probe(address: str, path: str) -> tuple[int, str]:
    """As `probe_now`, beside the event loop."""
    return await asyncio.to_thread(probe_now, address, path)
