"""What the lanes do besides writes: move ends, delete by prefix, sweep, count the cache's generations."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sidecar.core.entry import Copy, Entry, Tombstone, live
from sidecar.core.errors import DataLoss
from sidecar.core.expiry import touched_expire_time
from sidecar.core.operations import WriteId
from sidecar.core.store import ChangeKind, PrefixProgress, SweepOrder, Swept, Touch, Touched, request_id_reused
from sidecar.stores import records
from sidecar.stores.postgres import rows
from sidecar.stores.postgres.arrays import columns, integer
from sidecar.stores.postgres.transaction import Transaction, lock_entries
from sidecar.stores.postgres.wire import Row
from sidecar.stores.ranges import key_range

_log = logging.getLogger(__name__)


async def touch(transaction: Transaction, *, namespace: str, touches: Sequence[Touch], announce: bool) -> list[Touched]:
    """Move ends; a key that is named twice is moved by the later from where the earlier left it."""
    scope = namespace.encode()
    (found,) = await transaction.begin(
        lock_entries(transaction.queries, {(scope, one.key.encode()): False for one in touches}), draws=0
    )
    loaded: dict[bytes, Row] = {row[1]: row[2:] for row in found}
    answers: list[Touched] = []
    moved: dict[str, Entry] = {}
    for one in touches:
        row = loaded.get(one.key.encode())
        entry = None if row is None else live(rows.decode(namespace, one.key, row), transaction.now)
        if entry is None or row is None:
            answers.append(Touched(found=False))
            continue
        end, ttl = touched_expire_time(entry, transaction.now, ttl_ms=one.ttl_ms, extend_only=one.extend_only)
        if (end, ttl) != (entry.expire_time, entry.ttl_ms):
            loaded[one.key.encode()] = rows.moved(row, namespace, one.key, end, ttl)
            moved[one.key] = entry
        answers.append(Touched(found=True, expire_time=end))
    if not moved:
        await transaction.roll_back()
        return answers
    ends = [rows.encode_end(loaded[key.encode()], namespace, key) for key in moved]
    transaction.finally_do((transaction.queries["update ends"], columns(ends, rows.END_KINDS)))
    for key, entry in moved.items() if announce else ():
        transaction.announce(scope, key.encode(), entry.version, ChangeKind.TOUCH)
    await transaction.commit()
    return answers


async def delete_prefix(
    transaction: Transaction,
    *,
    namespace: str,
    prefix: str,
    limit: int,
    request: WriteId | None,
    progress: PrefixProgress | None,
) -> PrefixProgress:
    """One batch; its keys share a version. What is recorded under the request id goes before what the caller says."""
    scope, queries = namespace.encode(), transaction.queries
    asked = [] if request is None else [(queries["lock request"], [scope, request.request_id.encode()])]
    answers = await transaction.begin(asked, draws=0)
    known = [row for answer in answers for row in answer]
    after = progress.tombstones[-1].key if progress is not None and progress.tombstones else None
    if known and request is not None:
        recorded = records.decode(request, records.RequestRow(scope, request.request_id.encode(), *known[0]))
        if not isinstance(recorded, records.Progress):
            raise request_id_reused(request)
        progress, after = recorded.progress, recorded.after
    if progress is None:
        progress = PrefixProgress(horizon=transaction.horizon, deleted_count=0, done=False)
    if progress.done:
        await transaction.roll_back()
        return progress
    bounds = (integer(progress.horizon), integer(limit))
    (found,) = await transaction.ask(
        [(queries["lock up to horizon"], [scope, *key_range(prefix, after), *bounds])], draws=1
    )
    graves = _bury(transaction, [(namespace, _verified_key(namespace, *row)) for row in found], ChangeKind.DELETE)
    progress = PrefixProgress(
        horizon=progress.horizon,
        deleted_count=progress.deleted_count + len(graves),
        done=len(graves) < limit,
        tombstones=graves,
    )
    if request is not None:
        reached = records.Progress(progress, graves[-1].key if graves else after)
        transaction.remember(records.encode(namespace, request, reached, transaction.now), present=bool(known))
    await transaction.commit()
    return progress


async def sweep(transaction: Transaction, *, order: SweepOrder) -> Swept:
    """One batch of each kind, unless another daemon sweeps just now. Nothing of it waits for a lock."""
    queries, limit = transaction.queries, integer(order.limit)
    flights = integer(queries.flights)
    mine, expired, (last,), ((oldest,),) = await transaction.begin(
        [
            (queries["try to sweep"], [queries.lock_class.to_bytes(4, "big")]),
            (queries["lock expired"], [limit]),
            (queries["last change id"], ()),
            (queries["oldest in flight"], [flights]),
        ],
        draws=1,
    )
    if mine != [(True,)]:
        await transaction.roll_back()
        return Swept()
    graves = _bury(transaction, _ended(expired), ChangeKind.EXPIRE)
    grave_time = integer(transaction.now - order.tombstone_retention_ms)
    request_time = integer(transaction.now - order.request_retention_ms)
    # A row below the floor that is yet to come would never be told.
    told_up_to = integer(last[0] if oldest is None else min(last[0], oldest))
    transaction.finally_do((queries["forget tombstones"], [grave_time, limit]))
    transaction.finally_do((queries["forget requests"], [request_time, limit]))
    transaction.finally_do((queries["forget changes"], [grave_time, limit, told_up_to]))
    transaction.finally_do((queries["remember sequence"], ()))
    ((tombstones,),), ((requests,),), ((changes,),), _ = await transaction.commit()
    return Swept(expired=graves, tombstones=tombstones, requests=requests, changes=changes)


async def cache_generation(transaction: Transaction, *, cache_identity: str) -> int:
    """The current generation for the cache that was seen before, the next one for another."""
    identity = [cache_identity.encode()]
    (known,) = await transaction.begin([(transaction.queries["cache"], identity)], draws=0)
    if known:
        await transaction.roll_back()
        return int(known[0][0])
    transaction.finally_do((transaction.queries["count cache"], identity))
    (((generation,),),) = await transaction.commit()
    return int(generation)


def _ended(found: Sequence[Row]) -> list[tuple[str, str]]:
    ended = []
    for namespace, key, *header in found:
        try:
            scope = rows.decode_text(namespace)
            ended.append((scope, _verified_key(scope, key, *header)))
        except DataLoss:
            # Its end may be what is wrong: left as it is, for those who read it to hear of.
            _log.warning("an expired entry does not verify and was not swept")
    return ended


def _verified_key(namespace: str, key: bytes, *header: object) -> str:
    text = rows.decode_text(key)
    rows.decode(namespace, text, header)
    return text


def _bury(transaction: Transaction, doomed: Sequence[tuple[str, str]], kind: ChangeKind) -> tuple[Tombstone, ...]:
    """Replace entries, whose rows are locked, by tombstones, all of one new version."""
    if not doomed:
        return ()
    version = transaction.draw()
    graves = tuple(
        Tombstone(namespace=namespace, key=key, version=version, delete_time=transaction.now)
        for namespace, key in doomed
    )
    copies: tuple[Copy, ...] = graves
    pairs = [(grave.namespace.encode(), grave.key.encode()) for grave in graves]
    transaction.put(copies, present=pairs)
    for pair in pairs:
        transaction.announce(*pair, version, kind)
    return graves
