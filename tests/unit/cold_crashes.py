"""A daemon that dies at a place of its code, in this process, with writers, readers, archive and collection under way.

Everything is one seed's: the order in which the actors' calls to the store and the files are made, and where the clock
moves. A crash is an exception that nothing catches; from then on no call of that daemon reaches anything.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from sidecar.core.entry import Entry
from sidecar.core.errors import ColdUnavailable
from sidecar.core.failpoints import armed
from sidecar.core.operations import Append, Change, Operation, Put, Remove
from sidecar.stores.files import FileBlobs
from sidecar.stores.memory import MemoryStore
from sidecar.tiers.archive import Archive
from sidecar.tiers.blob_jobs import GRACE_MS
from sidecar.tiers.cold import is_away, pointer_at
from tests.support.clock import ManualClock
from tests.support.confined import confine, confined
from tests.support.factories import NAMESPACE
from tests.support.switched import VERBS
from tests.unit.cold_support import LARGE, Deployment, done

WRITERS, KEYS = 3, 2
OPERATIONS_MAX = 400
"""Of a writer, if the place isn't reached before."""

T = TypeVar("T")


class Crash(BaseException):
    """The end of a daemon."""


class Failed(Exception):
    """A promise that was not kept."""


@dataclass
class Key:
    """What a key may be: the states that its one writer wrote, of which the last acknowledged is at `acked`."""

    states: list[list[Any] | None] = field(default_factory=lambda: [None])
    acked: int = 0

    def may_be(self, value: bytes | None, since: int) -> bool:
        return (None if value is None else json.loads(value)) in self.states[since:]


class World:
    """What outlives a daemon: the store, the files, the time. And what its writers were told."""

    def __init__(self, seed: int, root: Path) -> None:
        self.random = Random(seed)
        self.root = root
        self.clock = ManualClock()
        self.truth = MemoryStore(clock=self.clock)
        self.keys = {f"{writer}/{n}": Key() for writer in range(WRITERS) for n in range(KEYS)}
        self.dead = False
        self.putting = 0
        self.counts: Counter[str] = Counter()

    async def turn(self) -> None:
        """Let others go first, as it comes."""
        for _ in range(self.random.randrange(3)):
            await asyncio.sleep(0)
        if self.dead:
            raise Crash

    def jump(self) -> None:
        """So much time passes that a record is not young any more, but not while an object is on its way."""
        if not self.putting:
            self.clock.set_back(-GRACE_MS - 1)  # of the authority's time only: no call took so long

    @contextmanager
    def dying(self, point: str, nth: int) -> Iterator[None]:
        """The daemon dies when it comes to a place for the nth time."""

        def effect(name: str) -> Callable[[], None]:
            def reached() -> None:
                if self.dead:
                    raise Crash
                self.counts[name] += 1
                self.putting += {"blob.record.after": 1, "blob.put.after": -1}.get(name, 0)
                if name == point and self.counts[name] == nth:
                    self.dead = True
                    raise Crash
                if name == "large.commit.before" and self.random.random() < 0.2:
                    self.jump()

            return confined(reached)

        confine()
        for name in {point, "blob.record.after", "blob.put.after", "large.commit.before"}:
            armed[name] = effect(name)
        try:
            yield
        finally:
            armed.clear()


class Shuffled:
    """Forwards to a store, or to a cache, each call at its time."""

    def __init__(self, backend: Any, world: World) -> None:
        self._backend, self._world = backend, world

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._backend, name)
        if name not in VERBS:
            return attribute

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._world.turn()
            answer = await attribute(*args, **kwargs)
            await self._world.turn()
            return answer

        return call


class ShuffledFiles(FileBlobs):
    """Files, each call at its time and in this thread."""

    def __init__(self, world: World) -> None:
        super().__init__(world.root)
        self._world = world

    async def _call(self, function: Callable[[], T]) -> T:
        await self._world.turn()
        answer = function()
        await self._world.turn()
        return answer


class Daemon(Deployment):
    """One incarnation."""

    def __init__(self, world: World) -> None:
        super().__init__(
            world.root,
            store=world.truth,
            clock=world.clock,
            files=ShuffledFiles(world),
            link=lambda store: Shuffled(store, world),
        )
        self.archive = Archive(self.placement, self.cold, lambda: {NAMESPACE: -1})


# ---- actors


async def write_all_the_time(world: World, daemon: Daemon, writer: int) -> None:
    for n in range(OPERATIONS_MAX):
        name = f"{writer}/{world.random.randrange(KEYS)}"
        key, mark = world.keys[name], f"{writer}.{n}"
        operation, state = operation_of(world.random, name, key.states[key.acked], mark)
        key.states.append(state)
        began = len(key.states) - 1
        try:
            await daemon.commit(operation, value_bytes_max=1 << 20)
        except ColdUnavailable:
            world.counts["refused"] += 1
            key.states[began] = key.states[key.acked]  # nothing was written
        else:
            world.counts["written"] += 1
        key.acked = began
        for _ in range(world.random.randrange(20)):
            await world.turn()


def operation_of(random: Random, key: str, now: list[Any] | None, mark: str) -> tuple[Operation, list[Any] | None]:
    """What a writer does, and what that makes of the state."""
    kind = random.random()
    if kind < 0.1:
        return Remove(key=key), None
    if kind < 0.25:
        return Change(key=key, change=Append(items=(mark,)), create=True), [*(now or []), mark]
    size = random.choice([10, 700, 1_500, LARGE + 500, 3 * LARGE])
    state = [mark, "x" * size]
    return Put(key=key, value=json.dumps(state).encode()), state


async def read_all_the_time(world: World, daemon: Daemon) -> None:
    while True:
        name = world.random.choice(list(world.keys))
        key = world.keys[name]
        since = key.acked
        value = await daemon.value(name, strong=world.random.random() < 0.3)
        if not key.may_be(value, since):
            raise Failed(f"{name} was read as {value!r:.60}, which it was not")
        await world.turn()


async def clean_all_the_time(world: World, daemon: Daemon) -> None:
    while True:
        if world.random.random() < 0.5:
            while world.putting:
                await world.turn()
            world.jump()
        job = daemon.archive if world.random.random() < 0.6 else daemon.collection
        for kind, number in (await done(job, limit=world.random.randrange(1, 9))).items():
            world.counts[kind] += number
        await world.turn()


# ---- a run


async def until_crash(world: World, daemon: Daemon) -> None:
    """Have everybody do what they do until the daemon is dead, or every writer has written all."""
    loop = asyncio.get_running_loop()
    writers = [loop.create_task(write_all_the_time(world, daemon, writer)) for writer in range(WRITERS)]
    others = [loop.create_task(actor(world, daemon)) for actor in (*[read_all_the_time] * 2, *[clean_all_the_time] * 2)]
    waiting: set[asyncio.Task[None]] = {*writers, *others}
    while not world.dead and any(not writer.done() for writer in writers):
        ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if any(task.exception() for task in ended):
            break
    for task in waiting:
        task.cancel()
    for end in await asyncio.gather(*writers, *others, return_exceptions=True):
        if isinstance(end, BaseException) and not isinstance(end, Crash | asyncio.CancelledError):
            raise end


async def check(world: World, daemon: Daemon) -> None:
    """After two collections every key is what it was said to be, and nothing is in cold that no key has."""
    for _ in range(2):
        world.putting = 0
        world.jump()
        await done(daemon.collection)
    rows = {name: await daemon.row(name) for name in world.keys}
    named = {pointer_at(row).blob for row in rows.values() if isinstance(row, Entry) and is_away(row)}
    if (stored := set(await daemon.stored())) != named:
        raise Failed(f"{len(stored - named)} orphans, {len(named - stored)} pointers to nothing")
    if (records := set(await daemon.records())) != named:
        raise Failed(f"{len(records - named)} records without a blob, {len(named - records)} blobs without a record")
    for name, key in world.keys.items():
        if not key.may_be(await daemon.value(name, strong=True), key.acked):
            raise Failed(f"{name} is not what was acknowledged, nor what was under way")


async def crash(seed: int, root: Path, point: str, make: Callable[[World], Daemon] = Daemon) -> World:
    """Run, die at the place, start again, look."""
    world = World(seed, root)
    daemon = make(world)
    await daemon.blobs.open()
    with world.dying(point, world.random.randrange(1, 4 if point.startswith("wake") else 9)):
        await until_crash(world, daemon)
    crashed, world.dead = world.dead, False
    await check(world, make(world))
    world.counts["crashed"] = crashed
    return world
