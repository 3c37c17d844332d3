"""The calls of one Connect stream: what is to be sent, what was, and whose each answer is. No lock, loop, thread or timer.

Frames adapt: whatever was added while the last frame was being written goes into the next one. A call that is alone is
sent at once, and the more there are, the less each costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import grpc

from statesidecar import errors
from statesidecar._retry import NEVER_SENT, never_sent
from statesidecar._status import error_of_status
from statesidecar._tracing import traceparent
from statesidecar.errors import LimitExceeded, StateSidecarError, Unavailable
from statesidecar.v1 import state_service_pb2 as pb

W = TypeVar("W")

#: RPCs that Connect carries, each with its field in Call and in CallResult.
CARRIED: Final = MappingProxyType(
    {
        "Get": "get",
        "Set": "set",
        "CAS": "cas",
        "Delete": "delete",
        "Touch": "touch",
        "Update": "update",
        "BatchGet": "batch_get",
        "List": "list",
        "DeletePrefix": "delete_prefix",
        "Transact": "transact",
        "Checkpoint": "checkpoint",
        "GetCheckpoint": "get_checkpoint",
        "ListCheckpoints": "list_checkpoints",
        "DeleteCheckpoint": "delete_checkpoint",
        "Restore": "restore",
    }
)
#: A larger request goes unary: its copies, and what it would hold up, cost more than the stream gives.
CALL_BYTES_MAX: Final = 256 * 1024
#: Of a frame.
CALLS_MAX: Final = 256
#: Of so many calls half go in a frame, so that this side has something to do while the daemon answers the other half.
HALVED_FROM: Final = 32
FRAME_BYTES_MAX: Final = 1024 * 1024
#: Unanswered calls of a stream.
IN_FLIGHT_MAX: Final = 10_000


class Frames(Generic[W]):
    """The calls of one stream. `W` is what waits for an answer: a future, or whatever the shell wakes.

    Each waiter comes out once: of `came` or `ended`, unless it was given up.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, which only go up."""
        self._clock = clock
        self._last_id = 0
        # By id, in the order in which they were added: field, request, its bytes, deadline, trace, waiter.
        self._unsent: dict[int, tuple[str, Any, int, float, str, W]] = {}
        # By id: field, deadline, waiter.
        self._sent: dict[int, tuple[str, float, W]] = {}
        #: Calls that were answered, each with its own result or status.
        self.answers = 0

    @property
    def waiting(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._unsent)

    @property
    def in_flight(self) -> int:
        """Calls without an answer, sent or not."""
        return len(self._unsent) + len(self._sent)

    def add(self, field: str, request: Any, timeout_s: float, waiter: W) -> int:
        """Queues a call of CARRIED's `field`; its id, or 0: the request is too large for a stream, so call it unary.

        Raises LimitExceeded (CLIENT_QUEUE_FULL) if too many are unanswered.
        """
        size = request.ByteSize()
        if size > CALL_BYTES_MAX:
            return 0
        if len(self._unsent) + len(self._sent) >= IN_FLIGHT_MAX:
            raise LimitExceeded(
                errors.CLIENT_QUEUE_FULL,
                f"{IN_FLIGHT_MAX} calls of this client are unanswered",
                code=grpc.StatusCode.RESOURCE_EXHAUSTED,
            )
        self._last_id = call_id = self._last_id + 1
        self._unsent[call_id] = field, request, size, self._clock() + timeout_s, traceparent(), waiter
        return call_id

    def next_frame(self) -> pb.ConnectRequest | None:
        """What is to be written now, oldest first; None: nothing. Each call says how much of its time is left.

        A call without time left is not sent: its caller gives it up in a moment.
        """
        if not self._unsent:
            return None
        now = self._clock()
        frame = pb.ConnectRequest()
        add = frame.calls.add
        taken: list[int] = []
        calls = total = 0
        most = min(max(HALVED_FROM // 2, (self.in_flight + 1) // 2), CALLS_MAX)
        for call_id, (field, request, size, deadline, trace, waiter) in self._unsent.items():
            if calls == most or (calls and total + size > FRAME_BYTES_MAX):
                break
            taken.append(call_id)
            self._sent[call_id] = field, deadline, waiter
            if deadline <= now:
                continue
            calls += 1
            total += size
            call = add(id=call_id, **{field: request})
            timeout = call.timeout
            left_s = deadline - now
            timeout.seconds = seconds = int(left_s)
            timeout.nanos = int((left_s - seconds) * 1e9)
            if trace:
                call.traceparent = trace
        for call_id in taken:
            del self._unsent[call_id]
        return frame if calls else None

    def came(self, response: pb.ConnectResponse) -> list[tuple[W, Any]]:
        """Who is answered, and with what: a response message, or a StateSidecarError. Results of unknown ids are dropped."""
        answered: list[tuple[W, Any]] = []
        sent = self._sent
        for result in response.results:
            known = sent.pop(result.id, None)
            if known is None:
                continue  # Given up
            field, _, waiter = known
            if result.HasField(field):
                answered.append((waiter, getattr(result, field)))
            else:
                # Without a status, too, it is of a later release: UNKNOWN, so the outcome of a write is open.
                answered.append((waiter, error_of_status(result.status)))
        self.answers += len(answered)
        return answered

    def give_up(self, call_id: int) -> None:
        """Nobody waits for it any more. Unsent, it never is; sent, its answer will be dropped."""
        if self._unsent.pop(call_id, None) is None:
            self._sent.pop(call_id, None)

    def expired(self) -> tuple[list[W], float | None]:
        """Gives up all calls whose time is over: their waiters, and the next moment at which one's will be, by the clock."""
        now = self._clock()
        late: list[W] = []
        soonest: float | None = None
        for calls, at in ((self._unsent, 3), (self._sent, 1)):
            entries: dict[int, Any] = calls
            over = []
            for call_id, entry in entries.items():
                deadline = entry[at]
                if deadline <= now:
                    over.append(call_id)
                elif soonest is None or deadline < soonest:
                    soonest = deadline
            late += [entries.pop(call_id)[-1] for call_id in over]
        return late, soonest

    def ended(self, error: StateSidecarError | None) -> list[tuple[W, StateSidecarError]]:
        """The stream is gone; forgets all. Everyone who waits, with what it means for that call. `error` None: status OK.

        What the daemon itself gave as a reason holds for all that it has not answered (DRAINING, UNAUTHENTICATED): nothing of
        that was executed. After anything else what was sent may have been; what was not sent has never been heard of.
        """
        unsent = [entry[-1] for entry in self._unsent.values()]
        sent = [entry[-1] for entry in self._sent.values()]
        self._unsent, self._sent = {}, {}
        if error is not None and (error.reason or never_sent(error) or (without_connect(error) and not self.answers)):
            # An error each: who raises it hangs a traceback on it.
            return [(waiter, _again(error)) for waiter in [*sent, *unsent]]
        why = "the stream ended" if error is None else f"the stream broke: {error}"
        return [
            *((waiter, _unavailable(why)) for waiter in sent),
            *((waiter, _unavailable(f"{NEVER_SENT}: {why}")) for waiter in unsent),
        ]


def without_connect(error: StateSidecarError) -> bool:
    """Whether a call that ended so came to a daemon that has no Connect, or not for this RPC: it is made unary then."""
    return error.code is grpc.StatusCode.UNIMPLEMENTED and not error.reason


def timed_out(rpc: str) -> StateSidecarError:
    """What a call raises whose own time is over, as gRPC's own timer would."""
    return errors.DeadlineExceeded("", f"{rpc}: Deadline Exceeded", code=grpc.StatusCode.DEADLINE_EXCEEDED)


def _unavailable(message: str) -> StateSidecarError:
    return Unavailable("", message, code=grpc.StatusCode.UNAVAILABLE)


def _again(error: StateSidecarError) -> StateSidecarError:
    again = type(error)(error.reason, error.message, metadata=error.metadata, code=error.code)
    again.__dict__.update(error.__dict__)
    return again
