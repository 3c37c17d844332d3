"""Clients of one schema: they read what it knows, forget what it doesn't, and write what is left."""

from __future__ import annotations

import json
import random
import threading
from typing import Any

import grpc
from grpc_status import rpc_status  # type: ignore[import-untyped]  # it has no stubs

from examples.dialogues.check import TURNS_KEPT
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from tests.schemas.steps import known, new_state, remember
from tests.schemas.truth import Truth
from tests.support.process import Caller

NAMESPACE = "session"
JSON = "application/json"
CALL_S = 20.0


class Client(threading.Thread):
    """One thread, until it is stopped; never in the middle of a call."""

    def __init__(self, target: str, schema: int, truth: Truth, seed: str) -> None:
        super().__init__(name=f"client of schema {schema}")
        self.schema = schema
        self._target = target
        self._truth = truth
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._seen: dict[str, int] = {}

    def stop(self) -> None:
        """Finish what is under way, and end."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        with Caller(self._target) as caller:
            while not self._stopping.is_set():
                self._act(caller.state)

    def _act(self, stub: Any) -> None:
        truth, chosen = self._truth, self._random.random()
        if chosen < 0.6:  # shares of the load
            self._swap(stub, self._random.choice(list(truth.dialogues)))
        elif chosen < 0.7:
            self._list(stub)
        elif chosen < 0.85:
            self._patch(stub, self._random.choice(truth.patch_keys))
        elif self.schema == 1:
            self._set(stub, self._random.choice(truth.set_keys))
        else:
            self._swap(stub, self._random.choice(truth.set_keys))

    # ---- reads

    def read(self, stub: Any, key: str, *, strong: bool | None = None) -> tuple[dict[str, Any] | None, int]:
        """The state as this client understands it, and its version; None: there is none yet, or it was refused (-1)."""
        strong = self._random.random() < 0.5 if strong is None else strong
        before = self._truth.acknowledged(key)
        request = pb.GetRequest(
            namespace=NAMESPACE,
            key=key,
            consistency=types_pb2.CONSISTENCY_STRONG if strong else types_pb2.CONSISTENCY_CACHED,
            min_version=self._seen.get(key, 0),
            max_schema_version=self.schema,
        )
        try:
            reply = stub.Get(request, timeout=CALL_S)
        except grpc.RpcError as error:
            self._truth.complain("failed reads", told(error))
            return None, -1
        self._truth.add("reads")
        if not reply.HasField("entry"):
            return None, 0
        # A cached answer may be older than others' writes; what this client has seen, it sees again.
        state = self._understood(key, reply.entry, before if strong else {1: 0, 2: 0, 3: 0})
        self._seen[key] = max(self._seen.get(key, 0), reply.entry.version)
        return state, reply.entry.version

    def _understood(self, key: str, entry: Any, before: Any) -> dict[str, Any]:
        state = json.loads(entry.value)
        if entry.schema_version != self.schema:
            self._truth.complain("wrong schemas", f"{key} came in {entry.schema_version}, not {self.schema}")
        self._truth.check(key, self.schema, state, before)
        return known(state, self.schema)

    def _list(self, stub: Any) -> None:
        request = pb.ListRequest(namespace=NAMESPACE, page_size=20, max_schema_version=self.schema)
        before = {key: self._truth.acknowledged(key) for key in self._truth.keys}
        try:
            reply = stub.List(request, timeout=CALL_S)
        except grpc.RpcError as error:
            self._truth.complain("failed reads", told(error))
            return
        self._truth.add("reads")
        for entry in reply.entries:
            self._understood(entry.key, entry, before[entry.key])

    # ---- writes

    def _swap(self, stub: Any, key: str) -> None:
        """Read, take the next turn in, count, and write if nobody was faster."""
        state, version = self.read(stub, key)
        if version < 0:
            return
        state = new_state(self.schema) if state is None else state
        if key in self._truth.dialogues:
            turns, index = self._truth.dialogues[key]["turns"], len(state["turns_seen"])
            if index < len(turns):
                remember(state, self.schema, index, turns[index], kept=TURNS_KEPT)
        state[f"count_{self.schema}"] += 1
        request = pb.CASRequest(
            namespace=NAMESPACE,
            key=key,
            value=json.dumps(state).encode(),
            content_type=JSON,
            schema_version=self.schema,
            expected_version=version,
        )
        self._write(lambda: stub.CAS(request, timeout=CALL_S), key)

    def _set(self, stub: Any, key: str) -> None:
        """The whole value, whatever is there, by the only writer of this count."""
        count = self._truth.counts[key, self.schema]
        with count.writer:
            state = new_state(self.schema)
            state[f"count_{self.schema}"] = count.acknowledged + 1
            request = pb.SetRequest(
                namespace=NAMESPACE,
                key=key,
                value=json.dumps(state).encode(),
                content_type=JSON,
                schema_version=self.schema,
            )
            self._write(lambda: stub.Set(request, timeout=CALL_S), key)

    def _patch(self, stub: Any, key: str) -> None:
        """One field where it is, by the only writer of it; the entry is there since the start."""
        count = self._truth.counts[key, self.schema]
        with count.writer:
            patch = json.dumps({f"count_{self.schema}": count.acknowledged + 1}).encode()
            request = pb.UpdateRequest(namespace=NAMESPACE, key=key, merge_patch=patch, schema_version=self.schema)
            self._write(lambda: stub.Update(request, timeout=CALL_S), key)

    def _write(self, call: Any, key: str) -> None:
        truth = self._truth
        truth.begin(key, self.schema)
        try:
            reply = call()
        except grpc.RpcError as error:
            truth.end(key, self.schema, applied=False)
            if error.code() is grpc.StatusCode.ABORTED:
                truth.add("conflicts")
            else:
                truth.complain("failed writes", told(error))
            return
        truth.end(key, self.schema, applied=True)
        truth.add("writes")
        truth.add(f"writes of schema {self.schema}")
        self._seen[key] = max(self._seen.get(key, 0), reply.version)


def told(error: Any) -> str:
    """What a call was refused with."""
    status = rpc_status.from_call(error)
    return f"{error.code().name}: {status.message if status else error.details()}"
