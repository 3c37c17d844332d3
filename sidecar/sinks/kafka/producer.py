"""The client library's producer. It has threads of its own, and one of ours hears from it what became of messages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import confluent_kafka

from sidecar.sinks.kafka.target import KafkaTarget

TIMEOUT_S = 10.0
"""How long a message may take, from being given to the producer to being confirmed."""
ASK_S = 5.0
_POLL_S, _PAUSE_S = 0.5, 0.1
_CLOSE_S = 1.0

Headers = Sequence[tuple[str, bytes]]


class Producer:
    """Idempotent: what it repeats by itself is stored once, and in the order that it was given in."""

    def __init__(self, target: KafkaTarget) -> None:
        self._loop = asyncio.get_running_loop()
        self._library = confluent_kafka.Producer(_configuration(target, self._heard))
        self.failed = False
        """Whether it can do no more, as when it may not write at all."""
        self._said = ""
        self._closing = threading.Event()
        self._polling = threading.Thread(target=self._poll, name="sink-kafka", daemon=True)
        self._polling.start()

    @property
    def said(self) -> str:
        """What the library last met with brokers, for people."""
        return self._said

    async def ask(self) -> None:
        """See that a broker answers. Raises KafkaException."""
        await asyncio.to_thread(self._library.list_topics, timeout=ASK_S)

    def send(self, topic: str, *, key: bytes, value: bytes, headers: Headers) -> asyncio.Future[Any]:
        """Give it a message. The future has what became of it: a KafkaError, or None. Raises KafkaException, BufferError."""
        told: asyncio.Future[Any] = self._loop.create_future()

        def tell(error: Any, _message: Any) -> None:
            self._loop.call_soon_threadsafe(_resolve, told, error)

        self._library.produce(topic, value, key, headers=list(headers), on_delivery=tell)
        return told

    async def close(self) -> None:
        """Forget what was not confirmed, and end all threads."""
        await asyncio.shield(asyncio.to_thread(self._close))

    def _close(self) -> None:
        self._closing.set()
        self._polling.join()
        self._library.purge()
        self._library.flush(_CLOSE_S)
        self._library.close()

    def _poll(self) -> None:
        while not self._closing.is_set():
            try:
                self._library.poll(_POLL_S)
            except confluent_kafka.KafkaException as exc:
                # What is fatal is raised here. What waits is told next, so it goes on.
                self._heard(exc.args[0])
                self._closing.wait(_PAUSE_S)

    def _heard(self, error: Any) -> None:
        self._said = f": {str(error.str())[:200]}"
        self.failed = self.failed or bool(error.fatal())


def _resolve(told: asyncio.Future[Any], error: Any) -> None:
    if not told.done():
        told.set_result(error)


def _configuration(target: KafkaTarget, heard: Any) -> dict[str, Any]:
    configuration: dict[str, Any] = {
        "bootstrap.servers": ",".join(target.brokers),
        "client.id": "state-sidecar",
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 1,
        "message.timeout.ms": int(TIMEOUT_S * 1000),
        # A topic that was just made may not be known yet; one that is not there at all must not take a message's time.
        "topic.metadata.propagation.max.ms": 3_000,
        "reconnect.backoff.max.ms": 1_000,
        # The same key is in the same partition whichever language wrote it.
        "partitioner": "murmur2_random",
        "error_cb": heard,
        # It writes to stderr by itself; what matters comes to `heard`.
        "log_level": 0,
        "security.protocol": _protocol(target),
    }
    if target.user is not None:
        configuration |= {
            "sasl.mechanism": target.mechanism,
            "sasl.username": target.user,
            "sasl.password": target.password,
        }
    return configuration | ({"ssl.ca.location": target.ca_file} if target.ca_file else {})


def _protocol(target: KafkaTarget) -> str:
    if target.user is None:
        return "SSL" if target.tls else "PLAINTEXT"
    return "SASL_SSL" if target.tls else "SASL_PLAINTEXT"
