"""Redis, Valkey and what speaks like them: a client for scripts and reads; the hot tier's cache, its channel, its store.

One database serves several deployments, each under a prefix: `PREFIX:c:` begins the copies of a cache, `PREFIX:m:` the
markers that show a flush; `PREFIX:r` is the repairers' turn, `PREFIX:near` the channel.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sidecar.stores.redis.target import RedisTarget, parse_target

if TYPE_CHECKING:
    from sidecar.stores.redis.bus import RedisBus
    from sidecar.stores.redis.cache import RedisCache
    from sidecar.stores.redis.client import RedisClient
    from sidecar.stores.redis.store import RedisStore

__all__ = ["RedisBus", "RedisCache", "RedisClient", "RedisStore", "RedisTarget", "parse_target"]
_MODULES = {"RedisBus": "bus", "RedisCache": "cache", "RedisClient": "client", "RedisStore": "store"}


def __getattr__(name: str) -> Any:
    # The client library is needed to use a server, not to read its URL.
    if name in _MODULES:
        return getattr(import_module(f"sidecar.stores.redis.{_MODULES[name]}"), name)
    raise AttributeError(name)
