"""The floor: a bare grpc.aio handler in a process of its own, which answers with bytes it was given.

It parses the request and serializes a ready response, both with the daemon's message types, on the daemon's event loop and
under the daemon's server options. Nothing that keeps state can be faster through grpc.aio.

Reads one JSON object from standard input: {"Get": {key: response in hex}, "Set": ..., "CAS": ...}; prints its port.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import uvloop
from google.protobuf.message import Message

from statesidecar.v1 import state_service_pb2 as pb

SERVICE = "statesidecar.v1.StateService"
MESSAGES: dict[str, tuple[Any, Any]] = {
    "Get": (pb.GetRequest, pb.GetResponse),
    "Set": (pb.SetRequest, pb.SetResponse),
    "CAS": (pb.CASRequest, pb.CASResponse),
}
# As in sidecar/runtime/daemon.py.
OPTIONS = (
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)


def handler(method: str, answers: dict[str, str]) -> grpc.RpcMethodHandler[Any, Any]:
    request_type, response_type = MESSAGES[method]
    ready = {key: response_type.FromString(bytes.fromhex(answer)) for key, answer in answers.items()}

    async def answer(request: Any, _context: Any) -> Message:
        response: Message = ready[request.key]
        return response

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=request_type.FromString, response_serializer=response_type.SerializeToString
    )


async def serve(answers: dict[str, dict[str, str]]) -> None:
    server = grpc.aio.server(options=OPTIONS)
    handlers = {method: handler(method, by_key) for method, by_key in answers.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    # Until the benchmark closes our input, also by dying.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(grace=None)


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.stdin.readline())))
