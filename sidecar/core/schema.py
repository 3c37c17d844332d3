"""Schemas: values brought from one to another by steps, so that nothing is lost that only one of them has a word for. Pure.

Daemons that know different schemas share a namespace through a rollout. A value is stored in one schema, its level, and with
it, in the mark SCHEMA, what it has in others: for each of those a patch (`core/patches.py`) between what the step makes of
the neighbour nearer to the level, and what the value was there. Whoever knows the steps puts the patches back, on whatever
an older or newer writer has made of the value meanwhile. So going up and back, or down and back, is the identity.

A document is the parsed JSON of a value, or its bytes where the content type says that it is something else. Steps are
given copies, and what they return is checked: JSON, of plain types.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.core import marks
from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss, FailedPrecondition
from sidecar.core.merge import dump_json, parse_json
from sidecar.core.operations import Relocate
from sidecar.core.patches import apply, difference

Document = Any
"""A JSON value, parsed, or bytes."""
Convert = Callable[[Document], Document]
_LEAVES, _NAMES = frozenset({str, int, bool, type(None)}), frozenset({str})


@dataclass(frozen=True, slots=True)
class Step:
    """From one schema to the next, and back; `down` None: there is no way back. Pure, and total."""

    up: Convert
    down: Convert | None = None


@dataclass(frozen=True, slots=True)
class Schemas:
    """The schemas of a namespace that this daemon knows: from `base`, by the steps, to `version`."""

    base: int
    steps: Sequence[Step] = ()

    @property
    def version(self) -> int:
        """The newest."""
        return self.base + len(self.steps)

    def knows(self, level: int) -> bool:
        """Whether values of this schema can be converted. 0 is a schema only where the steps begin with it."""
        return self.base <= level <= self.version

    def says(self, schema_version: int) -> bool:
        """Whether this names a schema; else nothing is known of the value, and it is left as it is."""
        return schema_version > 0 or self.base == 0

    def way_down(self, level: int, target: int) -> bool:
        """Whether a value can be brought from a known schema to an older one."""
        return self.base <= target and all(self.steps[at - self.base].down for at in range(target, level))


@dataclass(frozen=True, slots=True)
class Forms:
    """A document in one schema, `level`, and what it has in others: see the module's text.

    `rests[k]` above the level: against what the step up makes of k - 1; below it: against what the step down makes of k + 1.
    """

    level: int
    document: Document
    rests: Mapping[int, Any]


def to_level(schemas: Schemas, forms: Forms, level: int) -> Forms:
    """The same in another schema; both are known. Raises FailedPrecondition: SCHEMA_STEP_FAILED, SCHEMA_TOO_NEW."""
    try:
        while forms.level < level:
            forms = _raised(schemas, forms)
        if forms.level > level:
            check_way_down(schemas, forms.level, level)
        while forms.level > level:
            forms = _lowered(schemas, forms)
    except RecursionError:
        raise _too_deep(forms.level) from None
    return forms


def as_written(schemas: Schemas, forms: Forms, floor: int) -> Forms:
    """What somebody wrote in a schema, as it is to be stored: at `floor`, or as near as steps lead back.

    By way of the newest schema that is known, so that what newer ones have is noted against what the value is now, and not
    against what it was many writes ago. Raises as `to_level`.
    """
    target = forms.level
    while target > floor and schemas.way_down(target, target - 1):
        target -= 1
    target = max(target, floor)
    newer = any(forms.level < level <= schemas.version for level in forms.rests)
    if newer and schemas.way_down(schemas.version, target):
        forms = to_level(schemas, forms, schemas.version)
    return to_level(schemas, forms, target)


def check_way_down(schemas: Schemas, level: int, target: int) -> None:
    """Raises FailedPrecondition (SCHEMA_TOO_NEW) where a value can't be brought to an older schema."""
    if not schemas.way_down(level, target):
        raise too_new(level, target, "no step leads back")


def _raised(schemas: Schemas, forms: Forms) -> Forms:
    level, step = forms.level + 1, schemas.steps[forms.level - schemas.base]
    rests = dict(forms.rests)
    document = apply(_stepped(step.up, forms.document, (forms.level, level)), rests.pop(level, None))
    if step.down is not None:
        back = _stepped(step.down, document, (level, forms.level))
        _note(rests, forms.level, difference(back, forms.document))
    return Forms(level, document, rests)


def _lowered(schemas: Schemas, forms: Forms) -> Forms:
    level, step = forms.level - 1, schemas.steps[forms.level - 1 - schemas.base]
    assert step.down is not None, "the way was checked"
    rests = dict(forms.rests)
    document = apply(_stepped(step.down, forms.document, (forms.level, level)), rests.pop(level, None))
    again = _stepped(step.up, document, (level, forms.level))
    _note(rests, forms.level, difference(again, forms.document))
    return Forms(level, document, rests)


def _note(rests: dict[int, Any], level: int, patch: Any) -> None:
    if patch is not None:
        rests[level] = patch


def _stepped(convert: Convert, document: Document, way: tuple[int, int]) -> Document:
    """What a step makes of a copy, checked."""
    try:
        if isinstance(document, bytes):
            return _bytes(convert(document))
        return _plain(convert(_plain(document)))
    except RecursionError:
        raise
    except Exception as exc:
        raise step_failed(*way, f"{type(exc).__name__}: {exc}") from exc


def _plain(value: Any) -> Any:
    """A copy of a JSON value. Raises TypeError or ValueError for anything else."""
    kind = type(value)
    if kind in _LEAVES:
        return value
    if kind is dict:
        if not _NAMES.issuperset(map(type, value)):
            raise TypeError("a field's name is no string")
        return {name: _plain(inner) for name, inner in value.items()}
    if kind is list:
        return [_plain(inner) for inner in value]
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{value} is no JSON")
        return value
    raise TypeError(f"a {kind.__name__} is no JSON")


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise TypeError(f"a {type(value).__name__} is not bytes")
    return value


# ---- values and marks


def is_json(content_type: str) -> bool:
    """Whether values of this type are parsed for the steps; one that is not said is taken for JSON."""
    media, _, _ = content_type.partition(";")
    media = media.strip().lower()
    return not media or media == "application/json" or media.endswith("+json")


def forms_of(entry: Entry) -> Forms:
    """The forms that an entry is stored as. Raises FailedPrecondition (SCHEMA_STEP_FAILED) if it isn't the JSON it says."""
    return forms_of_value(entry.value, entry.content_type, entry.schema_version, rests_of(entry))


def forms_of_value(value: bytes, content_type: str, level: int, rests: Mapping[int, Any]) -> Forms:
    """As `forms_of`, of a value that is not stored."""
    if not is_json(content_type):
        return Forms(level, value, rests)
    try:
        return Forms(level, parse_json(value), rests)
    except ValueError as exc:
        raise step_failed(level, level, f"the value is not JSON: {exc}") from exc


def value_of(forms: Forms) -> bytes:
    """Its value. Raises FailedPrecondition (SCHEMA_STEP_FAILED) for a document that has no text."""
    if isinstance(forms.document, bytes):
        return forms.document
    try:
        return dump_json(forms.document)
    except (ValueError, RecursionError) as exc:
        raise step_failed(forms.level, forms.level, f"what it made can't be written: {exc}") from exc


def rests_of(entry: Entry) -> Mapping[int, Any]:
    """What an entry has in other schemas. Raises DataLoss."""
    text = entry.labels.get(marks.SCHEMA) if entry.labels else None
    if not text:
        return {}
    try:
        return {int(level): patch for level, patch in json.loads(text).items()}
    except (ValueError, AttributeError) as exc:
        raise DataLoss("what an entry has in other schemas does not verify") from exc
    except RecursionError:
        raise _too_deep(entry.schema_version) from None


def rests_text(schemas: Schemas, rests: Mapping[int, Any]) -> str:
    """The mark SCHEMA; empty: there is nothing to keep. What is of schemas that nobody can go back to is not."""
    kept = {str(level): rests[level] for level in sorted(rests) if level >= schemas.base}
    try:
        return json.dumps(kept, separators=(",", ":")) if kept else ""
    except RecursionError:
        raise _too_deep(schemas.version) from None


def relocated(schemas: Schemas, entry: Entry, level: int) -> Relocate:
    """What keeps an entry in another schema: both are known, and for readers nothing changes. Raises as `to_level`."""
    forms = to_level(schemas, forms_of(entry), level)
    text = rests_text(schemas, forms.rests)
    return Relocate(
        key=entry.key,
        expected_version=entry.version,
        expected_schema=entry.schema_version,
        schema_version=level,
        value=value_of(forms),
        marks={marks.SCHEMA: text} if text else {},
    )


# ---- readers


def shown(schemas: Schemas, entry: Entry, maximum: int) -> Entry:
    """The entry as a reader sees it who understands schemas up to `maximum`, 0: whatever this daemon knows.

    Raises FailedPrecondition (SCHEMA_TOO_NEW, SCHEMA_STEP_FAILED), DataLoss.
    """
    wanted = wanted_level(schemas, entry.schema_version, maximum)
    if wanted != entry.schema_version:
        entry = _converted(schemas, entry, wanted)
    return entry._replace(labels=marks.without(entry.labels, marks.SCHEMA)) if marks.SCHEMA in entry.labels else entry


def wanted_level(schemas: Schemas, level: int, maximum: int) -> int:
    """The schema that a reader gets a value in. Raises FailedPrecondition (SCHEMA_TOO_NEW)."""
    if schemas.says(level) and schemas.knows(level):
        wanted = min(maximum, schemas.version) if maximum else schemas.version
        if level > wanted:
            check_way_down(schemas, level, wanted)
        return wanted
    if maximum and level > maximum:
        raise too_new(level, maximum, f"this daemon knows up to {schemas.version}")
    return level


def _converted(schemas: Schemas, entry: Entry, wanted: int) -> Entry:
    """As `to_level`, without what only a writer needs."""
    forms = forms_of(entry)
    level, document, rests = forms.level, forms.document, forms.rests
    try:
        while level != wanted:
            up = level < wanted
            following = level + 1 if up else level - 1
            step = schemas.steps[min(level, following) - schemas.base]
            convert = step.up if up else step.down
            assert convert is not None, "the way was checked"
            document = apply(_stepped(convert, document, (level, following)), rests.get(following))
            level = following
    except RecursionError:
        raise _too_deep(level) from None
    return entry._replace(value=value_of(Forms(level, document, {})), schema_version=level)


# ---- refusals


def too_new(schema_version: int, maximum: int, why: str) -> FailedPrecondition:
    """A value in a schema that somebody can't have it in: `maximum` is the newest that would do."""
    return FailedPrecondition(
        f"the value has schema {schema_version}, at most {maximum} was asked for, and {why}: take a newer release",
        reason="SCHEMA_TOO_NEW",
        metadata={"schema_version": str(schema_version), "max_schema_version": str(maximum)},
    )


def step_failed(before: int, after: int, why: str) -> FailedPrecondition:
    """A step that can't be made."""
    return FailedPrecondition(
        f"the step from schema {before} to {after} failed: {why[:500]}",
        reason="SCHEMA_STEP_FAILED",
        metadata={"step": f"{before}->{after}"},
    )


def _too_deep(level: int) -> FailedPrecondition:
    return step_failed(level, level, "the value is nested too deeply")
