"""What an operator should know of a Redis or Valkey server: asked once, for `doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.core.observed import Advice
from sidecar.stores.redis.client import RedisClient
from sidecar.stores.redis.errors import RedisRefused, RedisUnavailable
from sidecar.stores.redis.script import pack
from sidecar.stores.redis.store_errors import read_error

NOTHING_EVICTED = "noeviction"
FULL = 0.9
_SAVE = pack((b"CONFIG", b"GET", b"save"))


async def advice(client: RedisClient, *, keeps: bool) -> list[Advice]:
    """Of each primary. `keeps`: it is an authority of namespaces, not only a cache. Raises SidecarError."""
    try:
        servers = await client.servers()
        saves = dict(await client.ask_servers([_SAVE]))
    except (RedisUnavailable, RedisRefused) as exc:
        raise read_error(exc) from exc
    return [
        Advice(f"{server.address}: {said.message}", said.harmful)
        for server in servers
        for said in (
            *_memory(server.fields, keeps=keeps),
            *_persistence(server.fields, saves.get(server.address, []), keeps=keeps),
        )
    ]


def _memory(fields: dict[str, str], *, keeps: bool) -> Iterator[Advice]:
    policy, limit, used = (
        fields.get("maxmemory_policy", ""),
        _number(fields, "maxmemory"),
        _number(fields, "used_memory"),
    )
    evicts = policy not in {"", NOTHING_EVICTED}
    if evicts and keeps:
        yield Advice(
            f"it evicts ({policy}) what it is the authority of: set maxmemory-policy to {NOTHING_EVICTED}", True
        )
    elif evicts and policy.startswith("volatile-"):
        yield Advice(f"maxmemory-policy {policy} may find little to evict: set allkeys-lru or allkeys-lfu for a cache")
    if not evicts and limit and used > FULL * limit:
        yield Advice(
            f"{used * 100 // limit} % of maxmemory is used, and {NOTHING_EVICTED} refuses writes at its end: "
            + ("raise maxmemory" if keeps else "set allkeys-lfu for a cache, or raise maxmemory"),
            keeps,
        )


def _persistence(fields: dict[str, str], replies: list[object], *, keeps: bool) -> Iterator[Advice]:
    if fields.get("rdb_last_bgsave_status") == "err" or fields.get("aof_last_write_status") == "err":
        yield Advice("it could not save lately, and may refuse writes: look at its log and its disk", keeps)
    if keeps and fields.get("aof_enabled") == "0" and _saves_nothing(replies):
        yield Advice("nothing is saved, and a restart loses what it is the authority of: set appendonly to yes")


def _saves_nothing(replies: list[object]) -> bool:
    """Whether it says so; not where it tells us nothing."""
    [reply] = replies or [None]
    values = list(reply.values()) if isinstance(reply, dict) else reply[1:] if isinstance(reply, list) else []
    return values == [b""]


def _number(fields: dict[str, str], name: str) -> int:
    value = fields.get(name, "0")
    return int(value) if value.isdecimal() else 0
