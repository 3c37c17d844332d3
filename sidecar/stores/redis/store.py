"""RedisStore: the Store port in Redis, for namespaces whose authority is hot. Every call is a script, so it is atomic.

What Redis acknowledges it may lose, in a restart or a failover: commits here are volatile. What it lost never comes back
under the same version (`tick` in `store_common.lua`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sidecar.core.entry import Copy
from sidecar.core.errors import DeadlineExceeded, Unsupported
from sidecar.core.observed import Census
from sidecar.core.operations import Write, WriteId
from sidecar.core.ports import Clock
from sidecar.core.store import (
    ChangePage,
    Outcome,
    Page,
    PrefixProgress,
    StoreCapabilities,
    SweepOrder,
    Swept,
    Touch,
    Touched,
)
from sidecar.stores.redis import store_counting, store_reads, store_upkeep
from sidecar.stores.redis.client import RedisClient
from sidecar.stores.redis.script import Argument, load_script
from sidecar.stores.redis.store_calls import Calls
from sidecar.stores.redis.store_commits import Commits
from sidecar.stores.redis.store_rows import Shard, shard_number, shards_of

_log = logging.getLogger(__name__)

VALUE_BYTES_MAX = 512 << 20
"""Redis's bound of a string (proto-max-bulk-len)."""
CHANGES_MAX = 100_000
SHARDS_MAX = 1024
EVICTING_POLICIES = "allkeys-"
"""What the volatile- ones evict has an end of Redis's own; nothing here has."""
_OPEN, _COMMIT = (load_script("store_common", f"store_{name}") for name in ("open", "commit"))


class RedisStore:
    """A Store in Redis or Valkey, shared by all daemons that give the same `prefix` and `shards`.

    A shard is a hash slot: in a Cluster, namespaces spread over as many nodes as there are `shards`. Several have no common
    order, so with more than one there are no `changes`. At most `queue_max` calls wait; the last `changes_max` changes are
    kept. `server_clock` takes the place of the server's clock in tests. The client is the caller's to close.
    """

    def __init__(
        self,
        client: RedisClient,
        *,
        clock: Clock,
        prefix: str = "",
        shards: int = 1,
        queue_max: int = 10_000,
        changes_max: int = CHANGES_MAX,
        server_clock: Clock | None = None,
    ) -> None:
        if "{" in prefix or "}" in prefix:
            raise ValueError("the prefix holds a brace, which says where a hash tag begins or ends")
        if not 0 < shards <= SHARDS_MAX:
            raise ValueError(f"shards are 1 to {SHARDS_MAX}")
        self.capabilities = StoreCapabilities(
            durable=False, shared=True, changes=shards == 1, value_bytes_max=VALUE_BYTES_MAX, quiet=False
        )
        self._clock = clock
        self._shards = shards_of(prefix, shards)
        self._changes_max = changes_max if shards == 1 else 0
        self._calls = Calls(client, clock=clock, queue_max=queue_max, server_clock=server_clock)
        self._commits = Commits(self._run_commit, now=self._calls.now, clock=clock)
        self._warned: set[str] = set()

    def now(self) -> int:
        """The server's clock."""
        return self._calls.now()

    async def open(self) -> None:
        """See that the server answers, and that it keeps what it is given. Raises StoreUnavailable."""
        servers = await self._calls.servers()
        await self._calls.read(_OPEN, self._shards[0].keys)
        for server in servers:
            policy = server.fields.get("maxmemory_policy", "")
            if policy.startswith(EVICTING_POLICIES) and server.address not in self._warned:
                self._warned.add(server.address)
                _log.warning(
                    "redis evicts (%s): acknowledged state may vanish; set maxmemory-policy noeviction",
                    policy,
                    extra={"server": server.address},
                )

    async def close(self) -> None:
        """Nothing is held: the client is its owner's. Idempotent."""

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:
        """The committed state of each key."""
        self._check(deadline)
        return await store_reads.get(self._calls, self._shard(namespace), namespace, keys)

    async def commit(self, write: Write) -> Outcome:
        """Apply a write."""
        if write.outbox:
            raise Unsupported("the hot tier keeps no rows in silence", metadata={"operation": "outbox"})
        shard = self._shard(write.namespace)
        outcome = await self._commits.commit(shard, write)
        self._calls.saw(shard, outcome.version)
        return outcome

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        """Move ends."""
        return await store_upkeep.touch(
            self._calls, self._shard(namespace), namespace, touches, changes_max=self._changes_max if announce else 0
        )

    async def scan(
        self,
        namespace: str,
        prefix: str,
        *,
        after: str | None,
        limit: int,
        bytes_max: int,
        keys_only: bool,
        deadline: float | None = None,
    ) -> Page:
        """Entries in key order."""
        self._check(deadline)
        return await store_reads.scan(
            self._calls,
            self._shard(namespace),
            namespace,
            prefix,
            after=after,
            limit=limit,
            bytes_max=bytes_max,
            keys_only=keys_only,
        )

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        """One batch of a deletion."""
        return await store_upkeep.delete_prefix(
            self._calls,
            self._shard(namespace),
            namespace,
            prefix,
            limit=limit,
            request=request,
            progress=progress,
            changes_max=self._changes_max,
        )

    async def changes(self, *, after: int | None, limit: int) -> ChangePage:
        """Change rows after a cursor. Raises Unsupported where there are several shards."""
        if not self.capabilities.changes:
            raise Unsupported("changes have no common order over several shards", metadata={"operation": "changes"})
        return await store_reads.changes(self._calls, self._shards[0], after=after, limit=limit)

    async def sweep(self, order: SweepOrder) -> Swept:
        """Clean what has ended, in every shard."""
        return await store_upkeep.sweep(self._calls, self._shards, order, changes_max=self._changes_max)

    async def cache_generation(self, cache_identity: str) -> int:
        """Rises when another cache is seen."""
        return await store_upkeep.cache_generation(self._calls, self._shards[0], cache_identity)

    async def census(self) -> Census:
        """Count what is held, of large namespaces by a sample."""
        return await store_counting.census(self._calls, self._shards)

    def _shard(self, namespace: str) -> Shard:
        return self._shards[shard_number(namespace, len(self._shards))]

    def _check(self, deadline: float | None) -> None:
        if deadline is not None and self._clock.monotonic() >= deadline:
            raise DeadlineExceeded("the deadline passed before the read began")

    async def _run_commit(self, shard: Shard, arguments: Sequence[Argument]) -> list[Any]:
        return await self._calls.write(_COMMIT, shard.keys, self._calls.seen(shard), self._changes_max, *arguments)
