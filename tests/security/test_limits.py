"""Whatever a request can carry much of is bounded, by a rule that says so: fields are found in the descriptors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from statesidecar.v1 import state_service_pb2 as pb
from tests.security.requests import KEY, METHODS, NAMESPACE, Place, answers, is_map, places, usual
from tests.support.daemon import CHANNEL_OPTIONS, RunningDaemon, running_daemon
from tests.support.process import daemon_process
from tests.support.statuses import refusal

pytestmark = pytest.mark.timeout(120)

VALUE_BYTES_MAX = 64 * 1024
TEXT = "x" * 70_000
BYTES = b'"%s"' % (b"x" * 300 * 1024)
MANY = 5_000
REFUSED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
DEPTH = 100_000
MIB = 1 << 20
Fill = Callable[[Any, FieldDescriptor], None]


def long(message: Any, field: FieldDescriptor) -> None:
    value = TEXT if field.type == FieldDescriptor.TYPE_STRING else BYTES
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def many(message: Any, field: FieldDescriptor) -> None:
    repeated = getattr(message, field.name)
    for number in range(MANY):
        if field.message_type is not None:
            repeated.add().MergeFrom(usual(field.message_type))
        elif field.type == FieldDescriptor.TYPE_STRING:
            repeated.append(f"name {number}")
        else:
            repeated.append(b"1" if field.type == FieldDescriptor.TYPE_BYTES else 1)


def pairs(*given: tuple[str, str]) -> Fill:
    def fill(message: Any, field: FieldDescriptor) -> None:
        getattr(message, field.name).update(given)

    return fill


def fills(place: Place) -> Iterator[tuple[str, Fill]]:
    if is_map(place.field):
        yield "many pairs", pairs(*((f"name {number}", "") for number in range(MANY)))
        yield "a long name", pairs((TEXT, ""))
        yield "a long value", pairs(("name", TEXT))
        return
    if place.holds_text:
        yield "long", long
    if place.repeats:
        yield "many", many


async def test_every_field_of_every_request_is_bounded(tmp_path: Path) -> None:
    accepted, tried = [], 0
    async with running_daemon(tmp_path, namespaces={NAMESPACE: {"value_bytes_max": VALUE_BYTES_MAX}}) as daemon:
        for place in places():
            if (
                place.method.name == "Connect"
            ):  # of the calls that fit a frame, no more are begun than there is room for
                continue
            for name, fill in fills(place):
                tried += 1
                try:
                    await answers(daemon, place.method, place.request(fill))
                except grpc.aio.AioRpcError as exc:
                    if exc.code() in REFUSED:
                        continue
                accepted.append(f"{place}: {name}")
    assert not accepted
    assert tried > 150


async def test_the_same_requests_are_taken_when_nothing_is_too_much(tmp_path: Path) -> None:
    right = set()
    async with running_daemon(tmp_path) as daemon:
        for method in METHODS:
            if method.name in {"CollectGarbage", "Watch", "Consume", "Connect", "Migrate"}:
                continue
            await daemon.state.Set(pb.SetRequest(namespace=NAMESPACE, key=KEY, value=b"{}"))
            with contextlib.suppress(grpc.aio.AioRpcError):
                await answers(daemon, method, usual(method.input_type))
                right.add(method.name)
    assert right >= {"Get", "Set", "BatchGet", "List", "Checkpoint", "ListDeadLetters", "Redrive", "RedriveDeadWrites"}


@pytest.mark.parametrize("opening", ["[", '{"a":'])
async def test_json_may_not_be_nested_without_end(tmp_path: Path, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    deep = (opening * DEPTH + "1" + closing * DEPTH).encode()
    async with running_daemon(tmp_path) as daemon:
        key: dict[str, Any] = {"namespace": NAMESPACE, "key": "key"}
        for request in (
            pb.UpdateRequest(**key, merge_patch=deep, create=True),
            pb.UpdateRequest(**key, append=pb.Append(items=[deep]), create=True),
        ):
            refused = await refusal(daemon.state.Update(request))
            assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        # As a value it is bytes like any other, and what is asked of it as JSON is refused.
        await daemon.state.Set(pb.SetRequest(**key, value=deep))
        for request in (
            pb.UpdateRequest(**key, merge_patch=b'{"a": 1}'),
            pb.UpdateRequest(**key, append=pb.Append(items=[b"1"])),
        ):
            assert (await refusal(daemon.state.Update(request))).code in {
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.FAILED_PRECONDITION,
            }
        await _answers(daemon)


async def test_metadata_is_bounded(tmp_path: Path) -> None:
    async with running_daemon(tmp_path) as daemon:
        for metadata in ([("x-large", "v" * 100_000)], [(f"x-{number}", "v" * 100) for number in range(1000)]):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await daemon.state.Get(pb.GetRequest(namespace=NAMESPACE, key="key"), metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await _answers(daemon)


def test_a_message_that_grows_when_it_is_unpacked_takes_no_memory(tmp_path: Path) -> None:
    with daemon_process(tmp_path) as daemon, grpc.insecure_channel(daemon.target, options=CHANNEL_OPTIONS) as channel:
        send: Any = channel.unary_unary("/statesidecar.v1.StateService/Set")
        bomb = bytes(160 * MIB)  # on the wire a thousandth of it
        before = _peak_bytes(daemon.pid)
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                send(bomb, compression=grpc.Compression.Gzip, timeout=60)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert _peak_bytes(daemon.pid) - before < 48 * MIB


async def test_what_is_compressed_is_taken_up_to_the_bound(tmp_path: Path) -> None:
    value = json.dumps(list(range(100_000))).encode()
    async with running_daemon(tmp_path) as daemon:
        key: dict[str, Any] = {"namespace": NAMESPACE, "key": "key"}
        await daemon.state.Set(pb.SetRequest(**key, value=value), compression=grpc.Compression.Gzip)
        assert (await daemon.state.Get(pb.GetRequest(**key))).entry.value == value


async def _answers(daemon: RunningDaemon) -> None:
    await daemon.state.Get(pb.GetRequest(namespace=NAMESPACE, key="other"))


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no peak")
