"""Writes in namespaces with schemas: what a key has in schemas that its writer doesn't know stays, and what is stored is in
one that all daemons know.

Most writes need nothing of this: they are in the schema that values are stored in, and the authority finds that the key is
in it too, and has nothing beyond it (`Write.schema`). Else the key is read, brought to the writer's schema, changed there,
brought to the stored one, and committed under a guard on the version that was read. A guard that fails is our business: the
caller isn't told, and it is not kept under its request id; the write begins again.

Refusals that follow from what was read are kept under the request id by the authority (`Write.refusal`), and if the id did
something before, that is told instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sidecar.core import marks, schema
from sidecar.core.decide import decide
from sidecar.core.entry import SEQUENCE_MASK, Entry
from sidecar.core.errors import (
    DECISIONS,
    Decision,
    FailedPrecondition,
    InvalidRequest,
    SchemaDiffers,
    VersionConflict,
)
from sidecar.core.failpoints import reach
from sidecar.core.operations import JSON_CONTENT_TYPE, Change, Check, Operation, Put, Write
from sidecar.core.schema import Forms, Schemas
from sidecar.core.store import Outcome
from sidecar.engine.namespaces import Namespace
from sidecar.engine.schemas.views import CONVERTED_BYTES, Floors
from sidecar.tiers.cold import is_away
from sidecar.tiers.placement import Placement

RACES_MAX = 20
"""Attempts on keys that others write all the time."""
BESIDE_BYTES = 64 * 1024
"""What a value may have in other schemas, besides twice what values may have."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Operations in the schema that values are stored in; `guards`: the versions that we expect of keys."""

    operations: tuple[Operation, ...]
    guards: Mapping[str, int]

    def lost(self, conflict: VersionConflict) -> bool:
        """Whether it is a guard of ours that failed."""
        return self.guards.get(conflict.key) == conflict.expected_version


class SchemaWriting:
    """Commits writes of namespaces with schemas; `floors` tells which one values are stored in."""

    def __init__(self, floors: Floors) -> None:
        self._floors = floors

    async def commit(self, space: Namespace, placement: Placement, write: Write) -> Outcome:
        """As `Placement.commit`. Raises FailedPrecondition (SCHEMA_TOO_NEW, SCHEMA_STEP_FAILED), SchemaDiffers besides."""
        schemas = space.schemas
        assert schemas is not None, "others are committed as they are"
        levels = {level for operation in write.operations if (level := level_of(schemas, operation)) is not None}
        unknown = max(levels, default=0)
        if unknown > schemas.version:
            # Another daemon may know it: what this one doesn't know is not kept against the request.
            return await _refuse(placement, write, _unknown(schemas, unknown), keep=False)
        if not levels or not space.quiet:
            return await placement.commit(write)
        work = _Work(space, schemas, max(schemas.base, min(self._floors.floor(space.name), schemas.version)), write)
        if levels == {work.floor}:
            try:
                return await placement.commit(replace(write, schema=work.floor))
            except SchemaDiffers:
                pass  # it has more than that, or is in another
        return await _commit(placement, work)


async def _commit(placement: Placement, work: _Work) -> Outcome:
    write = work.write
    keys = [operation.key for operation in write.operations if level_of(work.schemas, operation) is not None]
    for _ in range(RACES_MAX):
        copies = await placement.rows(write.namespace, keys)
        rows = {copy.key: copy for copy in copies if isinstance(copy, Entry)}
        if (with_values := await _with_values(placement, work, rows)) is None:
            continue
        rows |= with_values
        try:
            prepared = await _prepared(placement, work, rows)
        except DECISIONS as exc:
            return await _refuse(placement, write, exc)
        reach("schema.commit.before")
        try:
            outcome = await placement.commit(replace(write, operations=prepared.operations, tentative=True))
        except VersionConflict as exc:
            if not prepared.lost(exc):
                return await _refuse(placement, write, exc)
        except DECISIONS as exc:
            return await _refuse(placement, write, exc)
        else:
            reach("schema.commit.after")
            return outcome
    raise SchemaDiffers(keys[0])


async def _refuse(placement: Placement, write: Write, refusal: Decision, *, keep: bool = True) -> Outcome:
    """What the request id did before; else the refusal, which is kept under it."""
    if write.request is None:
        raise refusal
    nothing = Check(key=write.operations[0].key, expected_version=0)
    tentative = write.tentative or not keep
    return await placement.commit(replace(write, operations=(nothing,), refusal=refusal, tentative=tentative))


async def _with_values(placement: Placement, work: _Work, rows: Mapping[str, Entry]) -> dict[str, Entry] | None:
    """Those whose values are in cold, and are needed: with them, and as they are by then; None: one is gone."""
    away = [
        rows[operation.key]
        for operation in work.write.operations
        if operation.key in rows and is_away(rows[operation.key]) and work.needs_value(operation, rows[operation.key])
    ]
    resolved = await placement.resolve(work.write.namespace, away) if away else ()
    return {entry.key: entry for entry in resolved} if len(resolved) == len(away) else None


async def _prepared(placement: Placement, work: _Work, rows: Mapping[str, Entry]) -> _Prepared:
    now = placement.authority.now()
    size = sum(len(row.value) for row in rows.values())
    size += sum(len(operation.value) for operation in work.write.operations if isinstance(operation, Put))
    if size > CONVERTED_BYTES:
        return await placement.ports.compute(lambda: work.prepared(rows, now))
    return work.prepared(rows, now)


# ---- what is computed


@dataclass(frozen=True, slots=True)
class _Work:
    """A write, and the schema that its values are to be stored in."""

    space: Namespace
    schemas: Schemas
    floor: int
    write: Write

    def needs_value(self, operation: Operation, row: Entry) -> bool:
        """Whether the value that is there is needed, and not only what is said of it."""
        return isinstance(operation, Change) or level_of(self.schemas, operation) != row.schema_version

    def prepared(self, rows: Mapping[str, Entry], now: int) -> _Prepared:
        """The operations as they are to be committed on these rows. Raises the Decision that one meets."""
        operations: list[Operation] = []
        guards: dict[str, int] = {}
        for index, operation in enumerate(self.write.operations):
            row, level = rows.get(operation.key), level_of(self.schemas, operation)
            if level is None:
                operations.append(operation)
                continue
            try:
                if isinstance(operation, Change):
                    made = self._changed(operation, row, level, now)
                else:
                    assert isinstance(operation, Put), "nothing else has a schema"
                    made = self._put(operation, row, level)
            except DECISIONS as exc:
                self.write.name_operation(index, exc)
                raise
            if isinstance(operation, Change) or operation.expected_version is None:
                guards[made.key] = made.expected_version or 0
            operations.append(made)
        return _Prepared(tuple(operations), guards)

    def _put(self, put: Put, row: Entry | None, level: int) -> Put:
        expected = put.expected_version
        if expected is not None and expected != (0 if row is None else row.version):
            if expected:
                return put  # it is lost, and the authority says so, or what it did when it was asked for the first time
            row = None
        return self._stored(put, row, level, self._kept(row, level))

    def _changed(self, change: Change, row: Entry | None, level: int, now: int) -> Put:
        write = self.write
        if row is not None and not self.schemas.says(row.schema_version):
            level = row.schema_version  # nobody knows what it is in: it is changed as it is
        kept = self._kept(row, level)
        before = row
        if row is not None and level != row.schema_version:
            if kept is None:
                raise schema.step_failed(row.schema_version, level, "there is no such step any more")
            before = row._replace(value=schema.value_of(kept), schema_version=level)
        alone = Write(
            namespace=write.namespace,
            operations=(change,),
            ttl_default_ms=write.ttl_default_ms,
            sliding=write.sliding,
            value_bytes_max=write.value_bytes_max,
        )
        [made] = decide(alone, {change.key: before}, now=now, version=SEQUENCE_MASK).copies
        assert isinstance(made, Entry), "a change leaves an entry"
        put = Put(
            key=change.key,
            value=made.value,
            content_type=JSON_CONTENT_TYPE if row is None else row.content_type,
            schema_version=level,
            labels={} if row is None else marks.callers_labels(row.labels),
            ttl_ms=change.ttl_ms,
            keeps_end=True,
            told=made.value if change.return_value else None,
        )
        return self._stored(put, row, level, kept)

    def _kept(self, row: Entry | None, level: int) -> Forms | None:
        """What is there, in the writer's schema; None: nothing, or nobody knows in which it is.

        Raises FailedPrecondition (SCHEMA_TOO_NEW) where the writer would destroy what it doesn't know.
        """
        if row is None or not self.schemas.says(row.schema_version):
            return None
        there, knows = row.schema_version, self.schemas.knows
        if there == level:
            return Forms(level, None, schema.rests_of(row))
        if not (knows(there) and knows(level)):
            if there > level:
                raise schema.too_new(there, level, f"this daemon knows {self.schemas.base} to {self.schemas.version}")
            return None
        return schema.to_level(self.schemas, schema.forms_of(row), level)

    def _stored(self, put: Put, row: Entry | None, level: int, kept: Forms | None) -> Put:
        """A value of the writer's schema as it is stored, with what the key has beyond it."""
        rests = {} if kept is None else kept.rests
        value, stored = put.value, level
        converts = self.schemas.says(level) and self.schemas.knows(level) and (rests or level != self.floor)
        if converts:
            given = schema.forms_of_value(value, put.content_type, level, rests)
            forms = schema.as_written(self.schemas, given, self.floor)
            stored, rests = forms.level, forms.rests
            if stored != level:
                value = schema.value_of(forms)
        text = schema.rests_text(self.schemas, rests)
        most = 2 * self.write.value_bytes_max + BESIDE_BYTES
        if len(text) > most:
            raise InvalidRequest(
                f"what the value has in other schemas takes {len(text)} bytes, at most {most} are allowed",
                reason="VALUE_TOO_LARGE",
                field="value",
            )
        # Said also where it is the same as before: a migration may change it under the version that we expect.
        marked = put.marks if row is None and not text else {**put.marks, marks.SCHEMA: text}
        guard = put.expected_version
        if guard is None:
            guard = 0 if row is None else row.version
        return replace(put, value=value, schema_version=stored, marks=marked, expected_version=guard)


def level_of(schemas: Schemas, operation: Operation) -> int | None:
    """The schema that an operation is in; None: none is named, or it is a row as it is stored."""
    if type(operation) is Change:
        return operation.schema_version or schemas.version
    if type(operation) is Put and marks.SCHEMA not in operation.marks and schemas.says(operation.schema_version):
        return operation.schema_version
    return None


def _unknown(schemas: Schemas, level: int) -> FailedPrecondition:
    return schema.too_new(level, schemas.version, f"this daemon knows up to {schemas.version}")
