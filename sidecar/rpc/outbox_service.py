"""OutboxService: consumers' streams, and what an operator does about dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sidecar.core.errors import DeadlineExceeded, FailedPrecondition, OutcomeUnknown, Unsupported
from sidecar.core.sinks import Sink
from sidecar.engine.namespaces import Namespaces
from sidecar.engine.outbox.letters import DeadLetters
from sidecar.rpc import convert_outbox
from sidecar.rpc.calls import Admission, Commits, Context, patience, refuse_unreadable
from sidecar.rpc.consuming import Consumer, Consumption
from sidecar.rpc.status import abort, as_sidecar_error
from sidecar.tiers.placement import Placement
from statesidecar.v1 import outbox_service_pb2 as pb
from statesidecar.v1.outbox_service_pb2_grpc import OutboxServiceServicer


class Outbox(Protocol):
    """What delivers the messages of an authority."""

    def has_sink(self, namespace: str) -> bool:
        """Whether a namespace's messages go to a sink that is configured."""
        ...

    def consume(self, namespace: str, topics: frozenset[str], sink: Sink, in_flight_max: int) -> Consumer:
        """A member of the group that consumes these topics (none: all) of a namespace."""
        ...

    def dead_letters(self, namespace: str) -> DeadLetters:
        """Those of a namespace, among others."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxAccess:
    """What the RPCs need of a daemon. `outbox_of`: that of an authority which keeps messages."""

    outbox_of: Callable[[Placement], Outbox]
    namespaces: Namespaces
    admission: Admission
    commits: Commits
    read_timeout_s: float

    def outbox(self, namespace: str) -> Outbox:
        """NAMESPACE_INVALID, PASSTHROUGH without an authority, CAPABILITY_MISSING where it can't keep messages."""
        return self.outbox_of(self.namespaces.of(namespace).outbox_authority())


class OutboxService(OutboxServiceServicer):
    """The RPCs of statesidecar.v1.OutboxService."""

    def __init__(self, access: OutboxAccess | None = None) -> None:
        """`access` None: a daemon that delivers nothing."""
        self._given = access

    @property
    def _access(self) -> OutboxAccess:
        if self._given is None:
            raise Unsupported("this daemon has no outbox")
        return self._given

    async def Consume(self, _requests: object, context: Context) -> None:
        try:
            access = self._access
            access.admission.enter_stream()
            try:
                await self._consume(access, context)
            finally:
                access.admission.leave_stream()
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "Consume"))

    async def _consume(self, access: OutboxAccess, context: Context) -> None:
        consumption = Consumption(context, access.admission)
        first = await consumption.first()
        outbox = access.outbox(first.namespace)
        if outbox.has_sink(first.namespace):
            raise FailedPrecondition(
                "this namespace's messages go to its sink: nobody else can consume them", reason="OUTBOX_HAS_SINK"
            )
        window = first.in_flight_max or convert_outbox.WINDOW_DEFAULT
        await consumption.run(outbox.consume(first.namespace, frozenset(first.topics), consumption, window))

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        try:
            access = self._access
            access.admission.enter()
            try:
                refuse_unreadable(request)
                letters = access.outbox(request.namespace).dead_letters(request.namespace)
                limit, after = convert_outbox.page_size(request), convert_outbox.after(request)
                async with asyncio.timeout(patience(context, access.read_timeout_s)):
                    page = await letters.list(request.namespace, after=after, limit=limit)
                return convert_outbox.dead_letters(request.namespace, page)
            except TimeoutError as exc:
                raise DeadlineExceeded("the time ran out before the dead letters were read") from exc
            finally:
                access.admission.leave()
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "ListDeadLetters"))

    async def Redrive(self, request: pb.RedriveRequest, context: Context) -> pb.RedriveResponse:
        try:
            access = self._access
            access.admission.enter()
            try:
                refuse_unreadable(request)
                letters = access.outbox(request.namespace).dead_letters(request.namespace)
                ids = convert_outbox.named(request)
                count = await access.commits.run(context, lambda _: letters.redrive(request.namespace, ids))
                return pb.RedriveResponse(redriven_count=count)
            except OutcomeUnknown as exc:
                raise OutcomeUnknown(
                    "some of the dead letters may be in the queue again: list them to see which are left, or repeat it",
                    timed_out=exc.timed_out,
                ) from exc
            finally:
                access.admission.leave()
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "Redrive"))
