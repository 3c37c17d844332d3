"""What is done besides writes and the sweep: move ends, delete by prefix, count the cache's generations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sidecar.core.entry import Entry, Tombstone, live
from sidecar.core.expiry import touched_expire_time
from sidecar.core.operations import WriteId
from sidecar.core.store import ChangeKind, ChangeRow, PrefixProgress, Touch, Touched, request_id_reused
from sidecar.stores import records
from sidecar.stores.dynamodb import items, requests
from sidecar.stores.dynamodb.errors import CONDITION_FAILED, CallFailed, contended
from sidecar.stores.dynamodb.items import Item
from sidecar.stores.dynamodb.loading import load
from sidecar.stores.dynamodb.parts import Parts
from sidecar.stores.dynamodb.reads import Reads
from sidecar.stores.dynamodb.table import Table
from sidecar.stores.dynamodb.transactions import Action, End

BATCH_MAX = 90
"""Keys in a transaction."""
GENERATION_BITS = 20
"""Of a generation; above them is the epoch. A table that was restored counts on from an old number, in a new epoch."""


@dataclass(frozen=True, slots=True)
class _Doomed:
    """What a batch of a deletion takes, and the key that it ends with; `done`: nothing follows."""

    loaded: dict[str, Item]
    done: bool


class Upkeep:
    """Each call is a few transactions of its own; one that others were in the way of is decided again."""

    def __init__(self, parts: Parts, reads: Reads, table: Table) -> None:
        self._parts = parts
        self._names = parts.names
        self._reads = reads
        self._table = table

    async def touch(self, namespace: str, touches: Sequence[Touch], *, announce: bool) -> list[Touched]:
        """Move ends; a key that is named twice is moved by the later from where the earlier left it."""
        answers: list[Touched] = []
        for begin in range(0, len(touches), BATCH_MAX):
            answers += await self._touch(namespace, touches[begin : begin + BATCH_MAX], announce)
        return answers

    async def delete_prefix(
        self, namespace: str, prefix: str, *, limit: int, request: WriteId | None, progress: PrefixProgress | None
    ) -> PrefixProgress:
        """One batch; its keys share a version. What is recorded under the request id goes before what the caller says."""
        after = progress.tombstones[-1].key if progress is not None and progress.tombstones else None
        async for _ in self._parts.attempts():
            record = None
            if request is not None:
                record = await self._record(namespace, request)
                if record is not None:
                    recorded = requests.decode(namespace, request, record)
                    if not isinstance(recorded, records.Progress):
                        raise request_id_reused(request)
                    progress, after = recorded.progress, recorded.after
            if progress is None:
                progress = PrefixProgress(horizon=await self._parts.feed.horizon(), deleted_count=0, done=False)
            if progress.done:
                return progress
            doomed = await self._doomed(namespace, prefix, after, progress.horizon, min(limit, BATCH_MAX))
            batch = _Batch(
                self._parts, namespace, doomed, request=request, record=record, progress=progress, after=after
            )
            if await batch.run():
                return batch.progress
        raise contended("others write the same keys")

    async def cache_generation(self, cache_identity: str) -> int:
        """The current generation for the cache that was seen before, the next one for another."""
        async for _ in self._parts.attempts():
            meta = await self._table.meta()
            if meta.generation and meta.cache_identity == cache_identity:
                return meta.epoch << GENERATION_BITS | meta.generation
            if await self._table.change(
                "SET cache_identity = :identity, generation = :next",
                "generation = :generation AND cache_identity = :was AND epoch = :epoch",
                identity=cache_identity,
                next=meta.generation + 1,
                generation=meta.generation,
                was=meta.cache_identity,
                epoch=meta.epoch,
            ):
                return meta.epoch << GENERATION_BITS | meta.generation + 1
        raise contended("others count the cache's generations")

    async def _touch(self, namespace: str, touches: Sequence[Touch], announce: bool) -> list[Touched]:
        keys = {one.key: self._names.entry(namespace, one.key) for one in touches}
        async for _ in self._parts.attempts():
            found = await load(self._parts.client, keys.values(), values=False)
            loaded = {key: found[items.at(at)] for key, at in keys.items() if items.at(at) in found}
            moved: dict[str, Entry] = {}
            answers = [self._moved(one, loaded, moved) for one in touches]
            updates = [self._update(loaded[key], entry) for key, entry in moved.items()]
            if not updates:
                return answers
            if not announce:
                landed = all(await asyncio.gather(*[self._update_one(update) for update in updates]))
            else:
                landed = await self._announce(updates, list(moved.values()))
            if landed:
                return answers
        raise contended("others write the same keys")

    def _moved(self, one: Touch, loaded: Mapping[str, Item], moved: dict[str, Entry]) -> Touched:
        now = self._parts.clock.now()
        copy = moved.get(one.key) or (items.decode(self._names, loaded[one.key]) if one.key in loaded else None)
        entry = live(copy, now)
        if entry is None:
            return Touched(found=False)
        end, ttl = touched_expire_time(entry, now, ttl_ms=one.ttl_ms, extend_only=one.extend_only)
        if (end, ttl) != (entry.expire_time, entry.ttl_ms):
            moved[one.key] = entry._replace(expire_time=end, ttl_ms=ttl)
        return Touched(found=True, expire_time=end)

    def _update(self, loaded: Item, entry: Entry) -> Action:
        item = items.moved(self._names, loaded, entry.expire_time, entry.ttl_ms)
        indexed = [name for name in ("q", "t") if name in item]
        expression = "SET " + ", ".join(f"{name} = :{name}" for name in ("h", "d", *indexed))
        condition = items.unchanged(loaded)
        condition["ExpressionAttributeValues"] |= {f":{name}": item[name] for name in ("h", "d", *indexed)}
        update = {"Key": items.key_of(item), "UpdateExpression": expression if indexed else f"{expression} REMOVE q, t"}
        return {"Update": update | condition}

    async def _update_one(self, action: Action) -> bool:
        client = self._parts.client
        try:
            await client.call("update_item", TableName=client.target.table, **action["Update"])
        except CallFailed as failed:
            if failed.code == CONDITION_FAILED or failed.throttled:
                return False
            raise failed.write_error() from failed
        return True

    async def _announce(self, updates: Sequence[Action], moved: Sequence[Entry]) -> bool:
        rows = [
            ChangeRow(namespace=entry.namespace, key=entry.key, version=entry.version, kind=ChangeKind.TOUCH)
            for entry in moved
        ]
        return await self._parts.write(lambda _: (updates, rows))

    async def _record(self, namespace: str, request: WriteId) -> Item | None:
        key = self._names.request(namespace, request.request_id)
        return (await load(self._parts.client, [key], values=False)).get(items.at(key))

    async def _doomed(self, namespace: str, prefix: str, after: str | None, horizon: int, limit: int) -> _Doomed:
        now = self._parts.clock.now()
        loaded: dict[str, Item] = {}
        while True:
            page, after = await self._reads.range(namespace, prefix, after=after, limit=limit, values=False)
            for item in page:
                entry = live(items.decode(self._names, item), now)
                if entry is None or entry.version > horizon:
                    continue
                loaded[entry.key] = item
                if len(loaded) == limit:
                    return _Doomed(loaded, done=False)
            if after is None:
                return _Doomed(loaded, done=True)


class _Batch:
    """One transaction of a deletion by prefix: the keys that it takes, and the progress under the request id."""

    def __init__(
        self,
        parts: Parts,
        namespace: str,
        doomed: _Doomed,
        *,
        request: WriteId | None,
        record: Item | None,
        progress: PrefixProgress,
        after: str | None,
    ) -> None:
        self.progress = replace(
            progress, deleted_count=progress.deleted_count + len(doomed.loaded), done=doomed.done, tombstones=()
        )
        self._parts = parts
        self._namespace = namespace
        self._request = request
        self._record = record
        self._doomed = doomed
        self._after = next(reversed(doomed.loaded), after)

    async def run(self) -> bool:
        """Whether it landed; then `progress` has the tombstones."""
        if self._doomed.loaded:
            return await self._parts.write(self._bury)
        remember = self._remember()
        return not remember or await self._parts.transactions.run(remember, None) is End.LANDED

    def _bury(self, version: int) -> tuple[list[Action], list[ChangeRow]]:
        now, names = self._parts.clock.now(), self._parts.names
        graves = [
            Tombstone(namespace=self._namespace, key=key, version=version, delete_time=now)
            for key in self._doomed.loaded
        ]
        self.progress = replace(self.progress, tombstones=tuple(graves))
        puts: list[Action] = [
            {"Put": {"Item": items.encode(names, grave), **items.unchanged(self._doomed.loaded[grave.key])}}
            for grave in graves
        ]
        rows = [
            ChangeRow(namespace=self._namespace, key=grave.key, version=version, kind=ChangeKind.DELETE)
            for grave in graves
        ]
        return puts + self._remember(), rows

    def _remember(self) -> list[Action]:
        if self._request is None:
            return []
        recorded = records.Progress(self.progress, self._after)
        now, names = self._parts.clock.now(), self._parts.names
        item = requests.encode(names, self._namespace, self._request, recorded, now)
        return [{"Put": {"Item": item, **requests.unchanged(self._record)}}]
