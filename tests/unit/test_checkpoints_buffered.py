"""Checkpoints of namespaces whose writes are kept through an outage: none is made, read or restored without the authority."""

from __future__ import annotations

import pytest

from sidecar.core.errors import StoreUnavailable
from sidecar.core.operations import Put
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.unit.buffering_support import LAST, Sidecar


@pytest.fixture
async def sidecar() -> Sidecar:
    clock = ManualClock()
    return await Sidecar(MemoryStore(clock=clock), clock).start()


async def put(sidecar: Sidecar, key: str, value: bytes) -> None:
    await sidecar.engine.writes.write(LAST, (Put(key=key, value=value),), needs_authority=False)


async def values(sidecar: Sidecar, checkpoint: str) -> dict[str, bytes]:
    snapshot = await sidecar.engine.checkpoints.get(LAST, checkpoint)
    return {entry.key: entry.value for entry in snapshot.entries}


async def test_what_waits_for_the_authority_is_in_the_next_checkpoint(sidecar: Sidecar) -> None:
    checkpoints = sidecar.engine.checkpoints
    await put(sidecar, "p/k", b"before")
    sidecar.link.cut = True
    await put(sidecar, "p/k", b"buffered")
    for call in (checkpoints.take(LAST, key="p/k"), checkpoints.take(LAST, key_prefix="p/")):
        with pytest.raises(StoreUnavailable):
            await call

    sidecar.link.cut = False
    while not sidecar.placement.guard.passes:
        sidecar.ports.clock.advance(1_000)
        await sidecar.placement.guard.probe()
    of_key = await checkpoints.take(LAST, key="p/k")
    of_prefix = await checkpoints.take(LAST, key_prefix="p/")

    assert await values(sidecar, of_key.checkpoint_id) == {"p/k": b"buffered"}
    assert await values(sidecar, of_prefix.checkpoint_id) == {"p/k": b"buffered"}


async def test_a_restore_is_never_kept_for_later(sidecar: Sidecar) -> None:
    await put(sidecar, "k", b"before")
    await sidecar.engine.checkpoints.take(LAST, key="k")
    await put(sidecar, "k", b"after")
    sidecar.link.cut = True

    with pytest.raises(StoreUnavailable):
        await sidecar.engine.checkpoints.restore(LAST, key="k")

    assert sidecar.replay.depth == 0


async def test_a_restore_comes_after_what_was_kept_before_it(sidecar: Sidecar) -> None:
    await put(sidecar, "p/k", b"before")
    made = await sidecar.engine.checkpoints.take(LAST, key_prefix="p/")
    sidecar.link.cut = True
    await put(sidecar, "p/k", b"buffered")
    await put(sidecar, "p/new", b"buffered")
    sidecar.link.cut = False
    while not sidecar.placement.guard.passes:
        sidecar.ports.clock.advance(1_000)
        await sidecar.placement.guard.probe()

    await sidecar.engine.checkpoints.restore(LAST, checkpoint_id=made.checkpoint_id)

    assert sidecar.replay.depth == 0
    found = (await sidecar.placement.get_strong(LAST, ["p/k", "p/new"], deadline=None)).lookups
    assert [None if lookup.entry is None else lookup.entry.value for lookup in found] == [b"before", None]
