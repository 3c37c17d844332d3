"""The same through everything: writers over gRPC, daemons that are killed and stopped, a stream of Redis for a sink.

A write is repeated under its request id, at one daemon after the other, until it is answered: so every one of them is
known to be committed or refused.
"""

from __future__ import annotations

import itertools
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import grpc
import redis

from servers.base import shared
from servers.redis import Valkey
from sidecar.core.operations import Remove, Write
from sidecar.core.outbox import Message, order_of
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.outbox import journal, stored
from tests.outbox.audit import Verdict, audit
from tests.outbox.crew import pause, wait_until
from tests.outbox.journal import Fate, Journal, Written
from tests.outbox.recorder import Delivered
from tests.outbox.writing import NAMESPACE, WRONG_VERSION, Load, Plan
from tests.support.process import Caller, DaemonProcess

DAEMONS = 3
WRITERS = 6
LOAD = Load(rate=0.0)
"""As much as is answered."""
LEASE_S = 1.0
IN_FLIGHT = 4
"""Messages of a daemon: of so short a run, few may come twice."""
CALL_S = 3.0
PATIENCE_S = 60.0
PAGE = 1_000
REFUSED = frozenset({grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION})


class Stream:
    """The messages that a stream holds, in the order in which they were added."""

    def __init__(self, server: Valkey, name: str) -> None:
        self.url = f"{server.url}?stream={name}"
        self._name = name
        self._client: Any = redis.Redis.from_url(server.url)

    def __len__(self) -> int:
        return int(self._client.xlen(self._name))

    def entries(self) -> Iterator[tuple[int, dict[str, str]]]:
        """When each was added, in ms, and its fields."""
        first = "-"
        while page := self._client.xrange(self._name, min=first, count=PAGE):
            for at, fields in page:
                yield int(at.partition(b"-")[0]), {name.decode(): value.decode() for name, value in fields.items()}
            first = "(" + page[-1][0].decode()

    def remove(self) -> None:
        """It has served."""
        self._client.delete(self._name)
        self._client.close()


class Writer(threading.Thread):
    """One caller: a write after the other."""

    def __init__(self, number: int, directory: Path, seed: int, daemons: list[DaemonProcess]) -> None:
        super().__init__(name=f"writer-{number}")
        self.enough = threading.Event()
        self.failure: BaseException | None = None
        self._plan = Plan(number, seed, LOAD)
        self._journal = Journal(directory, number)
        self._targets = itertools.cycle([daemon.target for daemon in daemons])

    def run(self) -> None:
        """Until it is enough."""
        try:
            with self._journal:
                for written, write in self._plan:
                    if self.enough.is_set():
                        return
                    self._journal.begin(written)
                    self._write(written, write)
        except BaseException as exc:  # noqa: BLE001  # whoever joins raises it
            self.failure = exc

    def _write(self, written: Written, write: Write) -> None:
        rpc, request = request_of(written, write)
        for _ in range(int(PATIENCE_S / 0.05)):
            try:
                with Caller(next(self._targets)) as caller:
                    reply = getattr(caller.state, rpc)(request, timeout=CALL_S)
            except grpc.RpcError as exc:
                if exc.code() in REFUSED:
                    self._journal.end(written.name, Fate.REFUSED)
                    return
                pause(0.05)
            else:
                self._journal.end(written.name, Fate.COMMITTED, reply.version, _did(reply))
                return
        raise AssertionError(f"{written.name} was not answered for {PATIENCE_S} s")


def request_of(written: Written, write: Write) -> tuple[str, Any]:
    """A write as callers send it: the RPC, and its request."""
    whole = [_message(message) for message in write.outbox if message.operation is None]
    common: dict[str, Any] = {"namespace": NAMESPACE, "request_id": written.name, "outbox": whole}
    value = written.name.encode()
    if len(written.keys) > 1:
        operations = []
        for index, operation in enumerate(write.operations):
            own = [_message(message) for message in write.outbox if message.operation == index]
            if type(operation) is Remove:
                operations.append(pb.TransactOperation(delete=pb.DeleteRequest(key=operation.key, outbox=own)))
            else:
                operations.append(pb.TransactOperation(set=pb.SetRequest(key=operation.key, value=value, outbox=own)))
        return "Transact", pb.TransactRequest(operations=operations, **common)
    (key,) = written.keys
    if written.guarded:
        return "CAS", pb.CASRequest(key=key, value=value, expected_version=WRONG_VERSION, **common)
    return "Set", pb.SetRequest(key=key, value=value, **common)


def _message(message: Message) -> types_pb2.OutboxMessage:
    return types_pb2.OutboxMessage(topic=message.topic, payload=message.payload)


def _did(reply: Any) -> list[bool]:
    if isinstance(reply, pb.TransactResponse):
        return [bool(getattr(result, result.WhichOneof("result")).version) for result in reply.results]
    return [True]


def run(directory: Path, *, messages: int, kills: int, seed: int) -> tuple[Verdict, Counter[str]]:
    """Until so many messages are in the stream; the verdict, and what was done to daemons."""
    with ExitStack() as stack:
        url = stack.enter_context(stored.database(stored.POSTGRES, directory))
        stream = Stream(shared(Valkey), f"outbox-{Path(url).name}")
        stack.callback(stream.remove)
        settings = {
            "tiers.hot": "none://",
            "tiers.warm": url,
            "outbox.sink": stream.url,
            "outbox.in_flight_max": str(IN_FLIGHT),
            "outbox.lease_s": str(LEASE_S),
        }
        daemons = [DaemonProcess(directory / f"data-{number}", **settings) for number in range(DAEMONS)]
        for daemon in daemons:
            stack.callback(daemon.kill)
            daemon.start()
        writers = [Writer(number, directory, seed, daemons) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        try:
            done = _harm(stream, daemons, messages=messages, kills=kills, random=Random(f"daemons/{seed}"))
            wait_until(lambda: len(stream) >= messages, "messages are missing", PATIENCE_S)
        finally:
            for writer in writers:
                writer.enough.set()
            for writer in writers:
                writer.join()
        assert not any(writer.failure for writer in writers), [writer.failure for writer in writers]
        wait_until(lambda: not stored.waiting(url), "messages wait, and nobody delivers them", PATIENCE_S)
        ended = [daemon.terminate() for daemon in daemons]
        assert not any(ended), ended
        writes = journal.read(directory)
        return audit(writes, list(_delivered(stream, writes))), done


def _harm(stream: Stream, daemons: list[DaemonProcess], *, messages: int, kills: int, random: Random) -> Counter[str]:
    """Killed, or stopped beyond their lease, spread over the messages' arrival."""
    done: Counter[str] = Counter()
    while (number := done.total()) < kills:
        wait_until(lambda due=messages * number // kills: len(stream) >= due, "nothing arrives", PATIENCE_S)  # type: ignore[misc]
        daemon = random.choice(daemons)
        if random.random() < 0.6:
            daemon.kill()
            daemon.restart()
            done["killed"] += 1
            continue
        daemon.signal(signal.SIGSTOP)
        try:
            pause(LEASE_S * 1.5)
            before = len(stream)
            wait_until(lambda before=before: len(stream) > before, "others deliver nothing", PATIENCE_S)  # type: ignore[misc]
        finally:
            daemon.signal(signal.SIGCONT)
        done["stopped"] += 1
    return done


def _delivered(stream: Stream, writes: list[Written]) -> Iterator[Delivered]:
    """A stream names no daemons, and not what a message is ordered by: that is known of the write."""
    orders: dict[str, str] = {}
    for written in writes:
        first = written.keys[written.did.index(True) if True in written.did else 0]
        orders |= {message.token: order_of(message.key or first) for message in written.messages}
    for arrival_ms, fields in stream.entries():
        token = fields["payload"]
        yield Delivered(
            arrival_ns=arrival_ms * 1_000_000,
            owner="a daemon",
            id=fields["id"].partition("-")[0],
            order=orders.get(token, ""),
            key=fields["key"],
            version=int(fields["version"]),
            commit_time=int(fields["commit_time_ms"]),
            token=token,
        )
