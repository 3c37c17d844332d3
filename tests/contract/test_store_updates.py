"""Update operations are applied where the data is: their results, and the refusals that leave everything as it was."""

from __future__ import annotations

import json

import pytest

from sidecar.core.errors import FailedPrecondition, InvalidRequest
from sidecar.core.operations import Append, Change, Increment, MergePatch
from tests.contract.harnesses import StoreUnderTest

RFC_7396_APPENDIX_A = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]
INT64_MAX, INT64_MIN = (1 << 63) - 1, -(1 << 63)


async def change(store: StoreUnderTest, change: MergePatch | Append | Increment, **fields: object) -> bytes | None:
    """Update `key`; the answered value, after a look that it is the stored one."""
    bounds = {name: fields.pop(name) for name in ("value_bytes_max",) if name in fields}
    outcome = await store.commit(Change(key="key", change=change, return_value=True, **fields), **bounds)  # type: ignore[arg-type]
    (result,) = outcome.results
    assert result.value == await store.value("key")
    return result.value


async def refused(
    store: StoreUnderTest,
    reason: str,
    operation: MergePatch | Append | Increment,
    kind: type[FailedPrecondition | InvalidRequest] = FailedPrecondition,
    **fields: object,
) -> FailedPrecondition | InvalidRequest:
    """The update of `key` meets a refusal and leaves everything as it was."""
    before, cursor = await store.copy("key"), await store.cursor()
    with pytest.raises(kind) as caught:
        await change(store, operation, **fields)
    assert caught.value.reason == reason
    assert await store.copy("key") == before
    assert await store.changes_since(cursor) == []
    error = caught.value
    assert isinstance(error, kind)
    return error


@pytest.mark.parametrize(("document", "patch", "result"), RFC_7396_APPENDIX_A)
async def test_a_merge_patch_does_what_the_rfc_says(
    store: StoreUnderTest, document: str, patch: str, result: str
) -> None:
    await store.put("key", document.encode())

    value = await change(store, MergePatch(patch=json.loads(patch)))

    assert value is not None
    assert json.loads(value) == json.loads(result)


async def test_a_merge_patch_of_an_absent_key_begins_with_an_empty_object(store: StoreUnderTest) -> None:
    value = await change(store, MergePatch(patch={"a": {"b": None, "c": 1}}), create=True)

    assert value == b'{"a":{"c":1}}'


async def test_a_merge_patch_keeps_fields_it_does_not_name_exactly(store: StoreUnderTest) -> None:
    await store.put("key", '{"big":12345678901234567890,"é":"\U0001f680","e":"\\ud800","n":-0.5}'.encode())

    value = await change(store, MergePatch(patch={"x": True}))

    assert value is not None
    assert json.loads(value) == {"big": 12345678901234567890, "é": "\U0001f680", "e": "\ud800", "n": -0.5, "x": True}


@pytest.mark.parametrize(
    "value",
    [b"", b"text", b"{", b'{"a":1}x', b"NaN", b"[Infinity]", b"1e999", b"\xff", b'"\xed\xa0\x80"', b"[1]\0"],
    ids=repr,
)
async def test_a_merge_patch_of_no_json_is_refused(store: StoreUnderTest, value: bytes) -> None:
    await store.put("key", value)

    await refused(store, "NOT_JSON", MergePatch(patch={"a": 1}))


async def test_items_are_appended_in_order(store: StoreUnderTest) -> None:
    await store.put("key", b"[1]")

    assert await change(store, Append(items=(2, {"three": [3]}, None))) == b'[1,2,{"three":[3]},null]'


@pytest.mark.parametrize(
    ("items", "max_items", "result"),
    [
        ((4,), 0, [1, 2, 3, 4]),
        ((4,), 4, [1, 2, 3, 4]),
        ((4,), 3, [2, 3, 4]),
        ((4, 5, 6, 7), 2, [6, 7]),
        ((), 1, [3]),
        ((4,), 1000, [1, 2, 3, 4]),
    ],
)
async def test_the_last_items_are_kept(
    store: StoreUnderTest, items: tuple[int, ...], max_items: int, result: list[int]
) -> None:
    await store.put("key", b"[1,2,3]")

    assert json.loads(await change(store, Append(items=items, max_items=max_items)) or b"") == result


async def test_an_append_to_an_absent_key_begins_with_an_empty_array(store: StoreUnderTest) -> None:
    assert await change(store, Append(items=(1, 2, 3), max_items=2), create=True) == b"[2,3]"


@pytest.mark.parametrize("value", [b"", b"{}", b'"[]"', b"1", b"null", b"true", b"[1", b"[1],"], ids=repr)
async def test_an_append_to_no_array_is_refused(store: StoreUnderTest, value: bytes) -> None:
    await store.put("key", value)

    await refused(store, "NOT_A_JSON_ARRAY", Append(items=(1,)))


@pytest.mark.parametrize(
    ("value", "delta", "result"),
    [
        (b"0", 1, b"1"),
        (b"41", 1, b"42"),
        (b"-1", 1, b"0"),
        (b"5", -10, b"-5"),
        (b"7", 0, b"7"),
        (b"0", INT64_MAX, b"9223372036854775807"),
        (b"0", INT64_MIN, b"-9223372036854775808"),
        (b"9223372036854775807", -1, b"9223372036854775806"),
        (b"-9223372036854775808", INT64_MAX, b"-1"),
    ],
)
async def test_an_increment_adds(store: StoreUnderTest, value: bytes, delta: int, result: bytes) -> None:
    await store.put("key", value)

    assert await change(store, Increment(delta=delta)) == result


async def test_an_increment_of_an_absent_key_begins_with_zero(store: StoreUnderTest) -> None:
    assert await change(store, Increment(delta=-3), create=True) == b"-3"


@pytest.mark.parametrize(
    ("value", "delta"),
    [(b"9223372036854775807", 1), (b"-9223372036854775808", -1), (b"1", INT64_MAX), (b"-2", INT64_MIN)],
)
async def test_an_increment_beyond_an_int64_is_refused(store: StoreUnderTest, value: bytes, delta: int) -> None:
    await store.put("key", value)

    await refused(store, "INCREMENT_OVERFLOW", Increment(delta=delta))


@pytest.mark.parametrize(
    ("delta", "minimum", "maximum", "lands"),
    [
        (1, None, 11, True),
        (2, None, 11, False),
        (-10, 0, None, True),
        (-11, 0, None, False),
        (0, 11, None, False),
        (0, 10, 10, True),
    ],
)
async def test_an_increment_stays_within_its_bounds(
    store: StoreUnderTest, delta: int, minimum: int | None, maximum: int | None, lands: bool
) -> None:
    await store.put("key", b"10")
    operation = Increment(delta=delta, minimum=minimum, maximum=maximum)

    if lands:
        assert await change(store, operation) == b"%d" % (10 + delta)
    else:
        error = await refused(store, "COUNTER_OUT_OF_BOUNDS", operation)
        assert error.metadata["current"] == "10"


@pytest.mark.parametrize(
    "value", [b"", b" 1", b"1 ", b"1\n", b"1.0", b"1e3", b"0x1", b"--1", b"1_000", b"\xd9\xa1", b"9" * 20], ids=repr
)
async def test_an_increment_of_no_counter_is_refused(store: StoreUnderTest, value: bytes) -> None:
    await store.put("key", value)

    await refused(store, "NOT_A_COUNTER", Increment(delta=1))


@pytest.mark.parametrize("operation", [MergePatch(patch={}), Append(items=(1,)), Increment(delta=1)], ids=repr)
@pytest.mark.parametrize("gone", ["never there", "deleted"])
async def test_an_update_without_create_needs_an_entry(
    store: StoreUnderTest, operation: MergePatch | Append | Increment, gone: str
) -> None:
    if gone == "deleted":
        await store.put("key", b"1")
        await store.remove("key")

    await refused(store, "KEY_NOT_FOUND", operation)


async def test_an_update_that_makes_too_large_a_value_is_refused(store: StoreUnderTest) -> None:
    await store.put("key", b"[1]")

    assert await change(store, Append(items=(2,)), value_bytes_max=5) == b"[1,2]"
    await refused(store, "VALUE_TOO_LARGE", Append(items=(3,)), InvalidRequest, value_bytes_max=6)


async def test_an_update_keeps_what_else_belongs_to_the_entry(store: StoreUnderTest) -> None:
    await store.put("key", b"1", labels={"a": "b"}, content_type="text/counter", schema_version=4)
    created = store.now()
    await store.advance(50)

    await change(store, Increment(delta=1))

    entry = await store.entry("key")
    assert entry is not None
    assert (dict(entry.labels), entry.content_type, entry.schema_version) == ({"a": "b"}, "text/counter", 4)
    assert (entry.create_time, entry.update_time) == (created, created + 50)


async def test_an_update_answers_the_value_only_when_asked(store: StoreUnderTest) -> None:
    await store.put("key", b"1")

    outcome = await store.commit(Change(key="key", change=Increment(delta=1)))

    assert outcome.results[0].value is None
    assert outcome.results[0].found
