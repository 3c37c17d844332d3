"""The calls about the outbox as plans; what is common to all calls is in _calls.py."""

from __future__ import annotations

from collections.abc import Iterable

from statesidecar import _replies
from statesidecar._checkpoint_calls import CheckpointCalls
from statesidecar._consuming import Asked, Consuming
from statesidecar._effects import Plan
from statesidecar.outbox import DeadLetter
from statesidecar.v1 import outbox_service_pb2 as pb


class OutboxCalls(CheckpointCalls):
    """The calls of OutboxService."""

    def consuming(
        self, namespace: str, topics: Iterable[str], *, in_flight_max: int, remember: int, reconnect_s: float | None
    ) -> Consuming:
        """What a consumer remembers between its streams."""
        asked = Asked(
            namespace=namespace,
            topics=topics if isinstance(topics, str) else tuple(topics),
            in_flight_max=in_flight_max,
            remember=remember,
            reconnect_s=reconnect_s,
        )
        return Consuming(asked, self._retry, clock=self._clock, random=self.random, token=self.token)

    def dead_letters_page(
        self, namespace: str, page_token: str, *, page_size: int, timeout_s: float | None
    ) -> Plan[tuple[list[DeadLetter], str]]:
        """One page of `dead_letters`, and the token of the next; empty: there is none."""
        request = pb.ListDeadLettersRequest(namespace=namespace, page_size=page_size, page_token=page_token)
        reply = yield from self._send("ListDeadLetters", request, self._deadline(timeout_s))
        return [_replies.dead_letter(namespace, letter) for letter in reply.dead_letters], reply.next_page_token

    def redrive(self, namespace: str, ids: Iterable[str], *, all_letters: bool, timeout_s: float | None) -> Plan[int]:
        """Puts dead letters back; how many. Not repeated once it may have landed: it would tell another count then."""
        request = pb.RedriveRequest(namespace=namespace, ids=ids, all=all_letters)
        reply = yield from self._send("Redrive", request, self._deadline(timeout_s), request_id="")
        count: int = reply.redriven_count
        return count
