"""A write and a migration of the same entry at the same time: a version says nothing about the schema it is stored in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.core.limits import Limits
from sidecar.core.operations import Put, Write
from sidecar.core.policy import PolicyTable
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.schemas.writing import SchemaWriting
from sidecar.stores.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.unit.schemas_support import SPACE, Sidecar

FULL = {"person": {"name": "n"}, "two": 22, "three": 33}


class Stale:
    """What a daemon believes that has not looked yet."""

    def __init__(self, floor: int) -> None:
        self._floor = floor

    def floor(self, namespace: str) -> int:
        return self._floor


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2), (1, 3), (2, 1)])
@pytest.mark.parametrize("schema", [1, 2])
async def test_what_a_writer_does_not_know_stays_where_the_entry_is_migrated_meanwhile(
    before: int, after: int, schema: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    three = Sidecar(MemoryStore(clock=clock), clock, 3)
    await three.fleet.look()
    await three.put("a", FULL, 3)
    await three.migrate(target=before)
    placement, commit = three.placement, three.placement.commit
    migrated: list[Any] = []

    async def after_a_migration(write: Write) -> Any:
        if not migrated and write.operations[0].key == "a":
            migrated.append(await three.migrate(target=after))
        return await commit(write)

    monkeypatch.setattr(placement, "commit", after_a_migration)
    space = Namespaces(PolicyTable(), Limits(), hot=None, warm=placement, schemas={SPACE: three.known}).of(SPACE)
    document = {"name": "new"} if schema == 1 else {"full_name": "new", "two": 23}
    put = Put(key="a", value=json.dumps(document).encode(), schema_version=schema)
    write = Write(namespace=SPACE, operations=(put,), value_bytes_max=1 << 20)

    await SchemaWriting(Stale(before)).commit(space, placement, write)

    [done] = migrated
    assert done.migrated == 1
    assert await three.document("a") == FULL | {"person": {"name": "new"}, "two": 22 if schema == 1 else 23}
