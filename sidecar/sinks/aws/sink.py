"""AwsSink: messages to a queue or topic, up to ten a call, never two of an order in one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sidecar.core.outbox import Pending
from sidecar.core.sinks import UNTRIED, Delivery, Receipt, Refused, SinkUnavailable
from sidecar.sinks import events
from sidecar.sinks.aws.client import CallRefused, Client, unavailable
from sidecar.sinks.aws.target import AwsTarget
from sidecar.sinks.ordered import chains, settled

BATCH_MAX = 40
ENTRIES_MAX = 10
BYTES_MAX = {"sqs": 1024 * 1024, "sns": 256 * 1024}
"""Of a call, and so of a message, with its attributes."""
_ENTRY_BYTES = 64
"""More than what an entry has beside its body and the values of its attributes."""

Entry = dict[str, Any]
Told = tuple[dict[int, Receipt], SinkUnavailable | None]
"""What became of the messages of a call, by their indexes, and what kept it from learning it of the others."""


class AwsSink:
    """A queue or topic. One whose name ends in .fifo keeps the order, and for 5 minutes takes an id once."""

    def __init__(self, target: AwsTarget, *, app: str) -> None:
        self._target = target
        self._app = app
        self._client: Client | None = None
        self._queue_url = ""

    @property
    def batch_max(self) -> int:
        return BATCH_MAX

    async def open(self) -> None:
        """Find the queue. A topic is its ARN, and is met with the first message."""
        client = self._client = self._client or Client(self._target)
        if self._target.service == "sns" or self._queue_url:
            return
        owner = {} if self._target.account is None else {"QueueOwnerAWSAccountId": self._target.account}
        try:
            answer = await client.call("get_queue_url", QueueName=self._target.name, **owner)
        except CallRefused as exc:
            raise SinkUnavailable(str(exc)) from exc
        self._queue_url = answer["QueueUrl"]

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        await self.open()
        receipts: list[Receipt] = [UNTRIED] * len(deliveries)
        failures: list[SinkUnavailable] = []
        waiting = list(chains(deliveries).values())
        while waiting and not failures:
            entries = {indexes[0]: self._entry(deliveries[indexes[0]].message) for indexes in waiting}
            calls = [self._send(call) for call in packed(entries, BYTES_MAX[self._target.service])]
            for told, failure in await asyncio.gather(*calls):
                failures += [] if failure is None else [failure]
                for index, receipt in told.items():
                    receipts[index] = receipt
            waiting = [indexes[1:] for indexes in waiting if receipts[indexes[0]] is None and len(indexes) > 1]
        return settled(receipts, failures)

    async def close(self) -> None:
        client, self._client = self._client, None
        self._queue_url = ""
        if client is not None:
            await client.close()

    async def _send(self, entries: dict[int, Entry]) -> Told:
        if _size(entries.values()) > BYTES_MAX[self._target.service]:
            reason = f"larger than {self._target.service} takes, as an event with its attributes"
            return dict.fromkeys(entries, Refused(reason, permanent=True)), None
        try:
            return self._told(await self._call(entries))
        except SinkUnavailable as exc:
            return {}, exc
        except CallRefused as exc:
            if len(entries) == 1:
                return dict.fromkeys(entries, Refused(str(exc))), None
            return await self._send_each(entries)

    async def _send_each(self, entries: dict[int, Entry]) -> Told:
        """In calls of their own, where a call was refused for one of them."""
        receipts: dict[int, Receipt] = {}
        for index, entry in entries.items():
            told, failure = await self._send({index: entry})
            receipts |= told
            if failure is not None:
                return receipts, failure
        return receipts, None

    def _told(self, answer: dict[str, Any]) -> Told:
        receipts: dict[int, Receipt] = {int(entry["Id"]): None for entry in answer.get("Successful", [])}
        failure = None
        for entry in answer.get("Failed", []):
            code = str(entry.get("Code", ""))
            if (why := unavailable(code)) is not None:
                failure = SinkUnavailable(f"{self._target}: {why} ({code})")
            else:
                said = f"{self._target} refuses it ({code})"
                receipts[int(entry["Id"])] = Refused(said, permanent=bool(entry.get("SenderFault")))
        return receipts, failure

    async def _call(self, entries: dict[int, Entry]) -> dict[str, Any]:
        assert self._client is not None, "it was opened"
        listed = [{"Id": str(index), **entry} for index, entry in entries.items()]
        if self._target.service == "sqs":
            return await self._client.call("send_message_batch", QueueUrl=self._queue_url, Entries=listed)
        return await self._client.call("publish_batch", TopicArn=self._target.name, PublishBatchRequestEntries=listed)

    def _entry(self, message: Pending) -> Entry:
        body = events.structured(self._app, message).decode()
        told = {"content-type": events.STRUCTURED_TYPE, "topic": message.topic, "namespace": message.namespace}
        entry: Entry = {
            "MessageBody" if self._target.service == "sqs" else "Message": body,
            "MessageAttributes": {name: {"DataType": "String", "StringValue": value} for name, value in told.items()},
        }
        if self._target.fifo:
            entry["MessageGroupId"] = message.order
            entry["MessageDeduplicationId"] = events.published_id(self._app, message)
        return entry


def packed(entries: dict[int, Entry], bytes_max: int) -> Iterator[dict[int, Entry]]:
    """The entries in as many calls as they need. One that is too large by itself is alone."""
    call: dict[int, Entry] = {}
    for index, entry in entries.items():
        if call and (len(call) == ENTRIES_MAX or _size([*call.values(), entry]) > bytes_max):
            yield call
            call = {}
        call[index] = entry
    if call:
        yield call


def _size(entries: Iterable[Entry]) -> int:
    total = 0
    for entry in entries:
        body = entry.get("MessageBody") or entry["Message"]
        values = (value["StringValue"] for value in entry["MessageAttributes"].values())
        total += len(body.encode()) + sum(len(value.encode()) for value in values) + _ENTRY_BYTES
    return total
