"""AdminService."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sidecar.core.errors import OutcomeUnknown, Unavailable
from sidecar.core.journal import DeadWrite
from sidecar.engine.schemas.migration import not_configured
from sidecar.rpc import convert_dead
from sidecar.rpc.calls import Admission, Commits, Context, refuse_unreadable
from sidecar.rpc.collecting import Collections
from sidecar.rpc.migrating import MigrationAccess
from sidecar.rpc.status import abort, as_sidecar_error
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceServicer


class DeadWrites(Protocol):
    """The journal's dead writes, and what an operator may decide about them."""

    def dead(self) -> Sequence[DeadWrite]:
        """All that are kept."""
        ...

    async def redrive(self, sequences: Sequence[int], *, overwrite: bool) -> int:
        """Try them again; how many are not dead any more. `overwrite`: whatever the key is now."""
        ...

    async def discard(self, sequences: Sequence[int]) -> int:
        """Forget them; how many were there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadWriteAccess:
    """What the RPCs about dead writes need of a daemon that has a journal."""

    dead_writes: DeadWrites
    admission: Admission
    commits: Commits


class AdminService(AdminServiceServicer):
    """Tells the daemon's state, also while it drains: an operator wants to know most then."""

    def __init__(
        self,
        report: Callable[[], pb.GetStatusResponse],
        access: DeadWriteAccess | None = None,
        collections: Collections | None = None,
        migrations: MigrationAccess | None = None,
    ) -> None:
        """`access` None: a daemon without a journal, which has no dead writes. `collections` None: it has nothing to clean.
        `migrations` None: no namespace has schemas.
        """
        self._report = report
        self._access = access
        self._collections = collections
        self._migrations = migrations

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        try:
            refuse_unreadable(request)
            return self._report()
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "GetStatus"))

    async def ListDeadWrites(self, request: pb.ListDeadWritesRequest, context: Context) -> pb.ListDeadWritesResponse:
        try:
            refuse_unreadable(request)
            return convert_dead.page(request, self._dead())
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "ListDeadWrites"))

    async def RedriveDeadWrites(
        self, request: pb.RedriveDeadWritesRequest, context: Context
    ) -> pb.RedriveDeadWritesResponse:
        try:
            refuse_unreadable(request)
            overwrite = convert_dead.overwrites(request.resolution)
            chosen = convert_dead.chosen(request, self._dead())
            count = await self._settle(context, chosen, lambda dead: dead.redrive(chosen, overwrite=overwrite))
            return pb.RedriveDeadWritesResponse(redriven_count=count, refused_count=len(chosen) - count)
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "RedriveDeadWrites"))

    async def DiscardDeadWrites(
        self, request: pb.DiscardDeadWritesRequest, context: Context
    ) -> pb.DiscardDeadWritesResponse:
        try:
            refuse_unreadable(request)
            chosen = convert_dead.chosen(request, self._dead())
            count = await self._settle(context, chosen, lambda dead: dead.discard(chosen))
            return pb.DiscardDeadWritesResponse(discarded_count=count)
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "DiscardDeadWrites"))

    async def CollectGarbage(self, request: pb.CollectGarbageRequest, context: Context) -> None:
        try:
            refuse_unreadable(request)
            if self._collections is None:
                await context.write(pb.CollectGarbageResponse(summary=pb.CollectionSummary()))
            else:
                await self._collections.tell(context, dry_run=request.dry_run)
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "CollectGarbage"))

    async def Migrate(self, request: pb.MigrateRequest, context: Context) -> None:
        try:
            refuse_unreadable(request)
            await self._migration_access(request).migrate(context, request)
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "Migrate"))

    async def Reseal(self, request: pb.ResealRequest, context: Context) -> None:
        try:
            refuse_unreadable(request)
            await self._migration_access(request).reseal(context, request)
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "Reseal"))

    def _migration_access(self, request: pb.MigrateRequest | pb.ResealRequest) -> MigrationAccess:
        if self._migrations is None:
            raise not_configured(request.namespace)
        return self._migrations

    def _dead(self) -> Sequence[DeadWrite]:
        return () if self._access is None else self._access.dead_writes.dead()

    async def _settle(
        self, context: Context, chosen: Sequence[int], settle: Callable[[DeadWrites], Coroutine[Any, Any, int]]
    ) -> int:
        """As a write: admitted, and finished also when its caller is gone."""
        if self._access is None or not chosen:
            return 0
        access = self._access
        access.admission.enter()
        try:
            return await access.commits.run(context, lambda _: settle(access.dead_writes))
        except Unavailable as exc:
            left = {dead.buffered.sequence for dead in access.dead_writes.dead()}
            if not (settled := len(set(chosen) - left)):
                raise
            # UNAVAILABLE would say that nothing was done.
            raise OutcomeUnknown(
                f"{settled} of {len(chosen)} dead writes were settled, the others not ({exc.message}): list them"
            ) from exc
        except OutcomeUnknown as exc:
            raise OutcomeUnknown(
                f"{len(chosen)} dead writes were being settled when the time ran out: list them to see which are left",
                timed_out=exc.timed_out,
            ) from exc
        finally:
            access.admission.leave()
