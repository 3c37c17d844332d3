"""What a message is as a CloudEvent."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.outbox import Pending
from sidecar.sinks.events import attributes, header, is_header, published_id, structured
from tests.sinks import cloudevents
from tests.sinks.messages import APP, expected, message

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def test_an_event_says_where_it_is_from_and_when_it_was_committed() -> None:
    sent = Pending(
        id="0001000000000007ff",
        namespace="or/ders ü",
        order="0123456789abcdef",
        key="customer/7",
        version=281_474_976_710_663,
        commit_time=1_800_000_000_007,
        topic="orders.placed",
        payload=b"",
        content_type="text/plain",
        attributes={"tenant": "seven"},
    )

    found = attributes("shop/é", sent)

    assert found == {
        "specversion": "1.0",
        "id": published_id("shop/é", sent),
        "source": "/state-sidecar/shop%2F%C3%A9/or%2Fders%20%C3%BC",
        "type": "orders.placed",
        "subject": "customer/7",
        "time": "2027-01-15T08:00:00.007Z",
        "datacontenttype": "text/plain",
        "version": "281474976710663",
        "partitionkey": "or/ders ü/0123456789abcdef",
        "tenant": "seven",
    }
    assert found["id"].startswith("0001000000000007ff-")


def test_an_id_is_always_the_same_and_another_for_another_message() -> None:
    sent = message(attributes={"a": "b"})
    others = [
        replace(sent, namespace="other"),
        replace(sent, order="other"),
        replace(sent, key="other"),
        replace(sent, topic="other"),
        replace(sent, content_type="other"),
        replace(sent, payload=b"x"),
        replace(sent, commit_time=1),
        replace(sent, version=1),
        replace(sent, attributes={"a": "c"}),
    ]

    assert published_id(APP, replace(sent)) == published_id(APP, sent)
    ids = {published_id(APP, each) for each in (sent, *others)} | {published_id("another", sent)}
    assert len(ids) == len(others) + 2


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (b'{"a": 1.00, "b": 1e400, "a": 123456789012345678901234567890}', "application/json"),
        (b" [1,\n2] ", "application/json; charset=utf-8"),
        ('"ü\U0001f511\ufffe\uffff"'.encode(), "Application/Vnd.Shop+JSON"),
        (b"null", "text/json"),
    ],
)
def test_json_is_data_digit_for_digit(payload: bytes, content_type: str) -> None:
    body = structured(APP, message(payload=payload, content_type=content_type)).decode()

    escaped = payload.decode().replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    assert body.endswith(f',"data":{escaped}}}')
    assert json.loads(body)["data"] == json.loads(payload)


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (b"text", "text/plain"),
        (b"{}", ""),
        (b"{}", "application/jsonl"),
        (b"{}", "application/octet-stream"),
        (b"{} {}", "application/json"),
        (b"NaN", "application/json"),
        (b"[Infinity]", "application/json"),
        (b'"\xff"', "application/json"),
        (b"\xef\xbb\xbf{}", "application/json"),
        (b"[" * 200_000, "application/json"),
    ],
)
def test_what_is_not_json_is_base64(payload: bytes, content_type: str) -> None:
    document = json.loads(structured(APP, message(payload=payload, content_type=content_type)))

    assert "data" not in document
    assert base64.b64decode(document["data_base64"]) == payload


def test_an_empty_payload_is_no_data() -> None:
    for content_type in ("", "application/json", "text/plain"):
        document = json.loads(structured(APP, message(payload=b"", content_type=content_type)))
        assert not document.keys() & {"data", "data_base64"}


def test_attributes_that_cloudevents_does_not_allow_are_together_in_one() -> None:
    own = {
        "tenant": "t",
        "a" * 20: "twenty",
        "a" * 21: "more",
        "Trace": "capital",
        "trace-id": "dash",
        "empty": "",
        "line": "a\nb",
        "id": "own",
        "data": "own",
        "version": "own",
        "attributes": "own",
    }

    found = attributes(APP, message(attributes=own))

    assert (found["tenant"], found["a" * 20]) == ("t", "twenty")
    assert found["id"] != "own"
    assert json.loads(found["attributes"]) == {
        name: value for name, value in own.items() if name not in ("tenant", "a" * 20)
    }


@given(
    key=texts,
    topic=texts.filter(bool),
    payload=st.binary(max_size=60),
    content_type=st.sampled_from(["", "application/json", "text/plain", "application/x+json"]),
    attributes_=st.dictionaries(texts.filter(bool), texts, max_size=5),
)
def test_whatever_was_sent_is_read_by_the_sdk(
    key: str, topic: str, payload: bytes, content_type: str, attributes_: dict[str, str]
) -> None:
    sent = message(key, topic=topic, payload=payload, content_type=content_type, attributes=attributes_)

    got = cloudevents.of_structured(structured(APP, sent))

    if "json" in content_type:
        # As JSON it may be written in another way.
        assert got == replace(expected(sent), payload=got.payload)
    else:
        assert got == expected(sent)
    headers = {f"ce-{name}": header(value) for name, value in attributes(APP, sent).items()}
    content = headers.pop("ce-datacontenttype", "")
    headers |= {"content-type": content} if content else {}
    assert all(is_header(value) for value in headers.values() if value)
    assert cloudevents.of_http(headers, payload) == expected(sent)


@pytest.mark.parametrize("value", ["", " a", "a ", "a\r\nb", "a\nb", "ü", "a\x7f", "a\0"])
def test_what_can_be_no_header_is_known(value: str) -> None:
    assert not is_header(value)
    assert is_header("text/plain; charset=utf-8")
