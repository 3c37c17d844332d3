"""A daemon that dies at a named place, and a caller that notices nothing but a pause: it repeats what was not answered.

The workload comes by every place of its scenario. Each write has a request id and an item of its own; whatever the daemon
died of, the same calls, repeated until each is answered, must leave each item exactly once, and an answer that was given
before the death is given again.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from statesidecar.v1.admin_service_pb2 import GetStatusRequest
from tests.support.process import Caller, DaemonProcess

ROUNDS = 6
CALL_S = 3.0
PATIENCE_S = 40.0
LIST, COUNTER, HOT = "list", "counter", "hot-counter"
STRONG = types_pb2.CONSISTENCY_STRONG
Call = tuple[str, Any]
_PAUSE = threading.Event()
"""Never set: to let time pass."""


@dataclass(slots=True)
class Run:
    """A daemon with a place armed, and how often it died."""

    daemon: DaemonProcess
    namespace: str
    deaths: int = 0
    _caller: Caller | None = None
    """The connection to it, as long as its calls are answered."""

    def revive(self) -> None:
        """If it died, as armed, start it again with nothing armed."""
        if not self.daemon.alive():
            self.daemon.ended()
            self.deaths += 1
            if self.daemon.addresses:
                self.daemon.restart()
            else:
                self.daemon.start()

    def call(self, rpc: str, request: Any, *, final: grpc.StatusCode | None = None) -> Any:
        """Until it is answered; whatever happens to the daemon meanwhile. A refusal with the `final` status is an
        answer, too, and raised.
        """
        refusal: grpc.RpcError | None = None
        for _ in range(int(PATIENCE_S / 0.05)):
            self.revive()
            self._caller = self._caller or Caller(self.daemon.target)
            try:
                return getattr(self._caller.state, rpc)(request, timeout=CALL_S)
            except grpc.RpcError as exc:
                self._caller.channel.close()
                self._caller = None
                if exc.code() is final:
                    raise
                refusal = exc
                _PAUSE.wait(0.05)
        raise AssertionError(f"{rpc} was not answered for {PATIENCE_S} s: {refusal}; {self.daemon.lines[-5:]}")

    def write(self, rpc: str, request: Any) -> None:
        """A write, twice: the second time it is a retry, and hears the same."""
        reply = self.call(rpc, request)
        again = self.call(rpc, request)
        if reply.durability != types_pb2.DURABILITY_BUFFERED:
            assert again.version == reply.version, f"{request}: {reply}, then {again}"

    def settled(self) -> None:
        """Until the journal is empty."""
        for _ in range(int(PATIENCE_S / 0.05)):
            self.revive()
            try:
                with Caller(self.daemon.target) as caller:
                    if not caller.admin.GetStatus(GetStatusRequest(), timeout=CALL_S).journal_depth:
                        return
            except grpc.RpcError:
                pass
            _PAUSE.wait(0.05)
        raise AssertionError("the journal is not settled")


def writes(namespace: str, number: int) -> Iterator[Call]:
    """One round of every kind of write."""
    append = pb.Append(items=[json.dumps(number).encode()])
    yield (
        "Update",
        pb.UpdateRequest(namespace=namespace, key=LIST, append=append, create=True, request_id=f"append {number}"),
    )
    increment = pb.Increment(delta=1)
    yield (
        "Update",
        pb.UpdateRequest(
            namespace=namespace, key=COUNTER, increment=increment, create=True, request_id=f"add {number}"
        ),
    )
    yield (
        "Set",
        pb.SetRequest(
            namespace=namespace,
            key=f"own/{number}",
            value=f"{number}".encode(),
            ttl=Duration(seconds=600),
            request_id=f"set {number}",
        ),
    )


def drive(run: Run, also: Callable[[Run, int], None]) -> None:
    """All rounds; `also` does what the scenario needs besides."""
    for number in range(ROUNDS):
        for rpc, request in writes(run.namespace, number):
            run.write(rpc, request)
        also(run, number)


def check(run: Run) -> None:
    """Everything is there, each once."""

    def value(key: str) -> bytes:
        request = pb.GetRequest(namespace=run.namespace, key=key, consistency=STRONG)
        return run.call("Get", request).entry.value  # type: ignore[no-any-return]  # a stub's

    assert Counter(json.loads(value(LIST))) == Counter(range(ROUNDS))
    assert value(COUNTER) == b"%d" % ROUNDS
    for number in range(ROUNDS):
        assert value(f"own/{number}") == b"%d" % number
    for number in range(ROUNDS):
        cached = run.call("Get", pb.GetRequest(namespace=run.namespace, key=f"own/{number}"))
        assert cached.entry.value == b"%d" % number
