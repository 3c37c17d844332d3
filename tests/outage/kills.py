"""Buffered writes and a daemon that is killed in the outage and in the recovery: what became of every one of them.

Eight clients write through a daemon that is cut off PostgreSQL: Sets of keys of their own, that a rival may take meanwhile
through a daemon that is not cut off; Sets that merge; appends. Whatever was answered BUFFERED must afterwards be in the
authority once, or be listed as dead, and never both. A write whose answer was lost is repeated under its request id.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from statesidecar.v1.admin_service_pb2 import ListDeadWritesRequest
from statesidecar.v1.state_service_pb2_grpc import StateServiceStub
from tests.chaos.deployment import ChaosDaemon, Deployment
from tests.support.process import Caller

CLIENTS = 8
LISTS = 32
OBJECTS = 4
RIVAL_SHARE = 0.1
CALL_S = 3.0
PATIENCE_S = 180.0
_PAUSE = threading.Event()
"""Never set: to wait between looks."""
STRONG = types_pb2.CONSISTENCY_STRONG


@dataclass(frozen=True, slots=True)
class Sent:
    """A write: where it should be found."""

    kind: str
    key: str
    item: str
    request_id: str


@dataclass(slots=True)
class Told:
    """What the clients heard."""

    buffered: list[Sent] = field(default_factory=list)
    committed: list[Sent] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How many buffered writes ended how; `wrong`: those that ended in none, or in two."""

    buffered: int
    in_place: int
    dead: Counter[str]
    wrong: list[str]
    kills: int
    seconds: float

    def __str__(self) -> str:
        dead = ", ".join(f"{count} {reason}" for reason, count in sorted(self.dead.items())) or "none"
        return (
            f"{self.buffered} writes BUFFERED, {self.kills} kills: {self.in_place} applied or merged, dead-lettered: {dead}; "
            f"{len(self.wrong)} wrong; {self.seconds:.0f} s"
        )


def requests(client: int, random: Random) -> Iterator[tuple[Sent, str, Any]]:
    """Writes without end: what it is, the RPC, the request."""
    while True:
        item = uuid.UUID(int=random.getrandbits(128)).hex
        kind = random.choice(("own", "list", "merge"))
        if kind == "own":
            sent = Sent(kind, f"own/{item}", item, item)
            yield sent, "Set", pb.SetRequest(namespace="jobs", key=sent.key, value=item.encode(), request_id=item)
        elif kind == "list":
            sent = Sent(kind, f"list/{random.randrange(LISTS)}", item, item)
            append = pb.Append(items=[json.dumps(item).encode()])
            yield (
                sent,
                "Update",
                pb.UpdateRequest(namespace="chat", key=sent.key, append=append, create=True, request_id=item),
            )
        else:
            # Each client has objects of its own: of two that set the same, the last wins, here as everywhere.
            yield Sent(kind, f"object/{client}/{random.randrange(OBJECTS)}", item, item), "merge", None


class Client(threading.Thread):
    """One writer. Each write is repeated, under its id, until it is answered."""

    def __init__(self, number: int, target: str, told: Told, wanted: int, random: Random) -> None:
        super().__init__(name="writer")
        self._number = number
        self._stub = StateServiceStub(grpc.insecure_channel(target))
        self._told, self._wanted = told, wanted
        self._random = random

    def run(self) -> None:
        """Until enough were told BUFFERED."""
        for sent, rpc, request in requests(self._number, self._random):
            if len(self._told.buffered) >= self._wanted:
                return
            reply = self._answer(sent, rpc, request)
            with self._told.lock:
                kept = reply.durability == types_pb2.DURABILITY_BUFFERED
                (self._told.buffered if kept else self._told.committed).append(sent)

    def _answer(self, sent: Sent, rpc: str, request: Any) -> Any:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if rpc == "merge":
                    request = request or self._object(sent)
                    return self._stub.Set(request, timeout=CALL_S)
                return getattr(self._stub, rpc)(request, timeout=CALL_S)
            except grpc.RpcError:
                _PAUSE.wait(0.05)
        raise AssertionError(f"{sent} was not answered for {PATIENCE_S} s")

    def _object(self, sent: Sent) -> pb.SetRequest:
        """What is there, with a field of ours: a whole value, as callers write it who know of no patches."""
        found = self._stub.Get(pb.GetRequest(namespace="chat", key=sent.key), timeout=CALL_S)
        fields = json.loads(found.entry.value) if found.HasField("entry") else {}
        fields[sent.item] = 1
        value = json.dumps(fields).encode()
        return pb.SetRequest(namespace="chat", key=sent.key, value=value, request_id=sent.request_id)


def run(deployment: Deployment, *, writes: int, kills: int, seed: int) -> Verdict:
    """Half of the kills in the outage, half in the recovery."""
    began, told, random = time.monotonic(), Told(), Random(seed)
    daemon, rival = deployment.daemons[0], StateServiceStub(grpc.insecure_channel(deployment.daemons[1].target))
    for number in range(CLIENTS * OBJECTS):
        key = f"object/{number // OBJECTS}/{number % OBJECTS}"
        rival.Set(pb.SetRequest(namespace="chat", key=key, value=b"{}"), timeout=CALL_S)
    proxy = deployment.to_postgres[0]
    proxy.refuse()
    clients = [Client(n, daemon.target, told, writes, Random(f"{seed}/{n}")) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    for number in range(kills // 2):
        while len(told.buffered) < writes * (number + 1) // (kills // 2 + 1):
            _PAUSE.wait(0.01)
        daemon.kill()
        daemon.restart()
    for client in clients:
        client.join()
    with told.lock:
        own = [sent for sent in told.buffered if sent.kind == "own"]
    for sent in own:
        if random.random() < RIVAL_SHARE:
            rival.Set(pb.SetRequest(namespace="jobs", key=sent.key, value=b"the rival's"), timeout=CALL_S)
    proxy.accept()
    for _ in range(kills - kills // 2):
        depth = _depth(daemon)
        end = time.monotonic() + 2.0
        while _depth(daemon) > depth - depth // (kills - kills // 2) and time.monotonic() < end:
            _PAUSE.wait(0.01)
        daemon.kill()
        daemon.restart()
    _settled(daemon)
    return _audit(deployment, told, kills=kills, seconds=time.monotonic() - began)


def _depth(daemon: ChaosDaemon) -> int:
    return int(daemon.status().journal_depth)


def _settled(daemon: ChaosDaemon) -> None:
    end = time.monotonic() + PATIENCE_S
    while _depth(daemon):
        assert time.monotonic() < end, "the journal is not settled"
        _PAUSE.wait(0.1)


def _dead(daemon: ChaosDaemon) -> dict[str, str]:
    """Why each dead write is dead, by request id."""
    reasons: dict[str, str] = {}
    with Caller(daemon.target) as caller:
        token = ""
        while True:
            page = caller.admin.ListDeadWrites(ListDeadWritesRequest(page_size=1000, page_token=token), timeout=CALL_S)
            reasons |= {dead.request_id: dead.reason for dead in page.dead_writes}
            if not (token := page.next_page_token):
                return reasons


def _audit(deployment: Deployment, told: Told, *, kills: int, seconds: float) -> Verdict:
    stub = StateServiceStub(grpc.insecure_channel(deployment.daemons[1].target))
    reasons = _dead(deployment.daemons[0])

    def state(sent: Sent) -> bytes:
        namespace = "jobs" if sent.kind == "own" else "chat"
        request = pb.GetRequest(namespace=namespace, key=sent.key, consistency=STRONG)
        return stub.Get(request, timeout=CALL_S).entry.value  # type: ignore[no-any-return]  # a stub's

    keys = {sent.key: sent for sent in told.buffered}
    with ThreadPoolExecutor(8) as pool:
        values = dict(zip(keys, pool.map(state, keys.values()), strict=True))
    wrong, in_place, dead = [], 0, Counter[str]()
    items = {key: Counter(_items(value)) for key, value in values.items()}
    for sent in told.buffered:
        found, buried = items[sent.key][sent.item], sent.request_id in reasons
        in_place += found
        dead[reasons.get(sent.request_id, "")] += buried
        if found + buried != 1:
            wrong.append(
                f"{sent}: {found} times in place, {'dead' if buried else 'not dead'}: {values[sent.key][:80]!r}"
            )
    return Verdict(
        buffered=len(told.buffered), in_place=in_place, dead=+dead, wrong=wrong, kills=kills, seconds=seconds
    )


def _items(value: bytes) -> list[str]:
    try:
        parsed = json.loads(value)
    except ValueError:
        return [value.decode()]
    return list(parsed) if isinstance(parsed, list | dict) else [value.decode()]
