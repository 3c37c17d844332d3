"""Messages as CloudEvents 1.0: their attributes, and the JSON format.

What goes out as `id` is the message's id and a digest of the message. Versions, and with them message ids, are counted by
each authority for itself: daemons whose SQLite is their own use the same ones, and a broker or consumer that goes by ids
would throw away the message of the second. With the digest equal ids are equal messages.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from urllib.parse import quote

from sidecar.core.outbox import Pending

STRUCTURED_TYPE = "application/cloudevents+json"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST_BYTES = 8
_EXTENSION = re.compile(r"[a-z0-9]{1,20}")
_CONTEXT = frozenset(
    {"id", "source", "specversion", "type", "datacontenttype", "dataschema", "subject", "time", "data"}
)
_OWN = _CONTEXT | {"version", "partitionkey", "attributes"}
"""Names that say something else than an attribute of the writer's."""
_NOT_IN_A_STRING = re.compile(r"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
"""What a CloudEvents string must not hold."""
_JSON_TYPE = re.compile(r"(?:application|text)/json|[^;\s]+\+json", re.IGNORECASE)
_NOT_IN_XML = re.compile("[\ufffe\uffff]")
_HEADER = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_KEPT_IN_HEADERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def published_id(app: str, message: Pending) -> str:
    """The id that a consumer dedupes by: the message's id, which Redrive takes, a dash, and a digest."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES, person=b"published")
    for part in (app, message.namespace, message.order):
        digest.update(part.encode() + b"\0")
    digest.update(message.encode())
    return f"{message.id}-{digest.hexdigest()}"


def group_of(message: Pending) -> str:
    """What messages that are to stay in order have in common, for a broker that divides them."""
    return f"{message.namespace}/{message.order}"


def attributes(app: str, message: Pending) -> dict[str, str]:
    """The context attributes of a message, without its payload.

    The writer's attributes are extensions where CloudEvents allows their name and value; the others are together in the
    extension `attributes`, a JSON object.
    """
    found = {
        "specversion": "1.0",
        "id": published_id(app, message),
        "source": f"/state-sidecar/{quote(app, safe='')}/{quote(message.namespace, safe='')}",
        "type": message.topic,
        "time": commit_time(message),
        "version": str(message.version),
        "partitionkey": group_of(message),
    }
    if message.key:
        found["subject"] = message.key
    if message.content_type:
        found["datacontenttype"] = message.content_type
    others = {}
    for name, value in sorted(message.attributes.items()):
        if _EXTENSION.fullmatch(name) and name not in _OWN and value and not _NOT_IN_A_STRING.search(value):
            found[name] = value
        else:
            others[name] = value
    if others:
        found["attributes"] = json.dumps(others, separators=(",", ":"))
    return found


def commit_time(message: Pending) -> str:
    """RFC 3339, in UTC."""
    time = _EPOCH + timedelta(milliseconds=message.commit_time)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def structured(app: str, message: Pending) -> bytes:
    """The event in the JSON format. A JSON payload is `data`, digit for digit; any other is `data_base64`."""
    head = json.dumps(attributes(app, message), ensure_ascii=False, separators=(",", ":"))
    if (data := _json(message)) is not None:
        head = f'{head[:-1]},"data":{data}}}'
    elif message.payload:
        head = f'{head[:-1]},"data_base64":"{base64.b64encode(message.payload).decode()}"}}'
    # Queues that are carried in XML refuse these two; in JSON they are in strings only, where they can be written so.
    return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", head).encode()


def header(value: str) -> str:
    """A value as the HTTP binding writes it into a header."""
    return quote(value, safe=_KEPT_IN_HEADERS)


def is_header(value: str) -> bool:
    """Whether a value can be a header as it is."""
    return _HEADER.fullmatch(value) is not None


def _json(message: Pending) -> str | None:
    """The payload's text, if it is the JSON that it is said to be."""
    if not message.payload or not _JSON_TYPE.fullmatch(message.content_type.partition(";")[0].strip()):
        return None
    try:
        text = message.payload.decode()
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
