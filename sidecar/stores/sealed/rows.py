"""What of a row is sealed, and bound to what. Keys, labels, content types and times are not.

| row | sealed | bound to |
| --- | --- | --- |
| an entry | its value, and what it has in other schemas (the mark SCHEMA) | namespace, key, schema |
| a value that a write answers | all of it | namespace, request id |
| a message that waits | its payload | namespace, topic |
| a message that was given up on, a checkpoint's content, the ledger's secret | the row's value | the row's key |
| a checkpoint that waits to be stored | the values in its document, as they were in the entry | that entry's place |

A value that is in cold is sealed there (`tiers/blobs.py`), and the row has none. What else the ledger keeps tells nothing
of values: who owns a job, counters, records of blobs and of checkpoints.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from sidecar.core import checkpoints, ledger, marks
from sidecar.core.entry import Entry
from sidecar.core.operations import Operation, Put, Relocate, Write
from sidecar.core.outbox import Message, Pending
from sidecar.core.sealing import Codec, place, place_of, refused, value_place

WHOLE = (ledger.CONTENTS, ledger.DEAD_LETTERS)
"""Rows of the ledger that are sealed as they are."""

Valued = TypeVar("Valued", Put, Relocate)


def row_place(key: str) -> bytes:
    """Where a row of the ledger is."""
    return place("row", key)


def payload_place(namespace: str, topic: str) -> bytes:
    """Where a message's payload is."""
    return place("message", namespace, topic)


def rest_place(namespace: str, key: str) -> bytes:
    """Where what a value has in other schemas is."""
    return place("rest", namespace, key)


# ---- to the store


def sealed_write(codec: Codec, write: Write) -> Write:
    """The write as the store is to see it, but for its messages. Changes in place are sealed by `decide`, with the codec."""
    operations = tuple([_sealed_operation(codec, write, operation) for operation in write.operations])
    # What is changed in place in the ledger are counters.
    return replace(write, operations=operations, codec=None if write.namespace == ledger.LEDGER else codec)


def sealed_messages(codec: Codec, write: Write) -> tuple[Message, ...]:
    """Its messages; the codec is the ledger's, whose rows they will be."""
    return tuple(
        [
            replace(message, payload=codec.seal(message.payload, payload_place(write.namespace, message.topic)))
            for message in write.outbox
        ]
    )


def _sealed_operation(codec: Codec, write: Write, operation: Operation) -> Operation:
    namespace = write.namespace
    if type(operation) is Put:
        if namespace == ledger.LEDGER:
            return replace(operation, value=_sealed_row(codec, operation.key, operation.value))
        if operation.told is not None:
            operation = replace(operation, told=codec.seal(operation.told, write.told_place))
        return _sealed_value(codec, namespace, operation)
    if type(operation) is Relocate:
        if namespace == ledger.LEDGER:
            return replace(operation, value=_sealed_row(codec, operation.key, operation.value))
        return _sealed_value(codec, namespace, operation)
    return operation


def _sealed_value(codec: Codec, namespace: str, operation: Valued) -> Valued:
    given, value = operation.marks, operation.value
    if given.get(marks.SCHEMA):
        rest = codec.seal(given[marks.SCHEMA].encode(), rest_place(namespace, operation.key))
        given = {**given, marks.SCHEMA: b64encode(rest).decode()}
    if marks.BLOB not in given:
        value = codec.seal(value, value_place(namespace, operation.key, _schema_of(operation)))
    return replace(operation, value=value, marks=given)


def _schema_of(operation: Put | Relocate) -> int:
    """The schema that its value will be in."""
    if operation.schema_version is not None:
        return operation.schema_version
    assert isinstance(operation, Relocate), "what is put is in a schema"
    assert operation.expected_schema is not None, "who relocates a value says in which schema it is"
    return operation.expected_schema


def _sealed_row(codec: Codec, key: str, value: bytes) -> bytes:
    if _is_whole(key):
        return codec.seal(value, row_place(key))
    if key.startswith(ledger.MESSAGES):
        pending = Pending.decode(_row(key, value))
        payload = codec.seal(pending.payload, payload_place(pending.namespace, pending.topic))
        return replace(pending, payload=payload).encode()
    return value


def sealed_entry(codec: Codec, entry: Entry) -> Entry:
    """An entry as others are to keep it."""
    rest = entry.labels.get(marks.SCHEMA) if entry.labels else None
    if rest:
        text = b64encode(codec.seal(rest.encode(), rest_place(entry.namespace, entry.key))).decode()
        entry = entry._replace(labels={**entry.labels, marks.SCHEMA: text})
    if marks.BLOB in entry.labels:
        return entry
    return entry._replace(value=codec.seal(entry.value, place_of(entry)))


# ---- from the store


def opened_entry(codec: Codec, entry: Entry) -> Entry:
    """An entry as it was given. Raises DataLoss, KeyAway."""
    if entry.namespace == ledger.LEDGER:
        return entry._replace(value=_opened_row(codec, entry))
    labels = entry.labels
    if labels:
        if labels.get(marks.SCHEMA):
            entry = entry._replace(labels=_opened_rest(codec, entry, labels))
        if marks.BLOB in labels:
            return entry
    value = codec.open(entry.value, place_of(entry), namespace=entry.namespace, key=entry.key)
    return entry._replace(value=value)


def opened_told(codec: Codec, write: Write, value: bytes) -> bytes:
    """A value that a write answers. Raises DataLoss, KeyAway."""
    return codec.open(value, write.told_place, namespace=write.namespace)


def _opened_rest(codec: Codec, entry: Entry, labels: Mapping[str, str]) -> Mapping[str, str]:
    try:
        sealed = b64decode(labels[marks.SCHEMA], validate=True)
    except ValueError as exc:
        raise refused(entry.namespace, entry.key, "what it has in other schemas is not sealed") from exc
    at = rest_place(entry.namespace, entry.key)
    rest = codec.open(sealed, at, namespace=entry.namespace, key=entry.key)
    return {**labels, marks.SCHEMA: rest.decode()}


def _opened_row(codec: Codec, row: Entry) -> bytes:
    if _is_whole(row.key):
        return codec.open(row.value, row_place(row.key), namespace=row.namespace, key=row.key)
    if row.key.startswith(ledger.MESSAGES):
        pending = Pending.decode(row)
        at = payload_place(pending.namespace, pending.topic)
        payload = codec.open(pending.payload, at, namespace=row.namespace, key=row.key)
        return replace(pending, payload=payload).encode()
    if row.key.startswith(ledger.WAITING):
        namespace = row.key.removeprefix(ledger.WAITING).partition(ledger.SEPARATOR)[0]
        entries = checkpoints.entries_of(namespace, checkpoints.unseal(row.value, row.key))
        plain = [opened_entry(codec, entry) for entry in entries]
        return checkpoints.seal(checkpoints.document(plain), row.key)
    return row.value


def _is_whole(key: str) -> bool:
    return key == ledger.SECRET or key.startswith(WHOLE)


def _row(key: str, value: bytes) -> Entry:
    return Entry(ledger.LEDGER, key, value, 0, 0, 0)


# ---- sealing anew


def seals_of(row: Entry) -> list[bytes]:
    """What of a stored row is sealed, and can be sealed anew in its place."""
    if row.namespace == ledger.LEDGER:
        return [row.value] if _is_whole(row.key) else []
    seals = [] if marks.BLOB in row.labels else [row.value]
    if rest := row.labels.get(marks.SCHEMA):
        seals.append(b64decode(rest))
    return seals


def relocated(entry: Entry) -> Relocate:
    """What stores an opened entry as it is, under its version."""
    given = {mark: entry.labels[mark] for mark in (marks.BLOB, marks.WOKEN, marks.SCHEMA) if mark in entry.labels}
    return Relocate(
        key=entry.key,
        expected_version=entry.version,
        value=entry.value,
        marks=given,
        schema_version=entry.schema_version,
        expected_schema=entry.schema_version,
    )
