"""A deletion by prefix that loses its authority on the way: what was deleted is never told as nothing."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.errors import OutcomeUnknown, StoreUnavailable
from sidecar.core.limits import Limits
from sidecar.core.modes import Tier
from sidecar.core.operations import Put
from sidecar.core.policy import PolicyTable
from sidecar.engine import writes
from sidecar.engine.engine import Engine
from sidecar.runtime.ports import SystemPorts
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.placement import Placement
from tests.support.factories import NAMESPACE, request, write
from tests.support.switched import SwitchedStore


class Away(SwitchedStore):
    """A store that answers so many deletions, and then no more until it is back."""

    def __init__(self, store: MemoryStore, *, answers: int) -> None:
        super().__init__(store)
        self.left = answers

    async def delete_prefix(self, *args: Any, **kwargs: Any) -> Any:
        if self.left == 0:
            raise StoreUnavailable("away")
        self.left -= 1
        return await self._store.delete_prefix(*args, **kwargs)


async def engine(monkeypatch: pytest.MonkeyPatch, *, answers: int) -> tuple[Engine, Away]:
    """Five keys, deleted two at a time."""
    monkeypatch.setattr(writes, "PREFIX_BATCH", 2)
    system = SystemPorts()
    store = MemoryStore(clock=system.clock)
    for number in range(5):
        await store.commit(write(Put(key=f"key {number}", value=b"1")))
    away = Away(store, answers=answers)
    warm = Placement(away, tier=Tier.WARM, ports=system)
    return Engine(policies=PolicyTable(), limits=Limits(), hot=None, warm=warm), away


async def test_a_deletion_that_did_nothing_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, _ = await engine(monkeypatch, answers=0)

    with pytest.raises(StoreUnavailable):
        await daemon.writes.delete_prefix(NAMESPACE, "key", all_keys=False, request=None)


async def test_a_deletion_half_way_is_unknown_and_goes_on_under_its_request_id(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, away = await engine(monkeypatch, answers=1)
    with pytest.raises(OutcomeUnknown) as unknown:
        await daemon.writes.delete_prefix(NAMESPACE, "key", all_keys=False, request=request("r"))
    away.left = 10

    done = await daemon.writes.delete_prefix(NAMESPACE, "key", all_keys=False, request=request("r"))

    assert unknown.value.metadata["deleted_count"] == "2"
    assert done.deleted_count == 5
