"""Values above a MiB, which go their own way through the daemon: into the cold tier, and past protobuf's copies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import RunningDaemon, running_daemon
from tests.support.statuses import refusal

MIB = 1 << 20
LARGE = bytes(range(256)) * (12 * MIB // 256)


@pytest.fixture(params=["none", "file"])
async def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """With a cold tier, and without one."""
    tiers = {"cold": "none://" if request.param == "none" else f"file://{tmp_path}/cold"}
    namespaces = {"media": {"value_bytes_max": "24MiB", "on_outage": "reject"}}
    async with running_daemon(tmp_path / "data", tiers=tiers, namespaces=namespaces) as running:
        yield running


def asked(**fields: Any) -> pb.SetRequest:
    return pb.SetRequest(**{"namespace": "media", "key": "key", "value": LARGE} | fields)


async def read(daemon: RunningDaemon, consistency: int = types.CONSISTENCY_CACHED) -> pb.GetResponse:
    reply: pb.GetResponse = await daemon.state.Get(
        pb.GetRequest(namespace="media", key="key", consistency=consistency)  # type: ignore[arg-type]
    )
    return reply


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, len(LARGE)])
async def test_a_value_comes_back_as_it_was_written(daemon: RunningDaemon, size: int) -> None:
    written = await daemon.state.Set(asked(value=LARGE[:size], labels={"a": "b"}, content_type="x/y", schema_version=2))

    for consistency in (types.CONSISTENCY_CACHED, types.CONSISTENCY_STRONG):
        reply = await read(daemon, consistency)
        assert reply.mode == types.SERVING_MODE_NORMAL
        assert reply.entry.value == LARGE[:size]
        assert (reply.entry.version, dict(reply.entry.labels)) == (written.version, {"a": "b"})
        assert (reply.entry.content_type, reply.entry.schema_version) == ("x/y", 2)
    assert written.durability == types.DURABILITY_COMMITTED


async def test_a_request_id_stands_for_the_value_too(daemon: RunningDaemon) -> None:
    first = await daemon.state.Set(asked(request_id="r"))
    again = await daemon.state.Set(asked(request_id="r"))
    refused = await refusal(daemon.state.Set(asked(request_id="r", value=LARGE[:-1] + b"!")))

    assert again.version == first.version
    assert refused.reason == "REQUEST_ID_REUSED"


async def test_a_cas_wins_once(daemon: RunningDaemon) -> None:
    first = await daemon.state.Set(asked(value=b"small"))
    cas = pb.CASRequest(namespace="media", key="key", value=LARGE, expected_version=first.version, request_id="r")
    won = await daemon.state.CAS(cas)
    again = await daemon.state.CAS(cas)
    cas.request_id = "other"
    lost = await refusal(daemon.state.CAS(cas))

    assert again.version == won.version
    assert (lost.code, lost.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert lost.conflict is not None
    assert (lost.conflict.key, lost.conflict.current_version) == ("key", won.version)
    assert dict(lost.info.metadata) == {
        "expected_version": str(first.version),
        "current_version": str(won.version),
    }


async def test_what_is_too_large_is_refused(daemon: RunningDaemon) -> None:
    other = await refusal(daemon.state.Set(asked(namespace="other")))
    here = await refusal(daemon.state.Set(asked(value=bytes(24 * MIB + 1))))

    assert (other.reason, here.reason) == ("VALUE_TOO_LARGE", "VALUE_TOO_LARGE")


async def test_a_list_and_a_batch_show_it(daemon: RunningDaemon) -> None:
    await daemon.state.Set(asked())
    await daemon.state.Set(asked(key="other", value=b"small"))

    first = await daemon.state.List(pb.ListRequest(namespace="media"))
    second = await daemon.state.List(pb.ListRequest(namespace="media", page_token=first.next_page_token))
    batch = await daemon.state.BatchGet(pb.BatchGetRequest(namespace="media", keys=["other", "key"]))

    assert [entry.value for entry in (*first.entries, *second.entries)] == [LARGE, b"small"]
    assert [result.entry.value for result in batch.results] == [b"small", LARGE]
    assert dict(first.entries[0].labels) == {}


async def test_a_transaction_with_large_values(daemon: RunningDaemon) -> None:
    operations = [pb.TransactOperation(set=pb.SetRequest(key=f"{n}", value=LARGE[n : 3 * MIB])) for n in range(3)]
    await daemon.state.Transact(pb.TransactRequest(namespace="media", operations=operations, request_id="r"))

    batch = await daemon.state.BatchGet(pb.BatchGetRequest(namespace="media", keys=["0", "1", "2"]))
    assert [result.entry.value for result in batch.results] == [LARGE[n : 3 * MIB] for n in range(3)]


async def test_a_malformed_large_request_is_told_as_such(daemon: RunningDaemon) -> None:
    call: Any = daemon.channel.unary_unary("/statesidecar.v1.StateService/Set")

    cut = await refusal(call(asked().SerializeToString()[:-1]))
    unknown = await refusal(call(asked().SerializeToString() + b"\xfa\x07\x02ab"))

    assert (cut.reason, unknown.reason) == ("REQUEST_MALFORMED", "FIELD_UNKNOWN")


async def test_a_lost_blob_is_data_loss_with_its_key(tmp_path: Path) -> None:
    tiers = {"cold": f"file://{tmp_path}/cold"}
    async with running_daemon(tmp_path / "data", tiers=tiers) as daemon:
        await daemon.state.Set(pb.SetRequest(namespace="media", key="key", value=LARGE[: 2 * MIB]))
        [path] = [path for path in (tmp_path / "cold").rglob("*") if path.is_file()]
        path.unlink()

        lost = await refusal(daemon.state.Get(pb.GetRequest(namespace="media", key="key")))

    assert (lost.code, lost.reason) == (grpc.StatusCode.DATA_LOSS, "ENTRY_CORRUPT")
    assert dict(lost.info.metadata) == {"namespace": "media", "key": "key"}
