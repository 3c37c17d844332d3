"""The outbox: messages that are committed with a write, and go out afterwards, at least once, in version order per key.

A message is a row of the ledger (`core/ledger.py`), stored in the commit of its write. Its key begins with a hash of the
key that it is ordered by, so that the rows of a key are together, in version order: a row that can be seen has no
unseen one before it, because versions of a key are committed in their order. The hash's first digit is the row's lane;
one owner at a time delivers a lane's messages. A message that was delivered has no row any more: nobody keeps a cursor
that a late commit could fall behind.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss
from sidecar.core.ledger import LEDGER, MESSAGES, SEPARATOR
from sidecar.core.tracing import TRACE

LANES = "0123456789abcdef"
"""What a hash begins with."""
MESSAGES_MAX = 32
"""Messages of a write."""
TOPIC_BYTES_MAX = 256
PAYLOAD_BYTES_MAX = 256 * 1024
TRACEPARENT = "traceparent"
"""The attribute by which a message's delivery and its consumers continue the trace of its write: W3C's name for it, and
that of CloudEvents' extension for distributed tracing."""

_LENGTH = struct.Struct(">I")
_HASH_DIGITS = 16
_ID_DIGITS = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a write carries. `operation`: the index of the operation whose message it is; None: the whole write's."""

    topic: str
    payload: bytes = b""
    content_type: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    operation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A committed message that waits. `key` is that of its write, empty: of a write of several; `order`: see `order_of`."""

    id: str
    namespace: str
    order: str
    key: str
    version: int
    commit_time: int
    topic: str
    payload: bytes
    content_type: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def row(self) -> str:
        """The key of its row."""
        return message_key(self.namespace, self.order, self.id)

    def encode(self) -> bytes:
        """What its row holds."""
        header = json.dumps(
            [self.key, self.version, self.commit_time, self.topic, self.content_type, dict(self.attributes)],
            separators=(",", ":"),
        ).encode()
        return b"".join([_LENGTH.pack(len(header)), header, self.payload])

    @classmethod
    def decode(cls, row: Entry) -> Pending:
        """Inverse of `encode`, of a row of the ledger. Raises DataLoss."""
        try:
            namespace, _, rest = row.key.removeprefix(MESSAGES).partition(SEPARATOR)
            order, _, message_id = rest.partition("/")
            return cls.unpack(row.value, namespace=namespace, order=order, message_id=message_id)
        except (ValueError, TypeError, RecursionError, struct.error) as exc:
            raise DataLoss("a message of the outbox is in no known form", metadata={"row": row.key}) from exc

    @classmethod
    def unpack(cls, stored: bytes, *, namespace: str, order: str, message_id: str) -> Pending:
        """A message from what its row held. Raises ValueError, TypeError, RecursionError or struct.error."""
        (length,) = _LENGTH.unpack(stored[: _LENGTH.size])
        end = _LENGTH.size + length
        key, version, commit_time, topic, content_type, attributes = json.loads(stored[_LENGTH.size : end])
        if not isinstance(attributes, dict):
            raise TypeError("attributes are a mapping")
        return cls(
            id=message_id,
            namespace=namespace,
            order=order,
            key=key,
            version=version,
            commit_time=commit_time,
            topic=topic,
            payload=stored[end:],
            content_type=content_type,
            attributes=attributes,
        )


def continued(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """With the trace of their write, if that is watched, where the writer has given none.

    Not before what the writer gave has been checked: it is not its attribute that may be one too many.
    """
    trace = TRACE.get()
    if trace is None:
        return messages
    own = {TRACEPARENT: trace.traceparent}
    return tuple(replace(message, attributes=own | dict(message.attributes)) for message in messages)


def message_id(version: int, index: int) -> str:
    """Names a message of a namespace for ever: its version, whose first digits are the epoch, and its place in the commit."""
    return f"{version:016x}{index:02x}"


def is_message_id(text: str) -> bool:
    """Whether it has the form of one."""
    return len(text) == _ID_DIGITS and not text.strip("0123456789abcdef")


def order_of(key: str) -> str:
    """The hash by which messages are ordered and divided among lanes: 16 hex digits."""
    return hashlib.blake2b(key.encode(), digest_size=_HASH_DIGITS // 2, person=b"outbox").hexdigest()


def messages_of(namespace: str, lane: str = "") -> str:
    """The prefix of a namespace's messages that wait, or of those of a lane."""
    return f"{MESSAGES}{namespace}{SEPARATOR}{lane}"


def message_key(namespace: str, order: str, message: str) -> str:
    """The row of a message."""
    return f"{MESSAGES}{namespace}{SEPARATOR}{order}/{message}"


def rows(
    messages: Sequence[Message], namespace: str, keys: Sequence[str], did: Sequence[bool], *, now: int, version: int
) -> tuple[Entry, ...]:
    """The rows of a write's messages. `keys` are its operations', `did` says which of them changed something: the
    messages of the others do not go out.
    """
    if not messages:
        return ()
    first = keys[did.index(True)] if True in did else keys[0]
    made: list[Entry] = []
    for index, message in enumerate(messages):
        if message.operation is not None and not did[message.operation]:
            continue
        key = first if message.operation is None else keys[message.operation]
        pending = Pending(
            id=message_id(version, index),
            namespace=namespace,
            order=order_of(key),
            key=key if message.operation is not None or len(keys) == 1 else "",
            version=version,
            commit_time=now,
            topic=message.topic,
            payload=message.payload,
            content_type=message.content_type,
            attributes=message.attributes,
        )
        made.append(Entry(LEDGER, pending.row, pending.encode(), version, create_time=now, update_time=now))
    return tuple(made)
