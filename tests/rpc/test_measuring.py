"""What is measured of an RPC: once each, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
import pytest

from sidecar.core.errors import LimitExceeded, VersionConflict
from sidecar.core.modes import ServingMode, Tier
from sidecar.core.tracing import TRACE, Destination, Trace
from sidecar.rpc import status
from sidecar.rpc.calls import Malformed
from sidecar.rpc.measuring import Requests, Series
from statesidecar.v1 import admin_service_pb2, state_service_pb2, types_pb2


class Context:
    """As much of gRPC's as is asked."""

    def __init__(self, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._metadata = metadata
        self._code: Any = 0

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> Any:
        return self._code

    async def abort(self, *_: object, **__: object) -> None:
        raise grpc.aio.AbortError


class Watched:
    """A trace that remembers."""

    trace_id, span_id, traceparent = "a" * 32, "b" * 16, ""
    ended = False

    def __init__(self) -> None:
        self.ends: list[tuple[str, BaseException | None, Mapping[str, str]]] = []

    def operation(self, tier: Tier, name: str) -> Any:
        raise AssertionError((tier, name))

    def end(self, code: str, error: BaseException | None, labels: Mapping[str, str]) -> None:
        self.ends.append((code, error, labels))


class Watcher:
    """Watches who asks for it."""

    def __init__(self) -> None:
        self.traces: list[Watched] = []
        self.asked: list[tuple[str, str]] = []

    def request(self, service: str, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Trace | None:
        self.asked.append((service, method))
        if ("watch", "me") not in metadata:
            return None
        self.traces.append(Watched())
        return self.traces[-1]

    def delivery(self, traceparent: str, to: Destination, message_id: str, attempt: int) -> None:
        raise AssertionError(message_id)


def requests(tracer: Watcher | None = None) -> Requests:
    return Requests(kind_of={"s": "session"}.get, mode=lambda: ServingMode.DEGRADED, tracer=tracer)  # type: ignore[arg-type]


async def replies(request: Any, context: Any) -> Any:
    return state_service_pb2.GetResponse(mode=types_pb2.SERVING_MODE_NORMAL, served_by=types_pb2.TIER_HOT)


async def conflicts(request: Any, context: Any) -> None:
    try:
        raise VersionConflict(key="k", expected_version=1, current_version=2)  # noqa: TRY301  # as a handler does
    except VersionConflict as exc:
        await status.abort(context, exc)


async def is_full(request: Any, context: Any) -> None:
    await status.abort(context, LimitExceeded("full"))


async def breaks(request: Any, context: Any) -> None:
    raise ZeroDivisionError


async def called(behaviour: Any, *metadata: tuple[str, str]) -> Any:
    return await behaviour(ASKED, Context(metadata))


ASKED = state_service_pb2.GetRequest(namespace="s", key="k")


@pytest.mark.parametrize(
    ("behaviour", "request_", "series"),
    [
        (replies, ASKED, Series("Get", "session", "normal", "ok")),
        (conflicts, ASKED, Series("Get", "session", "degraded", "aborted")),
        (is_full, ASKED, Series("Get", "session", "degraded", "resource_exhausted")),
        (breaks, ASKED, Series("Get", "session", "degraded", "unknown")),
        (replies, admin_service_pb2.GetStatusRequest(), Series("Get", "none", "normal", "ok")),
        (is_full, Malformed(), Series("Get", "none", "degraded", "resource_exhausted")),
    ],
)
async def test_each_call_is_one_of_its_series(behaviour: Any, request_: Any, series: Series) -> None:
    subject = requests()
    call = subject.unary("service", "Get", behaviour)

    for _ in range(3):
        await asyncio.gather(call(request_, Context()), return_exceptions=True)  # type: ignore[arg-type]

    assert {at: histogram.distribution().count for at, histogram in subject.durations.items()} == {series: 3}
    assert {at: recent.count for at, recent in subject.last_minute.distributions().items()} == {series: 3}


async def test_a_caller_that_goes_away_is_counted_as_such() -> None:
    subject, entered = requests(), asyncio.Event()

    async def waits(request: Any, context: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    task: asyncio.Task[Any] = asyncio.create_task(called(subject.unary("service", "Get", waits)))
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert set(subject.durations) == {Series("Get", "session", "degraded", "cancelled")}


async def test_who_is_watched_is_so_below_and_others_are_not() -> None:
    tracer = Watcher()
    seen: list[object] = []

    async def looks(request: Any, context: Any) -> Any:
        seen.append(TRACE.get())
        return await replies(request, context)

    subject = requests(tracer)
    call = subject.unary("package.Service", "Get", looks)
    await asyncio.create_task(called(call, ("watch", "me")))
    await asyncio.create_task(called(call))

    assert seen == [tracer.traces[0], None]
    assert tracer.asked == [("package.Service", "Get")] * 2
    assert tracer.traces[0].ends == [("OK", None, {"namespace.kind": "session", "mode": "normal", "tier": "hot"})]
    [histogram] = subject.durations.values()
    [exemplar] = histogram.distribution().exemplars.values()
    assert (exemplar.trace_id, exemplar.span_id) == ("a" * 32, "b" * 16)


async def test_a_trace_hears_of_the_error() -> None:
    tracer = Watcher()
    call = requests(tracer).unary("package.Service", "CAS", conflicts)

    with pytest.raises(grpc.aio.AbortError):
        await called(call, ("watch", "me"))

    [(code, error, _)] = tracer.traces[0].ends
    assert code == "ABORTED"
    assert error is not None
    assert isinstance(error.__context__, VersionConflict)


async def test_streams_are_counted_while_they_are_open() -> None:
    subject, end = requests(), asyncio.Event()

    async def streams(request: Any, context: Any) -> None:
        await end.wait()
        raise ZeroDivisionError

    tasks = [asyncio.create_task(called(subject.streaming("Watch", streams))) for _ in range(3)]
    await asyncio.sleep(0)
    assert subject.open_streams == {"Watch": 3}

    end.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert subject.open_streams == {"Watch": 0}
