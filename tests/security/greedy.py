"""A tenant that asks for more than it may have: `python -m tests.security.greedy TARGET TOKEN CALLS_PER_S`.

It calls between the lines `go` and `stop` on its standard input, and then tells how many calls were let in and refused.
"""

from __future__ import annotations

import asyncio
import sys

import grpc

from statesidecar.v1 import state_service_pb2 as pb
from tests.support.daemon import CHANNEL_OPTIONS, Stubs

TICK_S = 0.002


async def main(target: str, token: str, calls_per_s: float) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        stubs = Stubs(channel)
        while await loop.run_in_executor(None, sys.stdin.readline):
            stopping = loop.run_in_executor(None, sys.stdin.readline)
            began, asked, calls = loop.time(), 0, []
            while not stopping.done():
                due = int((loop.time() - began) * calls_per_s) - asked
                asked += due
                calls += [asyncio.ensure_future(_call(stubs, token)) for _ in range(due)]
                await asyncio.sleep(TICK_S)
            let_in = sum(await asyncio.gather(*calls))
            print(let_in, len(calls) - let_in, flush=True)


async def _call(stubs: Stubs, token: str) -> bool:
    request = pb.SetRequest(namespace="greedy", key="key", value=b"value")
    try:
        await stubs.state.Set(request, metadata=(("authorization", f"Bearer {token}"),), timeout=10)
    except grpc.aio.AioRpcError as exc:
        if exc.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
