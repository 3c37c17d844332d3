"""Events as CloudEvents' own SDK reads them, turned into what the tests compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka
from cloudevents.core.formats.json import JSONFormat

from tests.sinks.messages import Got

_CONTEXT = {"id", "source", "specversion", "type", "datacontenttype", "subject", "time"}
_OURS = {"version", "partitionkey", "attributes"}


def of_http(headers: Mapping[str, str], body: bytes) -> Got:
    """Of a request, in either mode. The SDK reads a body as text or JSON where it can: its bytes are the body's."""
    lower = {name.lower(): value for name, value in headers.items()}
    binary = "ce-id" in lower
    event = from_http(HTTPMessage(headers=lower, body=body), JSONFormat())
    assert binary or lower["content-type"] == "application/cloudevents+json"
    return _got(event, body if binary else _data(event, json.loads(body)))


def of_structured(body: bytes) -> Got:
    """Of JSON."""
    return of_http({"content-type": "application/cloudevents+json"}, body)


def of_kafka(headers: Mapping[str, bytes], key: bytes, value: bytes) -> Got:
    """Of a record; it is in the partition of its key."""
    event = from_kafka(KafkaMessage(headers=dict(headers), key=key, value=value), JSONFormat())
    assert event.get_extension("partitionkey").encode() == key
    return _got(event, value)


def _data(event: BaseCloudEvent, document: Mapping[str, Any]) -> bytes:
    assert not ("data" in document and "data_base64" in document)
    data = event.get_data()
    if "data" in document:
        return json.dumps(data).encode()
    return data if isinstance(data, bytes) else b""


def _got(event: BaseCloudEvent, payload: bytes) -> Got:
    own = event.get_attributes()
    assert own["specversion"] == "1.0"
    source = event.get_source().split("/")
    assert source[:2] == ["", "state-sidecar"]
    time = event.get_time()
    assert time is not None
    extensions = {name: value for name, value in own.items() if name not in _CONTEXT | _OURS}
    return Got(
        id=event.get_id(),
        namespace=unquote(source[3]),
        key=event.get_subject() or "",
        version=int(event.get_extension("version")),
        topic=event.get_type(),
        payload=payload,
        content_type=event.get_datacontenttype() or "",
        commit_time=round(time.timestamp() * 1000),
        attributes=extensions | json.loads(event.get_extension("attributes") or "{}"),
    )
