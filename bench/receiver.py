"""A collector for the benchmark: takes whatever OTLP sends, unread. Prints its port; ends when its input does."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


class _Anything(grpc.GenericRpcHandler):
    """An empty answer to every call."""

    def service(self, handler_call_details: Any) -> Any:  # noqa: ARG002  # all are answered alike
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Anything()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=None)


if __name__ == "__main__":
    main()
