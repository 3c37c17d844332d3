"""Changes and merges of JSON: merge patch, append, increment, three-way merge, patches of differences, reconciliation.

Values may be refused with FailedPrecondition and InvalidRequest, texts with ValueError, both sides' changes with NotMergeable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from sidecar.core import merge, patches, three_way
from sidecar.core.entry import Copy
from sidecar.core.errors import FailedPrecondition, InvalidRequest
from sidecar.core.journal import Base, Buffering
from sidecar.core.operations import Put, WriteId
from sidecar.core.policy import Reconcile
from sidecar.core.reconcile import Commit, reconcile
from sidecar.core.three_way import NotMergeable
from tests.fuzz.drawing import Draw

_REFUSED = (FailedPrecondition, InvalidRequest)
_VALUE_BYTES_MAX = 200


def seeds() -> Iterator[bytes]:
    values = b'{"a":1}|{"a":2,"b":[1]}|{"a":1,"b":[1,2]}'
    yield b"\0" + values
    yield b"\1" + values
    yield b"\0[1]|[1,2]|[1,3]"
    yield b"\1" + b"[" * 60 + b"]" * 60 + b'|{"a":{"b":null}}|1e5'
    for kind in range(2, 8):
        yield bytes([kind]) + bytes([8, 3, 0, 3, 9, 1, 8, 2, 2, 4, 7, 3, 3, 1, 2, 3, 3, 4, 5, 6]) * 6


def check(data: bytes) -> None:
    draw = Draw(data)
    match draw.number() % 8:
        case 0:
            base, ours, theirs = ([*draw.rest().split(b"|"), b"", b""])[:3]
            _three_way(base, ours, theirs)
        case 1:
            texts = ([*draw.rest().split(b"|"), b"", b""])[:3]
            _in_place(*texts)
        case 2:
            _three_way(*(merge.dump_json(draw.json()) for _ in range(3)))
        case 3:
            _in_place(merge.dump_json(draw.json()), merge.dump_json(draw.json()), draw.chunk())
        case 4:
            _difference(draw.json(), draw.json(), draw.json())
        case 5:
            base, patch = draw.json(), draw.json()
            before = json.dumps(base)
            patches.apply(base, patch)
            assert json.dumps(base) == before, "the base was changed"
        case 6:
            _increment(draw)
        case _:
            _reconcile(draw)


def _three_way(base: bytes, ours: bytes, theirs: bytes) -> None:
    with suppress(ValueError, NotMergeable):
        assert three_way.merge(base, base, theirs) == theirs
        assert three_way.merge(base, ours, base) == ours
    assert _merged(base, ours, theirs) == _merged(base, theirs, ours), "the sides are not equal before the rules"
    with suppress(ValueError, NotMergeable):
        joined = three_way.join(ours, theirs)
        assert merge.parse_json(three_way.join(joined, theirs)) == merge.parse_json(joined)
        assert merge.parse_json(three_way.join(ours, joined)) == merge.parse_json(joined)


def _merged(base: bytes, ours: bytes, theirs: bytes) -> bool:
    """Whether there is a result."""
    try:
        three_way.merge(base, ours, theirs)
    except (ValueError, NotMergeable):
        return False
    return True


def _in_place(target: bytes, patch: bytes, other: bytes) -> None:
    try:
        changed = merge.parse_request_json(patch, field="merge_patch")
    except InvalidRequest:
        return
    with suppress(*_REFUSED):
        patched = merge.merge_patch(target, changed)
        assert merge.parse_json(merge.merge_patch(patched, changed)) == merge.parse_json(patched), "not idempotent"
    with suppress(*_REFUSED):
        array = merge.parse_json(merge.append(target, [changed], 3))
        assert len(array) <= 3
        assert patches.same(array[-1], changed)
    for text in (target, other):
        with suppress(ValueError):
            value = merge.parse_json(text)
            _written_back(value)


def _written_back(value: Any) -> None:
    # What can be read may be too deep to be written: callers are told so.
    with suppress(RecursionError):
        assert patches.same(merge.parse_json(merge.dump_json(value)), value)


def _difference(base: Any, value: Any, other: Any) -> None:
    patch = json.loads(json.dumps(patches.difference(base, value)))
    assert (patch is None) == patches.same(base, value)
    assert patches.same(patches.apply(base, patch), value), "the patch does not make the value of the base"
    patches.apply(other, patch)
    assert patches.digest(base) == patches.digest(json.loads(json.dumps(base)))


def _increment(draw: Draw) -> None:
    target, delta = draw.chunk(), int.from_bytes(draw.take(8), "big", signed=True)
    minimum = draw.number() - 128 if draw.flag() else None
    with suppress(FailedPrecondition):
        result = int(merge.increment(target, delta, minimum, None))
        assert result == int(target) + delta
        assert merge.INT64_MIN <= result <= merge.INT64_MAX
        assert minimum is None or result >= minimum


def _reconcile(draw: Draw) -> None:
    made: list[Callable[[], Copy | None]] = [
        lambda: None,
        lambda: draw.entry("n", "k")._replace(value=merge.dump_json(draw.json())),
        lambda: draw.tombstone("n", "k"),
    ]
    value, base = merge.dump_json(draw.json()), merge.dump_json(draw.json())
    current = draw.one_of(made)()
    write = Buffering(
        namespace="n",
        operation=Put(key="k", value=value, labels=draw.labels(), ttl_ms=draw.maybe_time()),
        request=WriteId(request_id="r", fingerprint=b""),
        base=Base(version=draw.number(6), value=base if draw.flag() else None) if draw.flag() else None,
        hlc=draw.number(7),
        time=draw.time(),
    )
    now = draw.time()
    found = reconcile(
        draw.one_of(list(Reconcile)),
        write,
        current,
        now=now,
        sliding=draw.flag(),
        ttl_default_ms=draw.maybe_time(),
        value_bytes_max=_VALUE_BYTES_MAX,
    )
    if isinstance(found, Commit):
        assert found.put.key == "k"
        assert found.put.expected_version in {0, current.version if current else 0}
        assert found.put.value == value or len(found.put.value) <= _VALUE_BYTES_MAX
