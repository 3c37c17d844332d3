"""Every refusal that a request alone can bring about: what is sent, and what is told. Read by the tests beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import duration_pb2

from sidecar.core.entry import version_of
from statesidecar.v1 import admin_service_pb2 as admin
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types

NS = "shop"
MIB = 1024 * 1024
NEWER_EPOCH = version_of(9, 1)
NO_CHECKPOINT = "0" * 28
INVALID, FAILED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
ABORTED = grpc.StatusCode.ABORTED
NOT_FOUND = grpc.StatusCode.NOT_FOUND

UNKNOWN_FIELD = b"\xca\x3e\x03new"
"""Field 1001 of a later release, as bytes on the wire."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call that is refused. `before` is sent first; `at` is the proto field named by BadRequest."""

    name: str
    rpc: str
    request: Any
    code: grpc.StatusCode
    reason: str
    at: str = ""
    before: tuple[tuple[str, Any], ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.rpc}: {self.name}"


def ttl(seconds: int = 0, nanos: int = 0) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=seconds, nanos=nanos)


def bad(rpc: str, name: str, reason: str, at: str, request: Any, **more: Any) -> Case:
    return Case(name=name, rpc=rpc, request=request, code=INVALID, reason=reason, at=at, **more)


def failed(name: str, reason: str, request: Any, *, value: bytes | None, **more: Any) -> Case:
    """Of an update that meets a value; None: no entry."""
    before = () if value is None else (("Set", pb.SetRequest(namespace=NS, key="key", value=value)),)
    return Case(name=name, rpc="Update", request=request, code=FAILED, reason=reason, before=before, **more)


def with_unknown(message: Any, at: str = "") -> Any:
    """The message with a field that nobody knows, in itself or in the message field `at`."""
    whole = type(message)()
    whole.CopyFrom(message)
    inner = whole
    for step in filter(None, at.split(".")):
        inner = inner[int(step)] if step.isdigit() else getattr(inner, step)
    inner.MergeFromString(UNKNOWN_FIELD)
    return whole


def update(**fields: Any) -> pb.UpdateRequest:
    given: dict[str, Any] = {"namespace": NS, "key": "key"} | fields
    return pb.UpdateRequest(**given)


def increment(delta: int, **fields: Any) -> pb.UpdateRequest:
    return update(increment=pb.Increment(delta=delta, **fields), create=True)


def append(*items: bytes, max_items: int = 0) -> pb.UpdateRequest:
    return update(append=pb.Append(items=items, max_items=max_items), create=True)


def transact(*operations: pb.TransactOperation, **fields: Any) -> pb.TransactRequest:
    return pb.TransactRequest(namespace=NS, operations=operations, **fields)


def op_set(key: str = "key", **fields: Any) -> pb.TransactOperation:
    return pb.TransactOperation(set=pb.SetRequest(key=key, **fields))


KEYED: dict[str, Any] = {
    "Get": pb.GetRequest(key="key"),
    "Set": pb.SetRequest(key="key"),
    "CAS": pb.CASRequest(key="key"),
    "Delete": pb.DeleteRequest(key="key"),
    "Touch": pb.TouchRequest(key="key"),
    "Update": pb.UpdateRequest(key="key", increment=pb.Increment(delta=1), create=True),
    "Checkpoint": pb.CheckpointRequest(key="key"),
    "Restore": pb.RestoreRequest(key="key"),
}
UNKEYED: dict[str, Any] = {
    "BatchGet": pb.BatchGetRequest(keys=["key"]),
    "List": pb.ListRequest(),
    "ListCheckpoints": pb.ListCheckpointsRequest(),
    "GetCheckpoint": pb.GetCheckpointRequest(checkpoint_id=NO_CHECKPOINT),
    "DeleteCheckpoint": pb.DeleteCheckpointRequest(checkpoint_id=NO_CHECKPOINT),
    "DeletePrefix": pb.DeletePrefixRequest(key_prefix="key"),
    "Transact": pb.TransactRequest(operations=[op_set()]),
}
WRITES = ("Set", "CAS", "Delete", "Update", "Transact", "DeletePrefix")
WITH_TTL = ("Set", "CAS", "Touch", "Update")
BAD_MESSAGES = (
    ("without topic", "topic", types.OutboxMessage()),
    ("long topic", "topic", types.OutboxMessage(topic="t" * 257)),
    ("odd topic", "topic", types.OutboxMessage(topic="a\nb")),
    ("large payload", "payload", types.OutboxMessage(topic="t", payload=bytes(256 * 1024 + 1))),
    ("odd attribute", "attributes", types.OutboxMessage(topic="t", attributes={"": "x"})),
)
WITH_OUTBOX = ("Set", "CAS", "Delete", "Update", "Transact")


def made(rpc: str, **fields: Any) -> Any:
    """A good request of an RPC with some fields changed."""
    good = (KEYED | UNKEYED)[rpc]
    request = type(good)(**{"namespace": NS} | fields)
    whole = type(good)()
    whole.CopyFrom(good)
    for name in fields:
        whole.ClearField(name)
    whole.MergeFrom(request)
    return whole


def names_and_keys() -> Iterator[Case]:
    for rpc in KEYED | UNKEYED:
        for name, namespace in {
            "no namespace": "",
            "namespace of 129 bytes": "n" * 129,
            "namespace of 130 bytes in 65 characters": "é" * 65,
            "newline in the namespace": "a\nb",
            "zero in the namespace": "a\x00",
            "delete character in the namespace": "a\x7f",
        }.items():
            yield bad(rpc, name, "NAMESPACE_INVALID", "namespace", made(rpc, namespace=namespace))
    for name, key in {"no key": "", "key of 1025 bytes": "k" * 1025, "key of 1026 bytes in 513": "é" * 513}.items():
        for rpc in KEYED:
            yield bad(rpc, name, "KEY_INVALID", "key", made(rpc, key=key))
        yield bad("BatchGet", name, "KEY_INVALID", "key", made("BatchGet", keys=["a", key]))
        yield bad("Transact", name, "KEY_INVALID", "key", made("Transact", operations=[op_set(key)]))
        check = pb.TransactOperation(check=pb.Check(key=key))
        yield bad("Transact", f"check with {name}", "KEY_INVALID", "key", made("Transact", operations=[check]))
    for rpc in ("List", "DeletePrefix", "ListCheckpoints"):
        yield bad(rpc, "prefix of 1025 bytes", "KEY_INVALID", "key_prefix", made(rpc, key_prefix="k" * 1025))


def unknown_fields() -> Iterator[Case]:
    for rpc in KEYED | UNKEYED:
        yield bad(rpc, "unknown field", "FIELD_UNKNOWN", "#1001", with_unknown(made(rpc)))
    for at, request in {
        "increment": increment(1),
        "append": append(b"1"),
    }.items():
        yield bad("Update", f"unknown field in {at}", "FIELD_UNKNOWN", "#1001", with_unknown(request, at))
    nested = transact(pb.TransactOperation(update=pb.UpdateRequest(key="key", increment=pb.Increment(delta=1))))
    for at in ("operations.0", "operations.0.update", "operations.0.update.increment"):
        yield bad("Transact", f"unknown field in {at}", "FIELD_UNKNOWN", "#1001", with_unknown(nested, at))
    for which, inner in {
        "set": pb.SetRequest(key="key"),
        "cas": pb.CASRequest(key="key"),
        "delete": pb.DeleteRequest(key="key"),
        "check": pb.Check(key="key"),
    }.items():
        whole = transact(pb.TransactOperation(**{which: inner}))  # type: ignore[arg-type]  # a field by name
        name = f"unknown field in a {which}"
        yield bad("Transact", name, "FIELD_UNKNOWN", "#1001", with_unknown(whole, f"operations.0.{which}"))
    yield bad("GetStatus", "unknown field", "FIELD_UNKNOWN", "#1001", with_unknown(admin.GetStatusRequest()))


def writes() -> Iterator[Case]:
    for rpc in WITH_TTL:
        for name, given in {
            "ttl of 0": ttl(),
            "negative ttl": ttl(-1),
            "ttl of -1 ns": ttl(0, -1),
            "ttl beyond the limit": ttl(3650 * 86_400, 1),
            "greatest ttl of a Duration": ttl(315_576_000_000),
        }.items():
            yield bad(rpc, name, "TTL_OUT_OF_RANGE", "ttl", made(rpc, ttl=given))
    for rpc in WRITES:
        for name, request_id in {"of 129 bytes": "r" * 129, "of 130 bytes in 65 characters": "é" * 65}.items():
            request = made(rpc, request_id=request_id)
            yield bad(rpc, f"request id {name}", "REQUEST_ID_INVALID", "request_id", request)
        reused = ("Set", pb.SetRequest(namespace=NS, key="before", request_id="used"))
        yield bad(
            *(rpc, "request id of another request", "REQUEST_ID_REUSED", "request_id", made(rpc, request_id="used")),
            before=(reused,),
            metadata={"request_id": "used"},
        )
    for rpc in ("Set", "CAS"):
        yield bad(
            *(rpc, "value of 4 MiB and a byte", "VALUE_TOO_LARGE", "value", made(rpc, value=bytes(4 * MIB + 1))),
            metadata={"value_bytes": str(4 * MIB + 1), "value_bytes_max": str(4 * MIB)},
        )
        yield bad(rpc, "content type of 257 bytes", "FIELD_TOO_LONG", "content_type", made(rpc, content_type="t" * 257))
        for name, labels in {
            "65 labels": {f"{number}": "" for number in range(65)},
            "label without a key": {"": "value"},
            "label key of 129 bytes": {"k" * 129: ""},
            "label value of 1025 bytes": {"key": "v" * 1025},
        }.items():
            yield bad(rpc, name, "LABELS_INVALID", "labels", made(rpc, labels=labels))
    for rpc in ("CAS", "Delete"):
        request = made(rpc, expected_version=-1)
        yield bad(rpc, "negative version", "VERSION_INVALID", "expected_version", request)
    for rpc in ("Get", "BatchGet"):
        request = made(rpc, consistency=7)
        yield bad(rpc, "unknown consistency", "CONSISTENCY_INVALID", "consistency", request)
    yield bad("Get", "negative floor", "VERSION_INVALID", "min_version", made("Get", min_version=-1))
    for rpc in WITH_OUTBOX:
        for name, at, message in BAD_MESSAGES:
            outbox = made(rpc, outbox=[types.OutboxMessage(topic="topic"), message])
            yield bad(rpc, f"message {name}", "OUTBOX_MESSAGE_INVALID", f"outbox[1].{at}", outbox)
        many = made(rpc, outbox=[types.OutboxMessage(topic="topic")] * 33)
        yield bad(rpc, "33 messages", "OUTBOX_MESSAGE_INVALID", "outbox", many)


def guards() -> Iterator[Case]:
    entry = ("Set", pb.SetRequest(namespace=NS, key="key"))
    for rpc in ("CAS", "Delete"):
        lost = made(rpc, expected_version=1)
        newer = made(rpc, expected_version=NEWER_EPOCH)
        yield Case(name="lost", rpc=rpc, request=lost, code=ABORTED, reason="VERSION_MISMATCH", before=(entry,))
        yield Case(name="lost to nothing", rpc=rpc, request=lost, code=ABORTED, reason="VERSION_MISMATCH")
        yield Case(name="newer epoch", rpc=rpc, request=newer, code=FAILED, reason="EPOCH_CHANGED", before=(entry,))
    for name, version, code, reason in (
        ("check lost", 1, ABORTED, "VERSION_MISMATCH"),
        ("check of a newer epoch", NEWER_EPOCH, FAILED, "EPOCH_CHANGED"),
    ):
        check = transact(op_set("other"), pb.TransactOperation(check=pb.Check(key="key", expected_version=version)))
        yield Case(
            name=name,
            rpc="Transact",
            request=check,
            code=code,
            reason=reason,
            before=(entry,),
            metadata={"operation": "1"},
        )
    for rpc, request in {
        "Get": pb.GetRequest(namespace=NS, key="key", min_version=NEWER_EPOCH),
        "BatchGet": pb.BatchGetRequest(namespace=NS, keys=["other", "key"], min_versions=[0, NEWER_EPOCH]),
    }.items():
        epoch = {"rpc": rpc, "request": request, "code": FAILED, "reason": "EPOCH_CHANGED"}
        yield Case(name="floor of a newer epoch", before=(entry,), **epoch)  # type: ignore[arg-type]  # fields by name


def updates() -> Iterator[Case]:
    yield bad("Update", "no operation", "OPERATION_MISSING", "operation", update(create=True))
    yield bad("Update", "append of nothing", "OPERATION_MISSING", "append.items", append())
    yield bad("Update", "append of 1001 items", "TOO_MANY_ITEMS", "append.items", append(*[b"1"] * 1001))
    yield bad("Update", "negative max_items", "MAX_ITEMS_INVALID", "append.max_items", append(b"1", max_items=-1))
    crossed = increment(1, minimum=2, maximum=1)
    yield bad("Update", "minimum above maximum", "INCREMENT_OUT_OF_RANGE", "increment.minimum", crossed)
    for name, text in {
        "nothing": b"",
        "half an object": b'{"a":',
        "two values": b"1 2",
        "NaN": b"NaN",
        "a number beyond a double": b"1e999",
        "bytes that are not UTF-8": b'"\xff"',
        "UTF-16": '{"a":1}'.encode("utf-16"),
        "100,000 brackets": b"[" * 100_000,
        "100,000 digits": b"1" * 100_000,
    }.items():
        patch = update(merge_patch=text, create=True)
        yield bad("Update", f"merge patch of {name}", "JSON_INVALID", "merge_patch", patch)
        yield bad("Update", f"append of {name}", "JSON_INVALID", "append.items[1]", append(b"1", text))
    big = update(append=pb.Append(items=[b'"%s"' % (b"x" * MIB)] * 5), create=True)
    yield bad("Update", "result above 4 MiB", "VALUE_TOO_LARGE", "operation", big)

    for name, request in {"patch": update(merge_patch=b"{}"), "append": update(append=pb.Append(items=[b"1"]))}.items():
        yield failed(f"{name} of nothing without create", "KEY_NOT_FOUND", request, value=None)
    yield failed("merge patch of bytes", "NOT_JSON", update(merge_patch=b"{}"), value=b"\x00\xff")
    for value in (b"{}", b"null", b'"text"', b"1", b"true", b"\x00", b""):
        yield failed(f"append to {value!r}", "NOT_A_JSON_ARRAY", append(b"1"), value=value)
    for value in (b"", b"1.5", b"1e3", b" 1", b"0x10", b"1" * 20, b"[]", "\u0661".encode()):
        yield failed(f"increment of {value!r}", "NOT_A_COUNTER", increment(1), value=value)
    top, bottom = b"%d" % (2**63 - 1), b"%d" % -(2**63)
    yield failed("increment above an int64", "INCREMENT_OVERFLOW", increment(1), value=top)
    yield failed("increment below an int64", "INCREMENT_OVERFLOW", increment(-1), value=bottom)
    out_of_bounds = {"current": "5", "result": "6"}
    yield failed(
        "increment above its maximum",
        "COUNTER_OUT_OF_BOUNDS",
        increment(1, maximum=5),
        value=b"5",
        metadata=out_of_bounds,
    )
    yield failed("increment below its minimum", "COUNTER_OUT_OF_BOUNDS", increment(-1, minimum=0), value=b"0")
    yield failed("increment below 0 of nothing", "COUNTER_OUT_OF_BOUNDS", increment(-1, minimum=0), value=None)


def many() -> Iterator[Case]:
    yield bad("BatchGet", "no keys", "TOO_MANY_KEYS", "keys", made("BatchGet", keys=[]))
    yield bad("BatchGet", "1001 keys", "TOO_MANY_KEYS", "keys", made("BatchGet", keys=["key"] * 1001))
    floors = made("BatchGet", keys=["a", "b"], min_versions=[1])
    yield bad("BatchGet", "a floor for one of two", "MIN_VERSIONS_INVALID", "min_versions", floors)
    large = tuple(("Set", pb.SetRequest(namespace=NS, key=f"{number}", value=bytes(4 * MIB))) for number in range(5))
    all_of_it = made("BatchGet", keys=[f"{number}" for number in range(5)])
    yield bad("BatchGet", "20 MiB of values", "RESPONSE_TOO_LARGE", "keys", all_of_it, before=large)
    for size in (-1, 1001, -(2**31)):
        yield bad("List", f"page size {size}", "PAGE_SIZE_INVALID", "page_size", made("List", page_size=size))
    for token in ("garbage", "%%%", "é", "QUJDREVGR0hJSktM", "x" * 10_000):
        yield bad("List", f"page token {token[:9]}", "PAGE_TOKEN_INVALID", "page_token", made("List", page_token=token))
    yield bad("DeletePrefix", "no prefix", "PREFIX_EMPTY", "key_prefix", made("DeletePrefix", key_prefix=""))


def transactions() -> Iterator[Case]:
    a = op_set("a")

    def second(name: str, reason: str, at: str, operation: pb.TransactOperation) -> Case:
        return bad("Transact", name, reason, at, transact(a, operation), metadata={"operation": "1"})

    yield bad("Transact", "no operations", "OPERATION_MISSING", "operations", transact())
    too_many = transact(*(op_set(f"{number}") for number in range(101)))
    yield bad("Transact", "101 operations", "TOO_MANY_OPERATIONS", "operations", too_many)
    yield second("empty operation", "OPERATION_MISSING", "operations[1]", pb.TransactOperation())
    yield second("key twice", "KEY_REPEATED", "operations[1].key", op_set("a"))
    repeated = pb.TransactOperation(check=pb.Check(key="a"))
    yield second("key written and checked", "KEY_REPEATED", "operations[1].key", repeated)
    other = op_set("b", namespace="bank")
    yield second("another namespace", "NAMESPACE_INVALID", "operations[1].set.namespace", other)
    own_id = op_set("b", request_id="inner")
    yield second("request id within", "REQUEST_ID_INVALID", "operations[1].set.request_id", own_id)
    yield second("ttl of 0", "TTL_OUT_OF_RANGE", "ttl", op_set("b", ttl=ttl()))
    empty = pb.TransactOperation(update=pb.UpdateRequest(key="b"))
    yield second("update without operation", "OPERATION_MISSING", "operation", empty)
    invalid = pb.TransactOperation(update=pb.UpdateRequest(key="b", merge_patch=b"{"))
    yield second("invalid JSON", "JSON_INVALID", "merge_patch", invalid)
    negative = pb.TransactOperation(check=pb.Check(key="b", expected_version=-1))
    yield second("negative version", "VERSION_INVALID", "expected_version", negative)
    outbox = transact(a, op_set("b", outbox=[types.OutboxMessage()]))
    yield bad("Transact", "message within", "OUTBOX_MESSAGE_INVALID", "outbox[0].topic", outbox)


def checkpoints() -> Iterator[Case]:
    long_prefix, both = "k" * 1025, {"key": "key", "key_prefix": "key"}
    for rpc in ("Checkpoint", "Restore"):
        yield bad(rpc, "prefix of 1025 bytes", "KEY_INVALID", "key_prefix", made(rpc, key="", key_prefix=long_prefix))
        yield bad(rpc, "long request id", "REQUEST_ID_INVALID", "request_id", made(rpc, request_id="r" * 129))
    for rpc in ("Checkpoint", "Restore", "ListCheckpoints"):
        yield bad(rpc, "key and prefix", "KEY_INVALID", "key", made(rpc, **both))
    chosen_twice = made("Restore", checkpoint_id=NO_CHECKPOINT)
    yield bad("Restore", "id and key", "KEY_INVALID", "key", chosen_twice)
    yield bad("Restore", "negative", "VERSION_INVALID", "expected_version", made("Restore", expected_version=-1))
    yield bad("Checkpoint", "long label", "FIELD_TOO_LONG", "label", made("Checkpoint", label="l" * 257))
    yield bad("Checkpoint", "empty name", "LABELS_INVALID", "metadata", made("Checkpoint", metadata={"": "x"}))
    for size in (-1, 1001):
        yield bad(
            "ListCheckpoints",
            f"page of {size}",
            "PAGE_SIZE_INVALID",
            "page_size",
            made("ListCheckpoints", page_size=size),
        )
    yield bad("ListCheckpoints", "token", "PAGE_TOKEN_INVALID", "page_token", made("ListCheckpoints", page_token="x"))
    yield Case(name="absent key", rpc="Checkpoint", request=made("Checkpoint"), code=FAILED, reason="KEY_NOT_FOUND")
    no_keys = made("Checkpoint", key="", key_prefix="key")
    yield Case(name="prefix without keys", rpc="Checkpoint", request=no_keys, code=FAILED, reason="KEY_NOT_FOUND")
    parentless = made("Checkpoint", parent_id=NO_CHECKPOINT)
    by_id = made("Restore", key="", checkpoint_id=NO_CHECKPOINT)
    for name, rpc, request in [
        ("parent", "Checkpoint", parentless),
        ("id", "GetCheckpoint", made("GetCheckpoint")),
        ("no id", "GetCheckpoint", made("GetCheckpoint", checkpoint_id="")),
        ("id", "DeleteCheckpoint", made("DeleteCheckpoint")),
        ("id", "Restore", by_id),
        ("latest of a key", "Restore", made("Restore")),
        ("latest of a prefix", "Restore", made("Restore", key="", key_prefix="key")),
    ]:
        yield Case(name=name, rpc=rpc, request=request, code=NOT_FOUND, reason="CHECKPOINT_NOT_FOUND")
    kept = (("Set", pb.SetRequest(namespace=NS, key="key")), ("Checkpoint", made("Checkpoint")))
    guarded = made("Restore", expected_version=1)
    yield Case(name="lost", rpc="Restore", request=guarded, code=ABORTED, reason="VERSION_MISMATCH", before=kept)
    of_prefix = (kept[0], ("Checkpoint", no_keys))
    guarded = made("Restore", key="", key_prefix="key", expected_version=1)
    yield bad("Restore", "guard of a prefix", "VERSION_INVALID", "expected_version", guarded, before=of_prefix)
    again = made("Checkpoint", request_id="r", label="other")
    first = (kept[0], ("Checkpoint", made("Checkpoint", request_id="r")))
    yield bad("Checkpoint", "another body", "REQUEST_ID_REUSED", "request_id", again, before=first)


CASES: list[Case] = [
    *names_and_keys(),
    *unknown_fields(),
    *writes(),
    *guards(),
    *updates(),
    *many(),
    *transactions(),
    *checkpoints(),
]
