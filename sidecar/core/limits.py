"""Bounds of what a request may carry, and the checks that enforce them. Bytes are of the UTF-8 form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidecar.core.errors import InvalidRequest
from sidecar.core.marks import MARK
from sidecar.core.outbox import MESSAGES_MAX, PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX, Message

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DAY_MS = 24 * 3_600_000
VERSION_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a request."""

    key_bytes_max: int = 1024
    namespace_bytes_max: int = 128
    request_id_bytes_max: int = 128
    content_type_bytes_max: int = 256
    labels_max: int = 64
    label_key_bytes_max: int = 128
    label_value_bytes_max: int = 1024
    ttl_ms_max: int = 3650 * DAY_MS
    batch_keys_max: int = 1000
    operations_max: int = 100
    items_max: int = 1000
    page_size_max: int = 1000
    page_size_default: int = 100
    page_bytes_max: int = 1024 * 1024
    message_bytes_max: int = 16 * 1024 * 1024


def check_namespace(namespace: str, limits: Limits) -> None:
    """NAMESPACE_INVALID unless it is 1 to `namespace_bytes_max` bytes without control characters."""
    if not namespace:
        raise InvalidRequest("namespace is empty", reason="NAMESPACE_INVALID", field="namespace")
    size = len(namespace.encode())
    if size > limits.namespace_bytes_max:
        raise InvalidRequest(
            f"namespace has {size} bytes, at most {limits.namespace_bytes_max} are allowed",
            reason="NAMESPACE_INVALID",
            field="namespace",
        )
    if _CONTROL.search(namespace):
        raise InvalidRequest("namespace holds a control character", reason="NAMESPACE_INVALID", field="namespace")


def check_key(key: str, limits: Limits, *, field: str = "key") -> None:
    """KEY_INVALID unless it is 1 to `key_bytes_max` bytes."""
    if not key:
        raise InvalidRequest(f"{field} is empty", reason="KEY_INVALID", field=field)
    # A character has at most 4 bytes: most keys need no encoding to be known short enough.
    if len(key) * 4 > limits.key_bytes_max and (size := len(key.encode())) > limits.key_bytes_max:
        raise InvalidRequest(
            f"{field} has {size} bytes, at most {limits.key_bytes_max} are allowed", reason="KEY_INVALID", field=field
        )


def check_keys(keys: Sequence[str], limits: Limits) -> None:
    """As `check_key`, for each of some."""
    # Most are short enough for any text of their length: no key needs to be looked at by itself.
    if "" in keys or max(map(len, keys)) * 4 > limits.key_bytes_max:
        for key in keys:
            check_key(key, limits)


def check_prefix(prefix: str, limits: Limits) -> None:
    """KEY_INVALID for a prefix that no key can have."""
    if prefix:
        check_key(prefix, limits, field="key_prefix")


def check_page_size(page_size: int, limits: Limits) -> None:
    """PAGE_SIZE_INVALID unless it is 0, which is the default, to `page_size_max`."""
    if not 0 <= page_size <= limits.page_size_max:
        raise InvalidRequest(
            f"page_size {page_size} is not 0 (the default) to {limits.page_size_max}",
            reason="PAGE_SIZE_INVALID",
            field="page_size",
        )


def check_value(value: bytes, value_bytes_max: int, *, field: str = "value") -> None:
    """VALUE_TOO_LARGE above the namespace's bound."""
    if len(value) > value_bytes_max:
        raise InvalidRequest(
            f"value has {len(value)} bytes, at most {value_bytes_max} are allowed in this namespace",
            reason="VALUE_TOO_LARGE",
            field=field,
            metadata={"value_bytes": str(len(value)), "value_bytes_max": str(value_bytes_max)},
        )


def check_ttl(ttl_ms: int, limits: Limits) -> None:
    """TTL_OUT_OF_RANGE unless it is above zero and at most `ttl_ms_max`."""
    if not 0 < ttl_ms <= limits.ttl_ms_max:
        raise InvalidRequest(
            f"ttl of {ttl_ms / 1000:g} s is not above 0 and at most {limits.ttl_ms_max / 1000:g} s",
            reason="TTL_OUT_OF_RANGE",
            field="ttl",
            metadata={"ttl_ms": str(ttl_ms), "ttl_ms_max": str(limits.ttl_ms_max)},
        )


def check_version(version: int, *, field: str) -> None:
    """VERSION_INVALID for a number that no version can be."""
    if version < 0:
        raise InvalidRequest(f"{field} {version} is negative; 0 means none", reason="VERSION_INVALID", field=field)


def check_request_id(request_id: str, limits: Limits) -> None:
    """REQUEST_ID_INVALID above the bound."""
    size = len(request_id.encode())
    if size > limits.request_id_bytes_max:
        raise InvalidRequest(
            f"request_id has {size} bytes, at most {limits.request_id_bytes_max} are allowed",
            reason="REQUEST_ID_INVALID",
            field="request_id",
        )


def check_content_type(content_type: str, limits: Limits) -> None:
    """FIELD_TOO_LONG above the bound."""
    size = len(content_type.encode())
    if size > limits.content_type_bytes_max:
        raise InvalidRequest(
            f"content_type has {size} bytes, at most {limits.content_type_bytes_max} are allowed",
            reason="FIELD_TOO_LONG",
            field="content_type",
        )


def check_labels(labels: Mapping[str, str], limits: Limits) -> None:
    """LABELS_INVALID for too many labels, or too long ones."""
    if len(labels) > limits.labels_max:
        raise InvalidRequest(
            f"{len(labels)} labels, at most {limits.labels_max} are allowed", reason="LABELS_INVALID", field="labels"
        )
    for name, value in labels.items():
        if name.startswith(MARK):
            raise InvalidRequest(
                "a label's key begins with a control character that is the daemon's own",
                reason="LABELS_INVALID",
                field="labels",
            )
        if not 0 < len(name.encode()) <= limits.label_key_bytes_max:
            raise InvalidRequest(
                f"a label's key has 1 to {limits.label_key_bytes_max} bytes", reason="LABELS_INVALID", field="labels"
            )
        if len(value.encode()) > limits.label_value_bytes_max:
            raise InvalidRequest(
                f"a label's value has at most {limits.label_value_bytes_max} bytes",
                reason="LABELS_INVALID",
                field="labels",
            )


def check_messages(messages: Sequence[Message], limits: Limits) -> None:
    """OUTBOX_MESSAGE_INVALID for more messages than a write may carry, or one that is too large or names no topic."""
    if len(messages) > MESSAGES_MAX:
        raise _message_invalid(f"{len(messages)} messages, at most {MESSAGES_MAX} are allowed", "outbox")
    for index, message in enumerate(messages):
        field = f"outbox[{index}]"
        if not 0 < len(message.topic.encode()) <= TOPIC_BYTES_MAX:
            raise _message_invalid(f"a topic has 1 to {TOPIC_BYTES_MAX} bytes", f"{field}.topic")
        if _CONTROL.search(message.topic):
            raise _message_invalid("a topic has no control characters", f"{field}.topic")
        if len(message.payload) > PAYLOAD_BYTES_MAX:
            raise _message_invalid(
                f"a payload of {len(message.payload)} bytes, at most {PAYLOAD_BYTES_MAX} are allowed: store what it says "
                "under a key, and name that",
                f"{field}.payload",
            )
        check_content_type(message.content_type, limits)
        try:
            check_labels(message.attributes, limits)
        except InvalidRequest as exc:
            raise _message_invalid(exc.message.replace("label", "attribute"), f"{field}.attributes") from exc


def _message_invalid(message: str, field: str) -> InvalidRequest:
    return InvalidRequest(message, reason="OUTBOX_MESSAGE_INVALID", field=field)
