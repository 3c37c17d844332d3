"""CollectGarbage: every kind against known numbers, its progress, and how it ends when its caller or its daemon does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.core.errors import ColdUnavailable
from sidecar.engine.cleaning.cleaner import Cleaner
from sidecar.engine.cleaning.owners import LEASE_MS
from sidecar.rpc import collecting
from sidecar.rpc.admin_service import AdminService
from sidecar.rpc.calls import Admission
from sidecar.rpc.collecting import Collections
from sidecar.runtime import ports
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1 import state_service_pb2 as state
from statesidecar.v1 import types_pb2 as types
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceStub, add_AdminServiceServicer_to_server
from tests.rpc.graves import serving
from tests.support.clock import ManualClock
from tests.support.daemon import CHANNEL_OPTIONS, RunningDaemon, running_daemon
from tests.support.probes import probe
from tests.support.statuses import refusal_of
from tests.unit.cleaning_support import JOB, Member, done, litter, memory

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LARGE = 4096
NAMESPACES = {
    "plan": {"checkpoint": {"every": 1, "keep": 2}},
    "files": {"large_value_bytes": LARGE, "ttl": "none"},
    "idle": {"archive_after": "1h", "ttl": "none"},
}


class WallClock(ManualClock):
    """Moves the time of what is stored alone: deadlines go by the machine's."""

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    clock = WallClock()
    monkeypatch.setattr(ports, "SystemClock", lambda: clock)
    return clock


@pytest.fixture
async def daemon(tmp_path: Path, clock: WallClock) -> AsyncIterator[RunningDaemon]:
    tiers = {"hot": "memory://", "cold": f"file://{tmp_path}/cold"}
    async with running_daemon(
        tmp_path, tiers=tiers, namespaces=NAMESPACES, http_listen="127.0.0.1:0", tombstone_retention_s=DAY_MS / 1000
    ) as running:
        yield running


async def collected(admin: Any, *, dry_run: bool = False) -> list[pb.CollectGarbageResponse]:
    return [reply async for reply in admin.CollectGarbage(pb.CollectGarbageRequest(dry_run=dry_run))]


async def summary(admin: Any, *, dry_run: bool = False) -> dict[str, int]:
    """What was cleaned, by kind; every job is at its end."""
    *_, last = await collected(admin, dry_run=dry_run)
    ended = {pb.COLLECTION_STATE_DONE, pb.COLLECTION_STATE_NOT_COUNTED}
    assert {job.state for job in last.summary.jobs} <= ended, last
    return {kind: count for kind, count in last.summary.counts.items() if count}


async def put(daemon: RunningDaemon, namespace: str, key: str, value: bytes, ttl_s: int = 0) -> None:
    request = state.SetRequest(namespace=namespace, key=key, value=value)
    if ttl_s:
        request.ttl.FromSeconds(ttl_s)
    await daemon.state.Set(request)


async def test_every_kind_is_counted_right(daemon: RunningDaemon, clock: WallClock) -> None:
    for number in range(3):
        await put(daemon, "shop", f"ends/{number}", b"value", ttl_s=60)
    for number in range(5):  # five automatic checkpoints, of which two are kept
        await put(daemon, "plan", "key", b"step %d" % number)
    for number in range(4):  # three of them are pointed to by nobody
        await put(daemon, "files", "key", bytes([number]) * (LARGE + 1))
    await put(daemon, "idle", "key", bytes(2000))
    clock.advance(2 * HOUR_MS)

    expected = {"expired": 3, "settled": 2, "checkpoints": 3, "blobs": 3, "archived": 1}
    assert await summary(daemon.admin) == expected

    status = await daemon.admin.GetStatus(pb.GetStatusRequest())
    assert {kind: count for kind, count in status.cleaned_counts.items() if count} == expected
    assert {job.job for job in status.cleaning} == {
        *("sweep", "settle", "retention", "contents", "archive", "orphans", "blobs")
    }
    assert all(not job.behind and job.HasField("pass_time") for job in status.cleaning)
    _, metrics = await probe(daemon.daemon.http_address, "/metrics")
    assert 'statesidecar_cleaned_total{kind="blobs"} 3.0' in metrics
    assert 'statesidecar_cleaning_behind{cleaning_job="settle",tier="warm"} 0.0' in metrics

    assert await summary(daemon.admin) == {}
    assert (await daemon.state.Get(state.GetRequest(namespace="plan", key="key"))).entry.value == b"step 4"
    assert (await daemon.state.Get(state.GetRequest(namespace="idle", key="key"))).entry.value == bytes(2000)


async def test_what_deletions_and_writes_leave_is_counted_when_its_time_is_over(
    daemon: RunningDaemon, clock: WallClock
) -> None:
    for number in range(3):
        await daemon.state.Set(state.SetRequest(namespace="shop", key=f"{number}", request_id=f"set {number}"))
        await daemon.state.Delete(state.DeleteRequest(namespace="shop", key=f"{number}"))
    clock.advance(DAY_MS + 1)

    assert await summary(daemon.admin) == {"tombstones": 3, "request_ids": 3, "changes": 6}


async def test_orphans_are_found_and_collected_in_one_go(
    daemon: RunningDaemon, clock: WallClock, tmp_path: Path
) -> None:
    await put(daemon, "files", "key", bytes(LARGE + 1))
    cold = tmp_path / "cold"
    [blob] = [path for path in cold.rglob("*") if path.is_file() and path.stat().st_size > LARGE]
    orphan = blob.with_name(blob.name[:-4] + "beef")
    orphan.write_bytes(blob.read_bytes())
    clock.advance(25 * HOUR_MS)

    assert (await summary(daemon.admin, dry_run=True))["orphans"] == 1
    assert orphan.exists()
    counted = await summary(daemon.admin)

    assert (counted["orphans"], counted["blobs"]) == (1, 1)
    assert not orphan.exists()
    assert (await daemon.state.Get(state.GetRequest(namespace="files", key="key"))).entry.value == bytes(LARGE + 1)


async def test_a_dry_run_counts_what_is_there_and_says_what_it_can_not_count(
    daemon: RunningDaemon, clock: WallClock
) -> None:
    await put(daemon, "shop", "ends", b"value", ttl_s=60)
    for number in range(4):
        await put(daemon, "files", "key", bytes([number]) * (LARGE + 1))
    await put(daemon, "idle", "key", bytes(2000))
    clock.advance(2 * HOUR_MS)
    before = (await daemon.warm.changes(after=None, limit=1)).cursor

    *told, last = await collected(daemon.admin, dry_run=True)

    assert last.summary.counts == {"blobs": 3, "archived": 1}
    assert [reply.progress.remaining_jobs for reply in told] == list(reversed(range(len(told))))
    states = {(job.tier, job.job): job.state for job in last.summary.jobs}
    assert states[types.TIER_WARM, "sweep"] == pb.COLLECTION_STATE_NOT_COUNTED
    assert (await daemon.warm.changes(after=None, limit=1)).cursor == before
    status = await daemon.admin.GetStatus(pb.GetStatusRequest())
    assert not any(status.cleaned_counts.values())


# ---- its progress and its end


@asynccontextmanager
async def offered(*members: Member) -> AsyncIterator[tuple[Any, Admission]]:
    """An AdminService over these jobs, with a stub."""
    admission = Admission(requests_max=1)
    cleaner = Cleaner([member.worker for member in members], members[0].tally)
    service = AdminService(pb.GetStatusResponse, None, Collections(cleaner, admission))
    async with (
        serving(lambda server: add_AdminServiceServicer_to_server(service, server)) as target,
        grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel,
    ):
        yield AdminServiceStub(channel), admission


@pytest.fixture
def member() -> Member:
    clock = ManualClock()
    return Member(memory(clock), clock)


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the daemon has heard that its caller is gone."""
    heard = asyncio.Event()

    class Watched(collecting._Collection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._given_up = heard

    monkeypatch.setattr(collecting, "_Collection", Watched)
    return heard


async def idle(admission: Admission) -> None:
    """Until the calls that were admitted are over on the daemon's side, too."""
    while admission.in_flight:  # noqa: ASYNC110  # a count that has no signal
        await asyncio.sleep(0)


async def test_progress_is_told_and_everything_once_more_in_the_end(member: Member) -> None:
    await litter(member.ledger, 10)
    async with offered(member) as (admin, _):
        *told, last = await collected(admin)

    counted = [reply.progress.counts["dust"] for reply in told]
    assert counted == sorted(set(counted))
    assert counted[-1] == 10
    assert told[-1].progress.state == pb.COLLECTION_STATE_DONE
    assert list(last.summary.jobs) == [told[-1].progress]
    assert last.summary.counts == {"dust": 10}


async def test_a_caller_that_leaves_ends_it_after_the_step_and_the_job_is_free(
    member: Member, given_up: asyncio.Event
) -> None:
    await litter(member.ledger, 10)
    member.job.hold()
    async with offered(member) as (admin, admission):
        call = admin.CollectGarbage(pb.CollectGarbageRequest())
        reading = asyncio.ensure_future(call.read())
        await member.job.reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await given_up.wait()
        member.job.go_on.set()
        await idle(admission)

        assert await done(member.ledger) == [1] * 3
        assert await member.rounds() == 2
    assert await done(member.ledger) == [1] * 10


async def test_a_deadline_ends_it_likewise(member: Member, given_up: asyncio.Event) -> None:
    await litter(member.ledger, 10)
    member.job.hold()
    async with offered(member) as (admin, admission):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await admin.CollectGarbage(pb.CollectGarbageRequest(), timeout=0.2).read()
        await given_up.wait()
        member.job.go_on.set()
        await idle(admission)

    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert await done(member.ledger) == [1] * 3


async def test_a_drain_ends_it_after_the_step(member: Member) -> None:
    await litter(member.ledger, 10)
    member.job.hold()
    async with offered(member) as (admin, admission):
        call = admin.CollectGarbage(pb.CollectGarbageRequest())
        await member.job.reached.wait()
        drained = asyncio.create_task(admission.drain())
        await asyncio.sleep(0)
        member.job.go_on.set()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await collected(admin)
        await drained

    assert (refusal_of(caught.value).reason, refusal_of(late.value).reason) == ("DRAINING", "DRAINING")
    assert await done(member.ledger) == [1] * 3


async def test_it_counts_as_a_request_under_way(member: Member) -> None:
    await litter(member.ledger, 3)
    member.job.hold()
    async with offered(member) as (admin, _):
        first = asyncio.create_task(collected(admin))
        await member.job.reached.wait()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await collected(admin)
        member.job.go_on.set()
        await first

    assert refusal_of(refused.value).reason == "QUEUE_FULL"


async def test_a_job_that_fails_and_one_that_is_anothers_are_told(member: Member) -> None:
    busy = Member(member.ledger.authority, member.ports.clock)
    owner = Member(member.ledger.authority, member.ports.clock)
    member.job.name = "first"
    member.job.error = ColdUnavailable("gone")
    await litter(member.ledger, 10)
    await owner.worker.round()

    async def owned() -> None:
        while True:
            await owner.worker._turn.renew("x/0002")  # type: ignore[union-attr]  # it is ours
            await asyncio.sleep(0)

    renewing = asyncio.create_task(owned())
    busy.ports.sleep = member.ports.sleep = _quick(member)  # type: ignore[method-assign]  # so that a wait is short
    async with offered(member, busy) as (admin, _):
        *_, last = await collected(admin)
    renewing.cancel()

    failed, held = last.summary.jobs
    assert (failed.job, failed.state, failed.reason, failed.message) == (
        *("first", pb.COLLECTION_STATE_FAILED, ColdUnavailable.default_reason, "gone"),
    )
    assert (held.job, held.state, dict(held.counts)) == (JOB, pb.COLLECTION_STATE_BUSY, {})
    assert busy.job.steps == []


def _quick(member: Member) -> Any:
    """Waiting that moves the clock by a lease's sixth, and lets its owner renew it meanwhile."""

    async def sleep(_: float) -> None:
        member.ports.clock.advance(LEASE_MS // 6)
        for _ in range(10):
            await asyncio.sleep(0)

    return sleep


async def test_a_daemon_that_has_nothing_to_clean_says_so() -> None:
    service = AdminService(pb.GetStatusResponse)
    async with (
        serving(lambda server: add_AdminServiceServicer_to_server(service, server)) as target,
        grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel,
    ):
        [only] = await collected(AdminServiceStub(channel))

    assert only == pb.CollectGarbageResponse(summary=pb.CollectionSummary())


async def test_a_field_of_a_later_release_is_refused(daemon: RunningDaemon) -> None:
    newer = pb.CollectGarbageRequest.FromString(b"\xca\x3e\x03new")

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await daemon.admin.CollectGarbage(newer).read()

    assert refusal_of(refused.value).reason == "FIELD_UNKNOWN"
