"""What GetStatus and /readyz tell of a daemon's parts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.breaker import BreakerState
from sidecar.core.errors import StoreUnavailable
from sidecar.core.limits import Limits
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.policy import PolicyTable
from sidecar.engine.cleaning.tally import Tally
from sidecar.engine.engine import Engine
from sidecar.rpc.calls import Admission
from sidecar.runtime.adapters import Backends
from sidecar.runtime.ports import SystemPorts
from sidecar.runtime.report import Report
from sidecar.runtime.tasks import FollowupQueue
from sidecar.stores.memory import MemoryCache, MemoryStore
from sidecar.tiers.placement import Placement
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1 import types_pb2 as types
from tests.support.clock import START_MS
from tests.support.daemon import settings
from tests.unit.test_metrics import Buffer, Health


@dataclass
class Parts:
    """A report, and the parts that it reads."""

    report: Report
    warm: Placement
    admission: Admission


async def parts(data_dir: Path, **given: Any) -> Parts:
    ports = SystemPorts()
    cache = MemoryCache(bytes_max=1 << 20, identity="a")
    store = MemoryStore(clock=ports.clock)
    warm = Placement(store, tier=Tier.WARM, ports=ports, cache=cache)
    admission = Admission(10)
    report = Report(
        settings(data_dir),
        backends=Backends(cache=cache, warm=store),
        engine=Engine(policies=PolicyTable({}), limits=Limits(), hot=None, warm=warm),
        admission=admission,
        followups=FollowupQueue(10),
        start_time=START_MS,
        **given,
    )
    return Parts(report, warm, admission)


async def test_status_has_the_breaker_before_each_tier(tmp_path: Path) -> None:
    made = await parts(tmp_path)
    hot, warm = made.report.status().tiers
    assert (hot.breaker, warm.breaker) == (pb.BREAKER_STATE_CLOSED, pb.BREAKER_STATE_CLOSED)

    made.warm.guard.trip(StoreUnavailable("refused"))
    hot, warm = made.report.status().tiers
    assert (hot.breaker, warm.breaker) == (pb.BREAKER_STATE_CLOSED, pb.BREAKER_STATE_OPEN)
    assert (warm.state, warm.last_error) == (pb.TIER_STATE_DOWN, "refused")


def test_the_numbers_of_breaker_states_are_those_of_the_proto() -> None:
    assert {f"BREAKER_STATE_{state.name}": state.value for state in BreakerState} == {
        name: number for name, number in pb.BreakerState.items() if number
    }


async def test_status_has_what_the_journal_holds(tmp_path: Path) -> None:
    made = await parts(tmp_path, buffer=Buffer(oldest_time=START_MS + 5))

    status = made.report.status()

    assert (status.journal_depth, status.dead_writes) == (12, 2)
    assert status.journal_oldest_time.ToMilliseconds() == START_MS + 5


@pytest.mark.parametrize("buffer", [None, Buffer(depth=0, oldest_time=None)])
async def test_an_empty_journal_has_no_oldest_write(tmp_path: Path, buffer: Buffer | None) -> None:
    made = await parts(tmp_path, buffer=buffer)

    status = made.report.status()

    assert status.journal_depth == 0
    assert not status.HasField("journal_oldest_time")


async def test_the_mode_is_that_of_the_health_wherever_it_is_told(tmp_path: Path) -> None:
    made = await parts(tmp_path, health=Health())

    assert made.report.mode() is ServingMode.DEGRADED
    assert made.report.status().mode == types.SERVING_MODE_DEGRADED
    assert json.loads(made.report.ready()[1])["mode"] == "DEGRADED"


async def test_ready_tells_mode_tiers_and_journal_and_is_ready_with_tiers_down(tmp_path: Path) -> None:
    made = await parts(tmp_path, buffer=Buffer())
    await made.warm.get_strong("shop", ["key"], deadline=None)
    ready, detail = made.report.ready()
    assert (ready, json.loads(detail)) == (
        True,
        {"mode": "NORMAL", "draining": False, "tiers": {"hot": "unknown", "warm": "up"}, "journal_depth": 12},
    )

    made.warm.guard.trip(StoreUnavailable("refused"))
    ready, detail = made.report.ready()
    assert ready
    assert json.loads(detail)["tiers"] == {"hot": "unknown", "warm": "down"}
    assert json.loads(detail)["mode"] == "DEGRADED"


async def test_draining_is_not_ready(tmp_path: Path) -> None:
    made = await parts(tmp_path)
    made.admission.draining = True

    ready, detail = made.report.ready()

    assert not ready
    assert json.loads(detail)["draining"] is True
    assert json.loads(detail)["journal_depth"] == 0


async def test_status_has_what_was_cleaned(tmp_path: Path) -> None:
    tally = Tally()
    made = await parts(tmp_path, cleaned=tally)
    tally.add({"expired": 5})
    tally.worked(Tier.WARM, "settle", now=START_MS + 5, more=False)
    tally.worked(Tier.WARM, "sweep", now=START_MS, more=True)

    status = made.report.status()

    assert status.cleaned_counts["expired"] == 5
    settle, sweep = status.cleaning
    assert (settle.tier, settle.job, settle.behind) == (types.TIER_WARM, "settle", False)
    assert settle.pass_time.ToMilliseconds() == START_MS + 5
    assert (sweep.behind, sweep.HasField("pass_time")) == (True, False)
