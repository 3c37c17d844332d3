"""What the writer does besides writes: move ends, delete by prefix, sweep, count the cache's generations.

Each reads and verifies first and writes last, so that one that refuses leaves nothing in the shared transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sidecar.core.entry import EPOCH_SHIFT, Tombstone, live
from sidecar.core.errors import DataLoss
from sidecar.core.expiry import touched_expire_time
from sidecar.core.operations import WriteId
from sidecar.core.store import ChangeKind, PrefixProgress, SweepOrder, Swept, Touch, Touched, request_id_reused
from sidecar.stores.ranges import key_range
from sidecar.stores.sqlite import outcomes, rows
from sidecar.stores.sqlite.queries import load, query
from sidecar.stores.sqlite.transaction import Transaction

_log = logging.getLogger(__name__)

_STORE_END = query("store end")
_SCAN_UP_TO_HORIZON = query("scan up to horizon")
_FIND_EXPIRED = query("find expired")
_FORGET_TOMBSTONES = query("forget tombstones")
_FORGET_REQUESTS = query("forget requests")
_OLDEST_CHANGES = query("oldest changes")
_FORGET_CHANGES = query("forget changes")


def touch(transaction: Transaction, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
    """Move ends; a key that is named twice is moved by the later from where the earlier left it."""
    answers: list[Touched] = []
    moved: dict[str, int] = {}
    scope = namespace.encode()
    loaded = load(transaction.connection, "load headers", {(scope, one.key.encode()): None for one in touches})
    for one in touches:
        key = one.key
        at = (scope, key.encode())
        row = loaded.get(at)
        entry = None if row is None else live(rows.decode(namespace, key, row), transaction.now)
        if entry is None or row is None:
            answers.append(Touched(found=False))
            continue
        end, ttl = touched_expire_time(entry, transaction.now, ttl_ms=one.ttl_ms, extend_only=one.extend_only)
        if (end, ttl) != (entry.expire_time, entry.ttl_ms):
            loaded[at] = rows.moved(row, namespace, key, end, ttl)
            moved[key] = entry.version
        answers.append(Touched(found=True, expire_time=end))
    for key, version in moved.items():
        row = loaded[scope, key.encode()]
        transaction.connection.execute(_STORE_END, rows.encode_end(row, namespace, key))
        if announce:
            transaction.announce(scope, key.encode(), version, ChangeKind.TOUCH)
    return answers


def delete_prefix(
    transaction: Transaction,
    namespace: str,
    prefix: str,
    *,
    limit: int,
    request: WriteId | None,
    progress: PrefixProgress | None,
) -> PrefixProgress:
    """One batch; its keys share a version. What is recorded under the request id goes before what the caller says."""
    after = progress.tombstones[-1].key if progress is not None and progress.tombstones else None
    if request is not None and (recorded := transaction.recall(namespace, request)) is not None:
        if not isinstance(recorded, outcomes.Progress):
            raise request_id_reused(request)
        progress, after = recorded.progress, recorded.after
    if progress is None:
        meta = transaction.meta
        progress = PrefixProgress(horizon=meta.epoch << EPOCH_SHIFT | meta.sequence, deleted_count=0, done=False)
    if progress.done:
        return progress
    lower, upper = key_range(prefix, after)
    found = transaction.connection.execute(
        _SCAN_UP_TO_HORIZON, (namespace.encode(), lower, upper, transaction.now, progress.horizon, limit)
    ).fetchall()
    keys = [_verified_key(namespace, key, header) for key, *header in found]
    graves = _bury(transaction, [(namespace, key) for key in keys], ChangeKind.DELETE)
    progress = PrefixProgress(
        horizon=progress.horizon,
        deleted_count=progress.deleted_count + len(graves),
        done=len(graves) < limit,
        tombstones=graves,
    )
    if request is not None:
        recorded = outcomes.Progress(progress, keys[-1] if keys else after)
        transaction.remember([outcomes.encode(namespace, request, recorded, transaction.now)])
    return progress


def sweep(transaction: Transaction, order: SweepOrder) -> Swept:
    """One batch of each kind."""
    now, connection = transaction.now, transaction.connection
    expired = _bury(transaction, _expired(transaction, order.limit), ChangeKind.EXPIRE)
    tombstones = connection.execute(_FORGET_TOMBSTONES, (now - order.tombstone_retention_ms, order.limit)).rowcount
    requests = connection.execute(_FORGET_REQUESTS, (now - order.request_retention_ms, order.limit)).rowcount
    changes = _forget_changes(transaction, now - order.tombstone_retention_ms, order.limit)
    return Swept(expired=expired, tombstones=tombstones, requests=requests, changes=changes)


GENERATION_BITS = 20
"""Of a generation; above them is the epoch. A file that was put back counts on from an old number, in a new epoch."""


def cache_generation(transaction: Transaction, cache_identity: str) -> int:
    """The current generation for the cache that was seen before, the next one for another; above all of earlier epochs."""
    meta = transaction.meta
    if cache_identity != meta.cache_identity or meta.generation == 0:
        meta.cache_identity = cache_identity
        meta.generation += 1
        transaction.changed = True
    return meta.epoch << GENERATION_BITS | meta.generation


def _expired(transaction: Transaction, limit: int) -> list[tuple[str, str]]:
    found = []
    for namespace, key, *header in transaction.connection.execute(_FIND_EXPIRED, (transaction.now, limit)).fetchall():
        try:
            scope = rows.decode_key("", namespace)
            found.append((scope, _verified_key(scope, key, header)))
        except DataLoss:
            # Its end may be what is wrong: left as it is, for those who read it to hear of.
            _log.warning("an expired entry does not verify and was not swept")
    return found


def _verified_key(namespace: str, key: object, header: Sequence[object]) -> str:
    text = rows.decode_key(namespace, key)
    rows.decode(namespace, text, header)
    return text


def _bury(transaction: Transaction, doomed: Sequence[tuple[str, str]], kind: ChangeKind) -> tuple[Tombstone, ...]:
    """Replace entries by tombstones, all of one new version."""
    if not doomed:
        return ()
    version = transaction.draw()
    graves = tuple(
        Tombstone(namespace=namespace, key=key, version=version, delete_time=transaction.now)
        for namespace, key in doomed
    )
    transaction.put(graves)
    for grave in graves:
        transaction.announce(grave.namespace.encode(), grave.key.encode(), version, kind)
    return graves


def _forget_changes(transaction: Transaction, until: int, limit: int) -> int:
    """In the order of ids, up to the first that is newer: what is left has no holes."""
    count, last = 0, 0
    for change_id, commit_time in transaction.connection.execute(_OLDEST_CHANGES, (limit,)):
        if commit_time > until:
            break
        count, last = count + 1, change_id
    if count:
        transaction.connection.execute(_FORGET_CHANGES, (last,))
        transaction.meta.change_floor = last
        transaction.changed = True
    return count
