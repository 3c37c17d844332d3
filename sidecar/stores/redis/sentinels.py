"""Sentinels: who the primary of a name is."""

from __future__ import annotations

from sidecar.stores.redis.connection import connect
from sidecar.stores.redis.errors import RedisRefused, RedisUnavailable
from sidecar.stores.redis.script import pack
from sidecar.stores.redis.target import Endpoint, RedisTarget


async def primary_of(target: RedisTarget, *, timeout_s: float) -> Endpoint:
    """Where the primary is, as the first sentinel says that answers within `timeout_s`. Raises RedisUnavailable."""
    error = RedisUnavailable("no sentinel was asked")
    for endpoint in target.endpoints:
        try:
            answer = await _asked(endpoint, target, timeout_s)
        except RedisUnavailable as exc:
            error = exc
            continue
        if answer is not None:
            return answer
        error = RedisUnavailable(f"the sentinel {endpoint} knows no primary {target.primary_name!r}")
    raise error


async def _asked(endpoint: Endpoint, target: RedisTarget, timeout_s: float) -> Endpoint | None:
    connection, hello = await connect(endpoint, target, timeout_s=timeout_s, open_s=timeout_s, sentinel=True)
    try:
        if hello.get(b"mode") != b"sentinel":
            raise RedisUnavailable(f"{endpoint} is no sentinel: write redis://")
        answer = await connection.call(pack((b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", target.primary_name)))
    except RedisRefused as exc:
        raise RedisUnavailable(f"the sentinel {endpoint} refuses us: {exc}") from exc
    finally:
        connection.abort("it was asked")
    return None if answer is None else Endpoint(answer[0].decode(), int(answer[1]))
