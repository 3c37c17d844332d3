"""Queues and topics of ministack: the shape of the API, not its durability."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

from botocore.config import Config  # type: ignore[import-untyped]  # it has no types
from botocore.session import Session  # type: ignore[import-untyped]  # the same

from servers.base import shared
from servers.ministack import CREDENTIALS, Ministack
from sidecar.core.outbox import Pending
from tests.sinks import cloudevents
from tests.sinks.messages import Got

REGION = "us-east-1"
MESSAGE_BYTES_MAX = 512 * 1024
"""Of our queues: enough for the largest payload in base64."""
_WAIT_S = 5


def client(service: str, endpoint_url: str) -> Any:
    return Session().create_client(
        service,
        region_name=REGION,
        endpoint_url=endpoint_url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
    )


class SqsFifo:
    payload_max = 256 * 1024
    attributes_max = 16 * 1024
    refused_permanently = True
    fifo = True

    def __init__(self) -> None:
        self.url = ""
        self.name = f"q-{uuid.uuid4().hex[:12]}{'.fifo' if self.fifo else ''}"
        self.queue_url = ""
        self.server: Ministack
        self._own = False
        self._seen: list[Got] = []

    async def start(self, *, own: bool) -> None:
        self._own = own
        self.server = await asyncio.to_thread(Ministack().start) if own else shared(Ministack)
        await self._make()

    async def stop(self) -> None:
        if self._own:
            await asyncio.to_thread(self.server.stop)

    async def received(self, count: int) -> list[Got]:
        return await asyncio.to_thread(self._receive, count)

    def refused(self, message: Pending) -> Pending:
        """As large as neither the queue nor a topic takes."""
        return replace(message, payload=bytes(MESSAGE_BYTES_MAX * 5 // 4))

    async def kill(self) -> None:
        await asyncio.to_thread(self.server.kill)

    async def restart(self) -> None:
        """It has forgotten its queues."""
        await asyncio.to_thread(self.server.restart)
        await self._make()

    async def _make(self) -> None:
        self.queue_url = await asyncio.to_thread(self._make_queue)
        self.url = f"sqs://{self.name}?endpoint_url={self.server.endpoint_url}"

    def _make_queue(self) -> str:
        attributes = {"MaximumMessageSize": str(MESSAGE_BYTES_MAX)} | ({"FifoQueue": "true"} if self.fifo else {})
        made = client("sqs", self.server.endpoint_url).create_queue(QueueName=self.name, Attributes=attributes)
        return str(made["QueueUrl"])

    def _receive(self, count: int) -> list[Got]:
        sqs = client("sqs", self.server.endpoint_url)
        while True:
            answer = sqs.receive_message(
                QueueUrl=self.queue_url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=_WAIT_S if len(self._seen) < count else 0,
                MessageAttributeNames=["All"],
            )
            told = answer.get("Messages", [])
            if not told:
                assert len(self._seen) >= count, self._seen
                return list(self._seen)
            for each in told:
                self._seen.append(self._got(each))
                sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=each["ReceiptHandle"])

    def _got(self, told: Any) -> Got:
        got = cloudevents.of_structured(told["Body"].encode())
        attributes = {name: value["StringValue"] for name, value in told["MessageAttributes"].items()}
        assert attributes == {
            "content-type": "application/cloudevents+json",
            "topic": got.topic,
            "namespace": got.namespace,
        }
        return got


class SqsStandard(SqsFifo):
    fifo = False


class SnsFifo(SqsFifo):
    """A topic with a queue that subscribed to it; the queue gets what was published, as it is."""

    payload_max = 180 * 1024

    async def _make(self) -> None:
        self.queue_url = await asyncio.to_thread(self._make_queue)
        arn = await asyncio.to_thread(self._make_topic)
        self.url = f"sns://{arn}?endpoint_url={self.server.endpoint_url}"

    def _make_topic(self) -> str:
        endpoint_url = self.server.endpoint_url
        sns, sqs = client("sns", endpoint_url), client("sqs", endpoint_url)
        arn = str(sns.create_topic(Name=self.name, Attributes={"FifoTopic": "true"})["TopicArn"])
        told = sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["QueueArn"])
        sns.subscribe(
            TopicArn=arn,
            Protocol="sqs",
            Endpoint=told["Attributes"]["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )
        return arn
