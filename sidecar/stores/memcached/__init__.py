"""The hot tier in memcached servers: a client for meta commands, and the lease protocol on compare-and-swap."""

from sidecar.stores.memcached.cache import MemcachedCache
from sidecar.stores.memcached.target import MemcachedTarget, parse_target

__all__ = ["MemcachedCache", "MemcachedTarget", "parse_target"]
