"""A caller that goes away stops no commit; one whose time ends hears what is known, and learns the truth by its request id."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core import errors
from sidecar.rpc import calls
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.daemon import WARM_TIERS, RunningDaemon, running_daemon
from tests.support.statuses import refusal

NS = "shop"
PATIENT_S = 60.0
"""A client's timeout that doesn't run out in a test."""

WRITES: dict[str, Any] = {
    "Set": pb.SetRequest(namespace=NS, key="key", value=b"1", request_id="once"),
    "CAS": pb.CASRequest(namespace=NS, key="key", value=b"1", request_id="once"),
    "Update": pb.UpdateRequest(
        namespace=NS, key="key", increment=pb.Increment(delta=1), create=True, request_id="once"
    ),
    "Transact": pb.TransactRequest(
        namespace=NS,
        operations=[pb.TransactOperation(set=pb.SetRequest(key="key", value=b"1"))],
        request_id="once",
    ),
}


async def stored(daemon: RunningDaemon) -> types.Entry | None:
    read = pb.GetRequest(namespace=NS, key="key", consistency=types.CONSISTENCY_STRONG)
    reply = await daemon.state.Get(read)
    return reply.entry if reply.HasField("entry") else None


@pytest.mark.parametrize("rpc", list(WRITES))
@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
async def test_a_write_whose_caller_cancels_still_lands(daemon: RunningDaemon, rpc: str, after: bool) -> None:
    hold = daemon.switch().hold("commit", after=after)
    call = getattr(daemon.state, rpc)(WRITES[rpc])
    await hold.reached.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    hold.release()
    await hold.passed.wait()

    entry = await stored(daemon)
    assert entry is not None
    assert entry.value == b"1"
    repeated = await getattr(daemon.state, rpc)(WRITES[rpc])
    assert repeated.version == entry.version


@pytest.mark.parametrize("rpc", list(WRITES))
async def test_a_cancelled_writes_copy_is_read_from_the_hot_tier(volatile: RunningDaemon, rpc: str) -> None:
    await volatile.state.Get(pb.GetRequest(namespace=NS, key="key"))
    await volatile.followups_done()
    hold = volatile.switch().hold("commit", after=True)
    call = getattr(volatile.state, rpc)(WRITES[rpc])
    await hold.reached.wait()
    call.cancel()
    hold.release()
    await hold.passed.wait()
    await volatile.daemon._commits.finish()

    reply = await volatile.state.Get(pb.GetRequest(namespace=NS, key="key"))

    assert reply.entry.value == b"1"


async def test_a_stop_waits_for_a_write_whose_caller_is_gone(tmp_path: Path) -> None:
    async with running_daemon(tmp_path, tiers=WARM_TIERS["sqlite"]) as daemon:
        hold = daemon.switch().hold("commit")
        call = daemon.state.Set(WRITES["Set"])
        await hold.reached.wait()
        call.cancel()
        stopping = asyncio.create_task(daemon.daemon.stop())
        await daemon.channel_closed()
        assert not stopping.done()
        hold.release()
        await stopping
    async with running_daemon(tmp_path, tiers=WARM_TIERS["sqlite"]) as daemon:
        entry = await stored(daemon)

    assert entry is not None


class Margin:
    """Moves the point at which the daemon gives up on a write, so that no test depends on how fast the machine is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def give_up_after(self, seconds: float) -> None:
        """Of a call with PATIENT_S."""
        self._monkeypatch.setattr(calls, "ANSWER_MARGIN_S", PATIENT_S - seconds)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Margin:
    """How to make the daemon's time run out."""
    return Margin(monkeypatch)


@pytest.mark.parametrize("rpc", list(WRITES))
@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
async def test_a_write_that_outlives_its_deadline_is_unknown_and_its_id_tells(
    volatile: RunningDaemon, impatient: Margin, rpc: str, after: bool
) -> None:
    hold = volatile.switch().hold("commit", after=after)
    impatient.give_up_after(0.05)

    refused = await refusal(getattr(volatile.state, rpc)(WRITES[rpc], timeout=PATIENT_S))
    impatient.give_up_after(PATIENT_S / 2)
    hold.release()
    await hold.passed.wait()
    truth = await getattr(volatile.state, rpc)(WRITES[rpc])

    assert refused.told == (grpc.StatusCode.DEADLINE_EXCEEDED, "WRITE_OUTCOME_UNKNOWN")
    entry = await stored(volatile)
    if entry is None:
        # The store refused it, because its own deadline had passed: nothing was written, and the repetition wrote.
        pytest.fail("the repetition answered, so its write is there")
    assert truth.version == entry.version
    assert entry.value == b"1"


async def test_a_write_that_arrives_too_late_is_refused_before_any_effect(
    volatile: RunningDaemon, impatient: Margin
) -> None:
    switched = volatile.switch()
    impatient.give_up_after(-1.0)

    refused = await refusal(volatile.state.Set(WRITES["Set"], timeout=PATIENT_S))

    assert refused.told == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert switched.calls["commit"] == 0


async def test_without_a_deadline_the_daemons_own_ends_a_write(tmp_path: Path) -> None:
    async with running_daemon(tmp_path, write_timeout_s=0.05) as daemon:
        hold = daemon.switch().hold("commit")
        refused = await refusal(daemon.state.Set(WRITES["Set"]))
        hold.release()

    assert refused.told == (grpc.StatusCode.DEADLINE_EXCEEDED, "WRITE_OUTCOME_UNKNOWN")


async def test_an_unknown_commit_is_told_as_unknown_and_forgotten_by_the_cache(volatile: RunningDaemon) -> None:
    await volatile.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"old"))
    switched = volatile.switch()
    switched.error = errors.OutcomeUnknown("the connection broke in the commit")

    refused = await refusal(volatile.state.Set(pb.SetRequest(namespace=NS, key="key", value=b"new")))
    switched.back()
    await volatile.write_behind_the_cache(NS, "key", b"new")
    reply = await volatile.state.Get(pb.GetRequest(namespace=NS, key="key"))

    assert refused.told == (grpc.StatusCode.UNKNOWN, "WRITE_OUTCOME_UNKNOWN")
    assert reply.entry.value == b"new"


async def test_concurrent_misses_of_a_key_are_read_once(volatile: RunningDaemon) -> None:
    await volatile.write_behind_the_cache(NS, "key", b"value")
    switched = volatile.switch()
    hold = switched.hold("get")
    read = pb.GetRequest(namespace=NS, key="key")
    first = volatile.state.Get(read)
    await hold.reached.wait()
    others = [volatile.state.Get(read) for _ in range(20)]
    await volatile.in_flight(21)
    hold.release()

    replies = await asyncio.gather(first, *others)

    assert {reply.entry.value for reply in replies} == {b"value"}
    assert switched.calls["get"] == 1


async def test_who_waits_for_anothers_read_does_not_share_its_deadline(volatile: RunningDaemon) -> None:
    await volatile.write_behind_the_cache(NS, "key", b"value")
    switched = volatile.switch()
    hold = switched.hold("get")
    read = pb.GetRequest(namespace=NS, key="key")
    hasty = volatile.state.Get(read, timeout=PATIENT_S)
    await hold.reached.wait()
    patient = volatile.state.Get(read)
    await volatile.in_flight(2)
    # What a store answers whose caller's time has run out
    switched.fail_next("get", errors.DeadlineExceeded("the deadline passed before the read began"))
    hold.release()

    refused = await refusal(hasty)
    reply = await patient

    assert refused.told == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert reply.entry.value == b"value"


async def test_who_waits_for_a_read_whose_caller_cancels_gets_an_answer(volatile: RunningDaemon) -> None:
    await volatile.write_behind_the_cache(NS, "key", b"value")
    hold = volatile.switch().hold("get")
    read = pb.GetRequest(namespace=NS, key="key")
    first = volatile.state.Get(read)
    await hold.reached.wait()
    second = volatile.state.Get(read)
    await volatile.in_flight(2)
    first.cancel()
    hold.release()

    reply = await second

    assert reply.entry.value == b"value"
