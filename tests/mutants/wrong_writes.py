"""Wrong stores whose writes break a promise: versions, request ids, transactions, races."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sidecar.core.entry import Copy, Entry, Tombstone
from sidecar.core.errors import DeadlineExceeded, VersionConflict
from sidecar.core.operations import Remove, Write, WriteId
from sidecar.core.store import (
    Outcome,
    SweepOrder,
    Swept,
)
from sidecar.stores.memory import MemoryStore


class VersionRestartsOnRecreation(MemoryStore):
    """Versions count the writes of a key, and begin again with it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._counts: Counter[tuple[str, str]] = Counter()

    def _apply(self, write: Write) -> Outcome:
        at = (write.namespace, write.operations[0].key)
        gone = not isinstance(self._namespace(at[0]).get(at[1]), Entry)
        self._sequence = 0 if gone else self._counts[at]
        outcome = super()._apply(write)
        self._counts[at] = self._sequence
        return outcome


class VersionsOfEachNamespace(MemoryStore):
    """A sequence a namespace: versions are not unique in the store."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sequences: Counter[str] = Counter()

    def _apply(self, write: Write) -> Outcome:
        self._sequence = self._sequences[write.namespace]
        outcome = super()._apply(write)
        self._sequences[write.namespace] = self._sequence
        return outcome


class OutageToldAsConflict(MemoryStore):
    """Whatever goes wrong with a guarded write is called a conflict."""

    async def commit(self, write: Write) -> Outcome:
        try:
            return await super().commit(write)
        except DeadlineExceeded as exc:
            key, expected = write.operations[0].key, getattr(write.operations[0], "expected_version", 0) or 0
            raise VersionConflict(key=key, expected_version=expected, current_version=0) from exc


class DeadlineIgnored(MemoryStore):
    """A write whose caller has long gone still lands."""

    async def commit(self, write: Write) -> Outcome:
        return await super().commit(replace(write, deadline=None))


class RequestIdIgnored(MemoryStore):
    """A retry is a second write."""

    async def commit(self, write: Write) -> Outcome:
        return await super().commit(replace(write, request=None))


class FingerprintNotChecked(MemoryStore):
    """Another request under the same id hears the first one's answer."""

    def _recall(self, namespace: str, request: WriteId) -> Any:
        known = self._requests.get((namespace, request.request_id))
        return None if known is None else known.answer


class RefusalsNotRemembered(MemoryStore):
    """A retry of a lost write is decided again."""

    def _remember(self, namespace: str, request: WriteId, answer: Any) -> None:
        if not isinstance(answer, dict):
            super()._remember(namespace, request, answer)


class UnchangedNotRemembered(MemoryStore):
    """Only a write that changed something is remembered."""

    def _remember(self, namespace: str, request: WriteId, answer: Any) -> None:
        if not isinstance(answer, Outcome) or answer.version:
            super()._remember(namespace, request, answer)


class ReplayForgetsValue(MemoryStore):
    """A retry hears the version, and not the counter's value."""

    async def commit(self, write: Write) -> Outcome:
        outcome = await super().commit(write)
        if not outcome.replayed:
            return outcome
        return replace(outcome, results=tuple(replace(result, value=None) for result in outcome.results))


class ReplayNotTold(MemoryStore):
    """A replay does not say that it is one, so caches are told an old state again."""

    async def commit(self, write: Write) -> Outcome:
        return replace(await super().commit(write), replayed=False)


class RequestIdsOfAllNamespaces(MemoryStore):
    """Request ids are looked up without their namespace."""

    def _recall(self, namespace: str, request: WriteId) -> Any:
        return super()._recall("", request)

    def _remember(self, namespace: str, request: WriteId, answer: Any) -> None:
        super()._remember("", request, answer)


class RequestRetentionIgnored(MemoryStore):
    """The sweep forgets request ids at once."""

    async def sweep(self, order: SweepOrder) -> Swept:
        return await super().sweep(replace(order, request_retention_ms=0))


class NoRollback(MemoryStore):
    """A transaction is its operations one after the other."""

    def _apply(self, write: Write) -> Outcome:
        outcomes = []
        for index, operation in enumerate(write.operations):
            try:
                outcomes.append(super()._apply(replace(write, operations=(operation,))))
            except Exception as exc:
                if len(write.operations) > 1:
                    exc.metadata["operation"] = str(index)  # type: ignore[attr-defined]  # all of decide's have it
                raise
        version = max(outcome.version for outcome in outcomes)
        results = tuple(replace(outcome.results[0], version=version if outcome.version else 0) for outcome in outcomes)
        return Outcome(
            version=version, results=results, copies=tuple(copy for outcome in outcomes for copy in outcome.copies)
        )


class LostUpdate(MemoryStore):
    """Read, let others run, decide by what was read."""

    async def commit(self, write: Write) -> Outcome:
        rows = self._namespace(write.namespace)
        read = {operation.key: rows.get(operation.key) for operation in write.operations}
        await asyncio.sleep(0)
        for key, copy in read.items():
            if copy is not None:
                rows[key] = copy
            else:
                rows.pop(key, None)
        return await super().commit(write)


class CancelledWriteIsLost(MemoryStore):
    """The outcome is recorded after the effect, and not when the caller stops waiting between the two."""

    async def commit(self, write: Write) -> Outcome:
        if write.request is not None and self._recall(write.namespace, write.request) is not None:
            return await super().commit(write)
        outcome = await super().commit(replace(write, request=None))
        await asyncio.sleep(0)
        if write.request is not None:
            self._remember(write.namespace, write.request, outcome)
        return outcome


class NoTombstone(MemoryStore):
    """A delete removes the row, and caches that missed it never hear."""

    def _put(self, copy: Copy) -> None:
        super()._put(copy)
        if isinstance(copy, Tombstone):
            del self._namespace(copy.namespace)[copy.key]
            self._graves.clear()


class TombstoneKeepsOldVersion(MemoryStore):
    """A delete has no version of its own."""

    def _put(self, copy: Copy) -> None:
        before = self._namespace(copy.namespace).get(copy.key)
        if isinstance(copy, Tombstone) and before is not None:
            copy = replace(copy, version=before.version)
        super()._put(copy)


class NamespacesFolded(MemoryStore):
    """Namespaces that differ by case or by spaces are one."""

    def _namespace(self, namespace: str) -> Any:
        return super()._namespace(namespace.strip().lower())

    async def get(self, namespace: str, keys: Sequence[str], *, deadline: float | None = None) -> list[Copy | None]:
        return await super().get(namespace.strip().lower(), keys, deadline=deadline)


class DeleteAlwaysFinds(MemoryStore):
    """A delete says that there was something, whatever there was."""

    def _apply(self, write: Write) -> Outcome:
        outcome = super()._apply(write)
        results = tuple(
            replace(result, found=True) if isinstance(operation, Remove) else result
            for operation, result in zip(write.operations, outcome.results, strict=True)
        )
        return replace(outcome, results=results)
