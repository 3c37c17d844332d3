"""Sends one request until it is answered or may not be sent again, within its deadline; and remembers versions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Any, Final

from statesidecar import _requests, errors
from statesidecar._credentials import Renewal, Token
from statesidecar._effects import Attempt, Pause, Plan
from statesidecar._floors import Floors
from statesidecar._following import Following
from statesidecar._retry import (
    RetryBudget,
    RetryPolicy,
    attempt_timeout_s,
    outcome_open,
    outcome_unknown,
    pause_before_retry_s,
    unknown_outcome,
)
from statesidecar.errors import DeadlineExceeded, FailedPrecondition, NotFound, StateSidecarError, VersionConflict
from statesidecar.types import Consistency
from statesidecar.v1 import state_service_pb2 as pb

_RANDOM: Final = SystemRandom()


class Sender:
    """What the calls of one client share."""

    def __init__(
        self,
        timeout_s: float,
        retry: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _RANDOM.random,
        token: Token | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._retry = retry
        self._budget = RetryBudget(retry)
        self._clock = clock
        self.random = random
        self.token = token
        self.floors = Floors()

    def following(self, request: Any) -> Following:
        """What a watch remembers between its streams."""
        return Following(request, self._retry, self.random, self.token)

    def _floor(self, namespace: str, key: str, consistency: Consistency) -> int:
        return 0 if consistency is Consistency.STRONG else self.floors.get(namespace, key)

    def _deadline(self, timeout_s: float | None) -> float:
        return self._clock() + (self._timeout_s if timeout_s is None else timeout_s)

    def _batch(
        self,
        namespace: str,
        names: Sequence[str],
        consistency: Consistency,
        max_schema_version: int,
        deadline: float,
        *,
        packed: bool,
    ) -> Plan[pb.BatchGetResponse]:
        floors = [] if consistency is Consistency.STRONG else self.floors.get_all(namespace, names)
        try:
            request = _requests.batch_get(namespace, names, consistency, floors, max_schema_version, packed=packed)
            reply: pb.BatchGetResponse = yield from self._send("BatchGet", request, deadline)
        except FailedPrecondition as error:
            if error.reason != errors.EPOCH_CHANGED:
                raise
            for key in names:
                self.floors.forget(namespace, key)
            request = _requests.batch_get(namespace, names, consistency, [], max_schema_version, packed=packed)
            reply = yield from self._send("BatchGet", request, deadline)
        return reply

    def _write(self, rpc: str, request: Any, timeout_s: float | None) -> Plan[Any]:
        try:
            return (yield from self._send(rpc, request, self._deadline(timeout_s), request_id=request.request_id))
        except VersionConflict as conflict:
            # The next CACHED read has to see what this write lost to.
            self.floors.observe(request.namespace, conflict.key, conflict.current_version or 0)
            raise
        except FailedPrecondition as error:
            if error.reason == errors.EPOCH_CHANGED and rpc in {"CAS", "Delete", "Restore"}:
                self.floors.forget(request.namespace, request.key)
            raise

    def _send(
        self, rpc: str, request: Any, deadline: float, *, request_id: str | None = None, deletes: bool = False
    ) -> Plan[Any]:
        """Sends a request until it is answered or may not be sent again. `request_id` None: not a write.

        `deletes`: repeated, it does no harm, and finds what its first delivery deleted not to be there; it answers None
        then.
        """
        idempotent = deletes or request_id != ""
        maybe_landed = False
        attempt = 0
        self._budget.earn()
        renewal = None if self.token is None else Renewal(self.token)
        while True:
            attempt += 1
            if renewal is not None:
                renewal.begins()
            remaining_s = deadline - self._clock()
            splits = bool(request_id) and self._budget.allows()
            try:
                if remaining_s <= 0:
                    raise DeadlineExceeded("DEADLINE_EXCEEDED", f"no time left for {rpc}")
                attempt_s = attempt_timeout_s(remaining_s, attempt=attempt, splits=splits, policy=self._retry)
                return (yield Attempt(rpc, request, attempt_s))
            except StateSidecarError as error:
                if deletes and maybe_landed and isinstance(error, NotFound):
                    return None
                if renewal is not None and attempt < self._retry.attempts_max and renewal.helps(error):
                    continue
                pause_s = pause_before_retry_s(
                    error,
                    attempt=attempt,
                    remaining_s=deadline - self._clock(),
                    idempotent=idempotent,
                    policy=self._retry,
                    random=self.random,
                )
                if pause_s is None or not self._budget.spend(error):
                    if request_id is None:
                        raise
                    if not outcome_unknown(error, open_before=maybe_landed):
                        raise
                    raise unknown_outcome(error, request_id) from error
                maybe_landed = maybe_landed or outcome_open(error)
            yield Pause(pause_s)
