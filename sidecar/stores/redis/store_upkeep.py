"""What the store does besides reads and writes: move ends, delete by prefix, sweep, count the cache's generations."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from sidecar.core.entry import EPOCH_SHIFT, SEQUENCE_MASK, Tombstone
from sidecar.core.errors import store_corrupt
from sidecar.core.expiry import TOUCH_SLACK
from sidecar.core.operations import WriteId
from sidecar.core.store import PrefixProgress, SweepOrder, Swept, Touch, Touched, request_id_reused
from sidecar.stores.redis.script import Argument, load_script
from sidecar.stores.redis.store_calls import Calls
from sidecar.stores.redis.store_reads import VISITS_MAX
from sidecar.stores.redis.store_rows import NONE, Shard, entry_corrupt, field_of, key_range, names_of

_log = logging.getLogger(__name__)
_TOUCH, _DELETE_PREFIX, _SWEEP, _GENERATION = (
    load_script("store_common", f"store_{name}") for name in ("touch", "delete_prefix", "sweep", "generation")
)


async def touch(
    calls: Calls, shard: Shard, namespace: str, touches: Sequence[Touch], *, changes_max: int
) -> list[Touched]:
    """Move ends. Raises DataLoss."""
    arguments: list[Argument] = [changes_max, str(TOUCH_SLACK)]
    for one in touches:
        arguments += (
            field_of(namespace, one.key),
            NONE if one.ttl_ms is None else one.ttl_ms,
            b"1" if one.extend_only else NONE,
        )
    _, what, told = await calls.write(_TOUCH, shard.keys, *arguments)
    if what == b"corrupt":
        raise entry_corrupt(*names_of(told))
    return [
        Touched(found=bool(found), expire_time=end or None) for found, end in zip(told[::2], told[1::2], strict=True)
    ]


async def delete_prefix(
    calls: Calls,
    shard: Shard,
    namespace: str,
    prefix: str,
    *,
    limit: int,
    request: WriteId | None,
    progress: PrefixProgress | None,
    changes_max: int,
) -> PrefixProgress:
    """One batch. What is recorded under the request id goes before what the caller says."""
    if progress is not None and progress.done and request is None:
        return progress
    lower, upper = key_range(namespace, prefix, None)
    horizon: Any = NONE
    after, count = NONE, 0
    if progress is not None:
        horizon, count = progress.horizon & SEQUENCE_MASK, progress.deleted_count
        if progress.tombstones:
            after = field_of(namespace, progress.tombstones[-1].key)
    at: list[Argument] = [NONE, NONE]
    if request is not None:
        at = [field_of(namespace, request.request_id), request.fingerprint]
    graves: list[Tombstone] = []
    while True:
        now, what, *told = await calls.write(
            _DELETE_PREFIX,
            shard.keys,
            calls.seen(shard),
            changes_max,
            *at,
            lower,
            upper,
            limit - len(graves),
            VISITS_MAX,
            horizon,
            count,
            after,
        )
        if what == b"reused":
            assert request is not None, "only a request id is reused"
            raise request_id_reused(request)
        if what == b"corrupt":
            _raise_corrupt(told[0], at[0])
        horizon, count, done, after, sequence, fields = told
        graves += _graves(calls, shard, fields, sequence, now)
        if done or len(graves) == limit:
            return PrefixProgress(
                horizon=shard.epoch << EPOCH_SHIFT | horizon,
                deleted_count=count,
                done=bool(done),
                tombstones=tuple(graves),
            )


def _raise_corrupt(field: bytes, request: Argument) -> None:
    if field == request:
        raise store_corrupt("what a request id did does not verify")
    raise entry_corrupt(*names_of(field))


async def sweep(calls: Calls, shards: Iterable[Shard], order: SweepOrder, *, changes_max: int) -> Swept:
    """A batch of each kind, over all shards."""
    swept = Swept()
    for shard in shards:
        left = [order.limit - done for done in (len(swept.expired), swept.tombstones, swept.requests, swept.changes)]
        now, sequence, tombstones, requests, changes, corrupt, fields = await calls.write(
            _SWEEP,
            shard.keys,
            calls.seen(shard),
            changes_max,
            *left,
            order.tombstone_retention_ms,
            order.request_retention_ms,
        )
        if corrupt:
            _log.warning("expired entries do not verify and were not swept", extra={"entries": corrupt})
        swept = Swept(
            expired=swept.expired + tuple(_graves(calls, shard, fields, sequence, now)),
            tombstones=swept.tombstones + tombstones,
            requests=swept.requests + requests,
            changes=swept.changes + changes,
        )
    return swept


async def cache_generation(calls: Calls, shard: Shard, cache_identity: str) -> int:
    """The current generation for the cache that was seen before, a greater one for another."""
    _, generation = await calls.write(_GENERATION, shard.keys, cache_identity)
    return int(generation)


def _graves(calls: Calls, shard: Shard, fields: Sequence[bytes], sequence: int, now: int) -> list[Tombstone]:
    """The tombstones that a script has just made."""
    version = shard.version(sequence)
    calls.saw(shard, version)
    named = [names_of(field) for field in fields]
    return [Tombstone(namespace=namespace, key=key, version=version, delete_time=now) for namespace, key in named]
