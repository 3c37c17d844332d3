"""AdminService and OutboxService."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.core.errors import Unsupported
from sidecar.rpc.calls import Context, refuse_unreadable
from sidecar.rpc.status import abort, as_sidecar_error
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1.admin_service_pb2_grpc import AdminServiceServicer
from statesidecar.v1.outbox_service_pb2_grpc import OutboxServiceServicer


class AdminService(AdminServiceServicer):
    """Tells the daemon's state, also while it drains: an operator wants to know most then."""

    def __init__(self, report: Callable[[], pb.GetStatusResponse]) -> None:
        self._report = report

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        try:
            refuse_unreadable(request)
            return self._report()
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "GetStatus"))


class OutboxService(OutboxServiceServicer):
    """All of a later release."""

    async def _missing(self, _request: Any, context: Context) -> None:
        await abort(context, Unsupported("this release has no outbox"))

    Consume = ListDeadLetters = Redrive = _missing
