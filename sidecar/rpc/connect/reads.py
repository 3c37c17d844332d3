"""The Gets of a frame: those of one namespace go down the tiers together, and are answered each by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from math import frexp
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.core.entry import Entry
from sidecar.core.errors import DataLoss, DeadlineExceeded, FailedPrecondition, InvalidRequest, SidecarError
from sidecar.core.modes import ServingMode, Tier
from sidecar.engine.followups import Followup
from sidecar.engine.reads import Reads
from sidecar.rpc.calls import Admission
from sidecar.rpc.connect.calls import status_of
from sidecar.rpc.connect.stream import LATE, Answer, Stream
from sidecar.rpc.convert import has_unknown_fields
from sidecar.rpc.measuring import OK, Requests
from sidecar.rpc.status import as_sidecar_error, code_of
from sidecar.tiers.reading import Lookup
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2

if TYPE_CHECKING:
    from sidecar.rpc.connect.calls import CallContext

METHOD = "statesidecar.v1.StateService/Get"
_OF_ONE = (InvalidRequest, FailedPrecondition, DataLoss)
"""Errors of one key, which don't become the others'."""


class _Together(NamedTuple):
    """What reads have to have in common to be one. `patience`: the power of two of the seconds that they have."""

    namespace: str
    strong: bool
    max_schema_version: int
    patience: int


class _Get(NamedTuple):
    """One of a group. `deadline`: by the event loop's clock, in seconds."""

    call: pb.Call
    key: str
    floor: int
    deadline: float


class GetBatches:
    """The Gets of frames."""

    def __init__(
        self, reads: Reads, admission: Admission, requests: Requests, submit: Callable[[Iterable[Followup]], None]
    ) -> None:
        self._reads = reads
        self._admission = admission
        self._requests = requests
        self._submit = submit

    def begin(self, stream: Stream, calls: Sequence[pb.Call]) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to be run, so that all of them are answered."""
        groups: dict[_Together, list[_Get]] = {}
        now = asyncio.get_running_loop().time()
        refused: list[Answer] = []
        for call in calls:
            get = call.get
            consistency = get.consistency
            if consistency > types_pb2.CONSISTENCY_STRONG or has_unknown_fields(call) or has_unknown_fields(get):
                yield stream.one(call, "get")
                continue
            if (watched := self._watched(stream, call)) is not None:
                yield stream.one(call, "get", watched)
                continue
            deadline = stream.deadline(call)
            at = _Together(
                get.namespace,
                consistency == types_pb2.CONSISTENCY_STRONG,
                get.max_schema_version,
                frexp(deadline - now)[1],
            )
            if deadline <= now:
                refused.append(Answer(call.id, "status", LATE, 0))
                continue
            if (error := self._refusal(stream, get)) is not None:
                refused.append(self._failed(call.id, at.namespace, error, 0.0))
                continue
            groups.setdefault(at, []).append(_Get(call, get.key, get.min_version, deadline))
        if refused:
            yield stream.answer(refused)
        for at, group in groups.items():
            yield self._run(stream, at, group)

    def _watched(self, stream: Stream, call: pb.Call) -> CallContext | None:
        """The context of a call that is traced: by itself, so that its spans are its own."""
        if not self._requests.traces:
            return None
        context = stream.context(call, stream.deadline(call))
        context.trace = self._requests.trace("statesidecar.v1.StateService", "Get", context.invocation_metadata())
        return None if context.trace is None else context

    def _refusal(self, stream: Stream, get: pb.GetRequest) -> SidecarError | None:
        try:
            if stream.door is not None:
                stream.door.admit(METHOD, get)
            self._admission.enter()
        except SidecarError as exc:
            return exc
        return None

    async def _run(self, stream: Stream, at: _Together, group: list[_Get]) -> None:
        """Read a group; what is known before the rest is answered before it."""
        began_s = time.perf_counter()
        waiting: list[_Get | None] = [*group]

        def early(lookups: Sequence[Lookup | None]) -> None:
            seconds = time.perf_counter() - began_s
            known = [(index, found) for index, found in enumerate(lookups) if found is not None]
            calls = [group[index].call for index, _ in known]
            for index, _ in known:
                waiting[index] = None
            if known:
                stream.run(self._found(stream, at.namespace, calls, [found for _, found in known], seconds))

        error: SidecarError
        deadline = max(get.deadline for get in group)
        try:
            async with asyncio.timeout_at(deadline):
                read = await self._reads.get(
                    at.namespace,
                    [get.key for get in group],
                    floors=[get.floor for get in group],
                    strong=at.strong,
                    deadline=deadline,
                    max_schema_version=at.max_schema_version,
                    early=early,
                )
        except TimeoutError:
            error = DeadlineExceeded("the caller's time was over")
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            error = as_sidecar_error(exc, "Get")
        else:
            if read.followups:
                self._submit(read.followups)
            lookups = [found for get, found in zip(waiting, read.lookups, strict=True) if get is not None]
            calls = [get.call for get in waiting if get is not None]
            await self._found(stream, at.namespace, calls, lookups, time.perf_counter() - began_s)
            return
        finally:
            self._admission.leave(len(group))
        await self._lost(stream, at.namespace, [get for get in waiting if get is not None], error, began_s)

    async def _found(
        self, stream: Stream, namespace: str, calls: Sequence[pb.Call], lookups: Sequence[Lookup], seconds: float
    ) -> None:
        odd = [found.mode for found in lookups if found.stale_possible or found.tier is Tier.NONE]
        for mode in odd:
            self._requests.answered("Get", namespace, mode, OK, seconds=seconds, count=1)
        if usual := len(lookups) - len(odd):
            self._requests.answered("Get", namespace, ServingMode.NORMAL, OK, seconds=seconds, count=usual)
        sizes = [len(found[0].value) if type(found[0]) is Entry else 0 for found in lookups]
        if stream.door is not None:
            for size in sizes:
                stream.door.charge(size)
        await stream.answer(
            [Answer(call.id, "get", found, size) for call, found, size in zip(calls, lookups, sizes, strict=True)]
        )

    async def _lost(
        self, stream: Stream, namespace: str, gets: Sequence[_Get], error: SidecarError, began_s: float
    ) -> None:
        """What one key has done is not told of the others: each is asked for by itself then."""
        if len(gets) > 1 and isinstance(error, _OF_ONE):
            for get in gets:
                stream.run(stream.one(get.call, "get"))
            return
        seconds = time.perf_counter() - began_s
        await stream.answer([self._failed(get.call.id, namespace, error, seconds) for get in gets])

    def _failed(self, call_id: int, namespace: str, error: SidecarError, seconds: float) -> Answer:
        self._requests.answered("Get", namespace, None, code_of(error).name.lower(), seconds=seconds, count=1)
        return Answer(call_id, "status", status_of(error), 0)
