"""Migrate and Reseal: work in a task of the daemon's own, which ends between two pages when its caller is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message

from sidecar.core.errors import Draining
from sidecar.engine import resealing
from sidecar.engine.cleaning.progress import State
from sidecar.engine.schemas import migration
from sidecar.rpc.calls import Admission, Context
from sidecar.rpc.convert import wire
from statesidecar.v1 import admin_service_pb2 as pb

IDLE_TIMES = 1.0
"""After a page, as long a pause: somebody waits for the work, and others have some too."""


class Told(Protocol):
    """How far it is."""

    @property
    def state(self) -> State:
        """Where it is."""
        ...


P = TypeVar("P", bound=Told)


class MigrationAccess:
    """What the RPCs need of a daemon that has schemas, or keys."""

    def __init__(
        self, migrations: migration.Migrations, resealings: resealing.Resealings, admission: Admission
    ) -> None:
        self._migrations = migrations
        self._resealings = resealings
        self._admission = admission

    async def migrate(self, context: Context, request: pb.MigrateRequest) -> None:
        """Migrate, and tell the caller how far it is. Raises DRAINING and QUEUE_FULL, and what the migration raises."""
        asked = self._migrations.of(request.namespace, target=request.target_version, dry_run=request.dry_run)
        await self._tell(context, asked.run, _migrated)

    async def reseal(self, context: Context, request: pb.ResealRequest) -> None:
        """Seal anew, and tell the caller how far it is. Raises DRAINING and QUEUE_FULL, and what sealing raises."""
        asked = self._resealings.of(request.namespace, dry_run=request.dry_run)
        await self._tell(context, asked.run, _resealed)

    async def _tell(
        self, context: Context, run: Callable[[], AsyncGenerator[P, None]], told: Callable[[P], Message]
    ) -> None:
        self._admission.enter()
        try:
            await _Working(run, told, self._admission).tell(context)
        finally:
            self._admission.leave()


class _Working(Generic[P]):
    """One call. A caller that reads slowly hears less often."""

    def __init__(
        self, run: Callable[[], AsyncGenerator[P, None]], told: Callable[[P], Message], admission: Admission
    ) -> None:
        self._run = run
        self._told = told
        self._admission = admission
        self._latest: P | None = None
        self._wake = asyncio.Event()
        self._given_up = asyncio.Event()

    async def tell(self, context: Context) -> None:
        task = asyncio.get_running_loop().create_task(self._work())
        task.add_done_callback(lambda _: self._wake.set())
        try:
            while not task.done() or self._latest is not None:
                await self._wake.wait()
                self._wake.clear()
                latest, self._latest = self._latest, None
                if latest is not None:
                    await context.write(self._told(latest))
            if not task.result():
                raise Draining("the daemon is stopping: ask another, which goes on from here", retry_after_s=0.5)
        finally:
            self._given_up.set()
            await asyncio.wait({task})

    async def _work(self) -> bool:
        """Whether it came to the end."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        async with aclosing(self._run()) as passing:
            async for progress in passing:
                self._latest = progress
                self._wake.set()
                if progress.state.ended:
                    continue
                await self._pause((clock() - began_s) * IDLE_TIMES)
                if self._given_up.is_set() or self._admission.draining:
                    return False
                began_s = clock()
        return True

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._given_up.wait()
        except TimeoutError:
            pass


def _migrated(progress: migration.Progress) -> pb.MigrateResponse:
    return pb.MigrateResponse(
        state=wire(progress.state),
        scanned_count=progress.scanned,
        migrated_count=progress.migrated,
        failed_count=progress.failed,
        total_count=progress.total,
        target_version=progress.target,
        remaining_count=progress.remaining,
        failures=[pb.MigrationFailure(key=failure.key, message=failure.message) for failure in progress.failures],
    )


def _resealed(progress: resealing.Progress) -> pb.ResealResponse:
    return pb.ResealResponse(
        state=wire(progress.state),
        scanned_count=progress.scanned,
        resealed_count=progress.resealed,
        failed_count=progress.failed,
        remaining_count=progress.remaining,
        failures=[pb.MigrationFailure(key=key, message=message) for key, message in progress.failures],
    )
