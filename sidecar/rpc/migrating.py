"""Migrate: a migration in a task of the daemon's own, which ends between two pages when its caller is gone."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from sidecar.core.errors import Draining
from sidecar.engine.schemas.migration import Migration, Migrations, Progress
from sidecar.rpc.calls import Admission, Context
from sidecar.rpc.convert import wire
from statesidecar.v1 import admin_service_pb2 as pb

IDLE_TIMES = 1.0
"""After a page, as long a pause: somebody waits for the migration, and others have work too."""


class MigrationAccess:
    """What the RPC needs of a daemon that has schemas."""

    def __init__(self, migrations: Migrations, admission: Admission) -> None:
        self._migrations = migrations
        self._admission = admission

    async def tell(self, context: Context, request: pb.MigrateRequest) -> None:
        """Migrate, and tell the caller how far it is. Raises DRAINING and QUEUE_FULL, and what the migration raises."""
        self._admission.enter()
        try:
            migration = self._migrations.of(request.namespace, target=request.target_version, dry_run=request.dry_run)
            await _Migrating(migration, self._admission).tell(context)
        finally:
            self._admission.leave()


class _Migrating:
    """One call. A caller that reads slowly hears less often."""

    def __init__(self, migration: Migration, admission: Admission) -> None:
        self._migration = migration
        self._admission = admission
        self._latest: Progress | None = None
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
                    await context.write(_response(latest))
            if not task.result():
                raise Draining("the daemon is stopping: ask another, which goes on from here", retry_after_s=0.5)
        finally:
            self._given_up.set()
            await asyncio.wait({task})

    async def _work(self) -> bool:
        """Whether it came to the end."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        async with aclosing(self._migration.run()) as passing:
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


def _response(progress: Progress) -> pb.MigrateResponse:
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
