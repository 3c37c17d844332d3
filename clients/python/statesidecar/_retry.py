"""Whether, when and for how long a call is tried again. Everything that decides about retries lives here, without a clock.

This is the one layer that retries: gRPC's own retries are off. A write is repeated under its one `request_id`, which makes
the daemon answer what the first delivery did; a write without one is repeated only if nothing can have been written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc

from statesidecar import errors
from statesidecar.errors import StateSidecarError, Unavailable, WriteOutcomeUnknown

_Code = grpc.StatusCode

# Statuses after which the daemon may have received the call, when they come without its ErrorInfo: from the transport, or
# from this client's own timer.
_OUTCOME_OPEN: Final = frozenset(
    {_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED, _Code.CANCELLED, _Code.UNKNOWN, _Code.INTERNAL}
)
# The daemon's definite answers: with the same request id they are about the first delivery as well.
_DEFINITE: Final = frozenset({_Code.ABORTED, _Code.INVALID_ARGUMENT, _Code.FAILED_PRECONDITION, _Code.NOT_FOUND})
# What gRPC says of a call for which it never had a connection. Anything else it may have sent.
_NEVER_CONNECTED: Final = "failed to connect to all addresses"
#: How the message begins of a call that was still waiting to be sent when its stream broke.
NEVER_SENT: Final = "never sent"
_HALVING_FLOOR_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently a call is tried, always within its own timeout."""

    #: Attempts a call, the first included. 1: no retries.
    attempts_max: int = 20
    #: The pause before the n-th retry is drawn from 0 to `backoff_initial_s * 2**(n-1)`, at most `backoff_max_s`.
    backoff_initial_s: float = 0.05
    backoff_max_s: float = 1.0
    #: Of all calls of a client together: a retry has to be earned by so many calls. 0: by none.
    calls_per_retry: int = 10
    #: How many retries can be saved up; a client begins with these.
    retries_saved_max: int = 10

    def __post_init__(self) -> None:
        if self.attempts_max < 1 or not 0 <= self.backoff_initial_s <= self.backoff_max_s:
            raise ValueError("attempts_max >= 1 and 0 <= backoff_initial_s <= backoff_max_s are needed")
        if self.calls_per_retry < 0 or self.retries_saved_max < 0:
            raise ValueError("calls_per_retry >= 0 and retries_saved_max >= 0 are needed")


class RetryBudget:
    """What a client may still retry: a bucket that every call fills a little and every retry takes from. Thread-safe.

    A daemon in trouble then gets a tenth more calls from its clients, not a multiple of them. An attempt that found no
    daemon to connect to is no burden for anybody, and costs nothing: a restart is waited for.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._price = policy.calls_per_retry
        self._full = self._left = policy.calls_per_retry * policy.retries_saved_max
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A call was made."""
        if self._left == self._full:
            return  # As nearly always; who spends at this very moment has one call less to its credit
        with self._lock:
            self._left = min(self._left + 1, self._full)

    def allows(self) -> bool:
        """Whether there is a retry left."""
        return self._left >= self._price

    def spend(self, after: StateSidecarError) -> bool:
        """Takes the retry of an attempt that failed so, if there is one left."""
        if never_sent(after):
            return True
        with self._lock:
            if not self.allows():
                return False
            self._left -= self._price
            return True


def backoff_s(attempt: int, policy: RetryPolicy, random: Callable[[], float]) -> float:
    """The pause after the `attempt`-th attempt (1: the first): exponential, full jitter.

    Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog (2015).
    """
    ceiling = min(policy.backoff_max_s, policy.backoff_initial_s * 2.0 ** min(attempt - 1, 60))
    return random() * ceiling


def attempt_timeout_s(remaining_s: float, *, attempt: int, splits: bool, policy: RetryPolicy) -> float:
    """The time that the `attempt`-th attempt may take.

    A call that `splits` (a write with a request id) leaves half of what remains to its successors: a reply that was lost
    on a connection that stays up is seen only by time running out, and the repetition needs time to learn the truth.
    """
    if not splits or attempt >= policy.attempts_max or remaining_s <= _HALVING_FLOOR_S:
        return remaining_s
    return remaining_s / 2


def never_sent(error: StateSidecarError) -> bool:
    """Whether there was no connection to send it on: no daemon has heard of it."""
    known = (_NEVER_CONNECTED, NEVER_SENT)
    return error.code is _Code.UNAVAILABLE and not error.reason and error.message.startswith(known)


def outcome_open(error: StateSidecarError) -> bool:
    """Whether a write that ended so may have landed."""
    if isinstance(error, WriteOutcomeUnknown):
        return True
    if error.reason or error.code not in _OUTCOME_OPEN:
        return False
    return not never_sent(error)


def repeatable(error: StateSidecarError, *, idempotent: bool) -> bool:
    """Whether the same call, sent again, may do better and cannot do harm."""
    if not idempotent and outcome_open(error):
        return False
    match error.code, error.reason:
        case _Code.UNAVAILABLE, errors.PASSTHROUGH:
            return False  # The daemon knows that its authority is away; whether to wait is the caller's choice
        case _Code.UNAVAILABLE, "AUTHORITY_UNAVAILABLE":
            return isinstance(error, Unavailable) and error.retry_after_s is not None
        case _Code.RESOURCE_EXHAUSTED, reason:
            return reason in {errors.QUEUE_FULL, errors.CLIENT_QUEUE_FULL}
        case ((_Code.UNAVAILABLE | _Code.DEADLINE_EXCEEDED), _):
            return True
        case ((_Code.UNKNOWN | _Code.CANCELLED | _Code.INTERNAL), _):
            return outcome_open(error)
        case _:
            return False


def pause_before_retry_s(
    error: StateSidecarError,
    *,
    attempt: int,
    remaining_s: float,
    idempotent: bool,
    policy: RetryPolicy,
    random: Callable[[], float],
) -> float | None:
    """Seconds to wait before the next attempt, or None: the `attempt`-th (1: the first) was the last.

    Waits at least as long as the daemon asked for, and never into the deadline.
    """
    if attempt >= policy.attempts_max or not repeatable(error, idempotent=idempotent):
        return None
    asked_s: float = getattr(error, "retry_after_s", None) or 0.0
    pause_s = asked_s + backoff_s(attempt, policy, random)
    return pause_s if pause_s < remaining_s else None


def outcome_unknown(error: StateSidecarError, *, open_before: bool) -> bool:
    """Whether a write that ended with `error` has an unknown outcome.

    `open_before`: an earlier attempt may have landed. Then only a definite answer of the daemon is believed, because what
    says that nothing was written says so of its own attempt only. EPOCH_CHANGED is none: what the earlier attempt found
    was another epoch.
    """
    definite = error.code in _DEFINITE and error.reason != errors.EPOCH_CHANGED
    return outcome_open(error) or (open_before and not definite)


def unknown_outcome(last: StateSidecarError, request_id: str) -> WriteOutcomeUnknown:
    """What such a write raises."""
    return WriteOutcomeUnknown(
        errors.WRITE_OUTCOME_UNKNOWN,
        f"the write may or may not have landed; last: {last}",
        metadata=last.metadata,
        code=last.code,
        request_id=request_id,
    )
