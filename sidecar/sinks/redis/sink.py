"""RedisSink: each message an entry of a stream. The messages of a call are added by one script, in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources

from sidecar.core.outbox import Pending
from sidecar.core.ports import Clock
from sidecar.core.sinks import UNTRIED, Delivery, Receipt, Refused, SinkUnavailable
from sidecar.sinks.events import published_id
from sidecar.sinks.ordered import one_by_one, settled
from sidecar.sinks.redis.target import RedisSinkTarget
from sidecar.stores.apps import prefix_of
from sidecar.stores.redis.client import RedisClient
from sidecar.stores.redis.errors import RedisRefused, RedisUnavailable
from sidecar.stores.redis.script import Argument, Script

BATCH_MAX = 32
TIMEOUT_S = 5.0
_ADDED = 1
_OF_THE_STREAM = frozenset({"WRONGTYPE", "ERR"})
"""Codes that say something of a stream or a message; all others of the server, or of our rights to commands."""
_OURS = re.compile(r"(?:[0-9a-f]{12}/)?:")
"""What follows an app's prefix in the names of its tiers' keys, which may be on the same server: no stream is one of them."""
_PUBLISH = Script("publish", resources.files("sidecar.sinks.redis").joinpath("publish.lua").read_bytes())


class RedisSink:
    """Streams of one server, or of the primary that sentinels name."""

    def __init__(self, target: RedisSinkTarget, *, app: str, clock: Clock) -> None:
        self._target = target
        self._app = app
        self._clock = clock
        self._client: RedisClient | None = None

    @property
    def batch_max(self) -> int:
        return BATCH_MAX

    async def open(self) -> None:
        try:
            await self._connected().servers()
        except (RedisUnavailable, RedisRefused) as exc:
            raise SinkUnavailable(f"the sink can't be used: {exc}") from exc

    async def publish(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        messages = [delivery.message for delivery in deliveries]
        if not self._target.stream and any(_OURS.match(message.topic) for message in messages):
            refused = Refused("its topic names a key of the daemon's own", permanent=True)
            return [refused] if len(deliveries) == 1 else await one_by_one(deliveries, self._publish_one)
        streams = list(dict.fromkeys(map(self._stream, messages)))
        arguments: list[Argument] = [self._target.maxlen]
        for message in messages:
            fields = self._fields(message)
            arguments += [streams.index(self._stream(message)) + 1, message.order, len(fields), *fields]
        try:
            replies = await self._connected().run(_PUBLISH, [stream.encode() for stream in streams], arguments)
        except RedisRefused as exc:
            if not _of_the_stream(exc):
                raise _unavailable(exc) from exc
            # One of the streams is refused us, before the script began.
            return [Refused(str(exc))] if len(deliveries) == 1 else await one_by_one(deliveries, self._publish_one)
        except RedisUnavailable as exc:
            raise _unavailable(exc) from exc
        return _receipts(replies)

    async def _publish_one(self, delivery: Delivery) -> Refused | None:
        [receipt] = await self.publish([delivery])
        return receipt if isinstance(receipt, Refused) else None

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _connected(self) -> RedisClient:
        if self._client is None:
            self._client = RedisClient(self._target.redis, clock=self._clock, timeout_s=TIMEOUT_S, connections_max=4)
        return self._client

    def _stream(self, message: Pending) -> str:
        return self._target.stream or f"{prefix_of(self._app)}{message.topic}"

    def _fields(self, message: Pending) -> list[Argument]:
        own: dict[str, Argument] = {
            "id": published_id(self._app, message),
            "namespace": message.namespace,
            "key": message.key,
            "version": message.version,
            "topic": message.topic,
            "content_type": message.content_type,
            "commit_time_ms": message.commit_time,
            "payload": message.payload,
        }
        own.update((f"attr:{name}", value) for name, value in sorted(message.attributes.items()))
        return [part for field in own.items() for part in field]


def _receipts(replies: Sequence[int | bytes]) -> list[Receipt]:
    receipts: list[Receipt] = []
    failures: list[SinkUnavailable] = []
    for reply in replies:
        if not isinstance(reply, bytes):
            receipts.append(None if reply == _ADDED else UNTRIED)
            continue
        refused = RedisRefused(reply.decode(errors="replace"))
        if _of_the_stream(refused):
            receipts.append(Refused(str(refused)))
        else:
            failures.append(_unavailable(refused))
            receipts.append(UNTRIED)
    return settled(receipts, failures)


def _of_the_stream(refused: RedisRefused) -> bool:
    if refused.code == "NOPERM":
        return "key" in refused.reply.lower()
    # A command that is refused us within a script has no code of its own; a key is refused before the script begins.
    return refused.code in _OF_THE_STREAM and "ACL failure" not in refused.reply


def _unavailable(exc: RedisUnavailable | RedisRefused) -> SinkUnavailable:
    return SinkUnavailable(f"the sink does not take messages: {exc}")
