"""Hostile bytes to a daemon's port: malformed HTTP/2 and malformed gRPC. The daemon answers others as before.

After every batch a Get is answered within a second, memory has grown by no more than a bound, and the log has no error of ours.
What is sent follows from the seed.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
from google.protobuf import message_factory

from statesidecar.v1 import admin_service_pb2, outbox_service_pb2, state_service_pb2
from statesidecar.v1 import state_service_pb2 as pb
from tests.fuzz import http2
from tests.fuzz.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from tests.support.process import Caller, DaemonProcess

GET_S_MAX = 1.0
SETTLE_S = 5.0
TRIES = 3
"""Of the Get: the machine may be busy with something else for a second."""
RSS_GROWTH_MB_MAX = 128
"""It settles at about half of that: what gRPC keeps of the most streams that there ever were at once."""
BATCH = 40
HELD_MAX = 20
"""Connections that are left open."""
ANSWER_S = 0.02
_PATHS = [
    *(b"", b"/", b"//", b"*", b"Get", b"/statesidecar.v1.StateService", b"/statesidecar.v1.StateService/"),
    *(
        b"//statesidecar.v1.StateService/Get",
        b"/statesidecar.v1.StateService/Get/",
        b"/statesidecar.v1.StateService//Get",
    ),
    *(
        b"/statesidecar.v1.stateservice/get",
        b"/statesidecar.v1.StateService%2fGet",
        b"/statesidecar.v1.StateService/Get?a",
    ),
    *(b"http://localhost/statesidecar.v1.StateService/Get", b"/statesidecar.v1.StateService/Get\0", b"/../\xff\xfe"),
    *(b"/statesidecar.v1.StateService/" + b"G" * 5000, b"/grpc.health.v1.Health/Check", b"/a.b/c" * 3000),
]
_WRONG = re.compile(r'ERROR sidecar|File ".*/sidecar/.*\.py"')
"""Of the log: our errors, and our frames in a traceback. gRPC tells of a peer's bytes, and of one that went, by itself."""
_GET = b"/statesidecar.v1.StateService/Get"
_METHODS = [
    (f"/{service.full_name}/{method.name}", message_factory.GetMessageClass(method.input_type))
    for file in (state_service_pb2, admin_service_pb2, outbox_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.client_streaming and not method.server_streaming
]
_DEFECTS = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


class Wire:
    """Attacks on a daemon that serves, from one seed."""

    def __init__(self, daemon: DaemonProcess, *, seed: int) -> None:
        self.seed = seed
        self.connections = self.calls = 0
        self.slowest_s = 0.0
        self._daemon = daemon
        self._random = random.Random(seed)
        self._held: list[socket.socket] = []
        self._kinds: list[Callable[[], bytes]] = [
            *(self._no_preface, self._frames, self._hpack, self._headers, self._huge, self._continued),
            *(self._messages, self._rapid_reset, self._half_open, self._paths, self._control, self._cut, self._spoilt),
        ]
        self._rss_mb = self.rss_mb_max = 0.0

    @property
    def line(self) -> str:
        """For a person."""
        grown = self.rss_mb_max - self._rss_mb
        return (
            f"{self.connections:,} connections and {self.calls:,} calls; the slowest Get took {self.slowest_s:.3f} s, memory "
            f"grew by {grown:.1f} MB from {self._rss_mb:.0f} MB"
        )

    def run(self, seconds: float) -> None:
        """Attack for so long. Raises AssertionError."""
        with Caller(self._daemon.target) as caller:
            # Once each kind, before memory is measured: the first connections fill pools.
            for kind in self._kinds:
                self._send(kind())
            self._malformed(caller)
            self._rss_mb = self._rss()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for _ in range(BATCH):
                    self._send(self._random.choice(self._kinds)())
                self._malformed(caller)
                self._check(caller)
        for held in self._held:
            held.close()

    # ---- what is looked at

    def _check(self, caller: Caller) -> None:
        took = min(self._get(caller) for _ in range(TRIES))
        self.slowest_s = max(self.slowest_s, took)
        assert took <= GET_S_MAX, f"seed {self.seed}: a Get took {took:.2f} s"
        self.rss_mb_max = max(self.rss_mb_max, self._rss())
        grown = self.rss_mb_max - self._rss_mb
        assert grown <= RSS_GROWTH_MB_MAX, f"seed {self.seed}: {grown:.0f} MB more than at first"
        wrong = [line for line in self._daemon.lines if _WRONG.search(line)]
        assert not wrong, f"seed {self.seed}: {wrong[:3]}"

    def _get(self, caller: Caller) -> float:
        """Seconds that it takes. gRPC turns calls away while a thousand wait, so thousands that were reset come first."""
        end = time.monotonic() + SETTLE_S
        while True:
            begin = time.monotonic()
            try:
                caller.state.Get(pb.GetRequest(namespace="session", key="k"), timeout=SETTLE_S, wait_for_ready=True)
            except grpc.RpcError as error:
                self._refused("Get", b"", error)
                if error.code() is not grpc.StatusCode.CANCELLED or begin > end:
                    raise
            else:
                return time.monotonic() - begin

    def _rss(self) -> float:
        status = Path(f"/proc/{self._daemon.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def _malformed(self, caller: Caller) -> None:
        """Every unary method with bytes that are nearly its message: never a defect of ours."""
        for path, kind in _METHODS:
            call = caller.channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
            sent = self._mutated(kind(**{"namespace": "n"} if "namespace" in kind.DESCRIPTOR.fields_by_name else {}))
            self.calls += 1
            try:
                call(sent, timeout=10)
            except grpc.RpcError as error:
                self._refused(path, sent, error)

    def _refused(self, path: str, sent: bytes, error: grpc.RpcError) -> None:
        assert error.code() not in _DEFECTS, f"seed {self.seed}: {path} {sent!r}: {error.code()} {error.details()}"

    def _mutated(self, request: object) -> bytes:
        valid: bytes = request.SerializeToString()  # type: ignore[attr-defined]
        return self._spoil(valid + self._random.randbytes(self._random.randrange(30)))

    # ---- how it is sent

    def _send(self, data: bytes) -> None:
        """A connection that sends it, hears a little, and ends in one of several ways."""
        self.connections += 1
        host, _, port = self._daemon.target.rpartition(":")
        connection = socket.create_connection((host, int(port)), timeout=5)
        with suppress(OSError):
            connection.sendall(data)
            connection.settimeout(ANSWER_S)
            connection.recv(65536)
        end = self._random.randrange(4)
        if end == 0 and len(self._held) < HELD_MAX:
            self._held.append(connection)
            return
        if end == 1:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        elif end == 2:  # a reset instead of an end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        if self._held and self._random.random() < 0.1:
            self._held.pop(0).close()

    # ---- what is sent

    def _begun(self, *frames: bytes) -> bytes:
        return b"".join((PREFACE, frame(SETTINGS, 0, 0, b""), *frames))

    def _no_preface(self) -> bytes:
        first = self._random.choice(
            [b"", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\x16\x03\x01\x02\0\1\0", PREFACE[:10]]
        )
        return first + self._random.randbytes(self._random.randrange(600))

    def _frame(self) -> bytes:
        chance = self._random
        payload = chance.randbytes(chance.choice([0, 1, 4, 5, 6, 8, 9, 60]))
        length = chance.choice([None] * 6 + [0, 1, 16384, (1 << 24) - 1])
        stream = chance.choice([0, 1, 1, 2, 3, 5, (1 << 31) - 1, 1 << 31 | 1])
        return frame(chance.randrange(12), chance.randrange(256), stream, payload, length=length)

    def _frames(self) -> bytes:
        return self._begun(*(self._frame() for _ in range(self._random.randrange(1, 40))))

    def _hpack(self) -> bytes:
        block = self._random.randbytes(self._random.randrange(1, 200))
        if self._random.random() < 0.5:
            # Table sizes, indexes and lengths that go on and on.
            block = self._random.choice([b"\x3f", b"\xff", b"\x7f", b"\0\x7f"]) + b"\xff" * 30 + block
        return self._begun(frame(HEADERS, END_HEADERS, 1, block))

    def _headers(self) -> bytes:
        odd = [
            *((b"grpc-timeout", value) for value in (b"", b"1", b"-1S", b"99999999999H", b"1e9n", b"0u")),
            *((b"grpc-encoding", value) for value in (b"gzip", b"none", b"br", b"\xff")),
            *((b"x-bin", value) for value in (b"====", b"\xff\0", b"AA")),
            *((b"connection", b"close"), (b"Upper", b"case"), (b"", b"nameless"), (b":path", _GET), (b":odd", b"x")),
            *((b"authorization", b"Bearer " + b"a" * 9000), (b"te", b"gzip"), (b"traceparent", b"00-zz")),
            *((b"content-type", value) for value in (b"text/html", b"application/grpc+json", b"")),
            *((b"content-length", value) for value in (b"-1", b"99999999999999999999")),
        ]
        fields = http2.request(_GET, *self._random.sample(odd, self._random.randrange(1, 5)))
        if self._random.random() < 0.5:
            self._random.shuffle(fields)
            fields = fields[self._random.randrange(3) :]
        return self._begun(http2.headers(1, fields), frame(DATA, END_STREAM, 1, http2.message(b"")))

    def _huge(self) -> bytes:
        many = [(b"x-%d" % number, b"v" * 200) for number in range(self._random.choice([100, 400, 2000]))]
        block = http2.fields(http2.request(_GET, *many, (b"big", b"b" * self._random.choice([10, 70_000, 300_000]))))
        parts = [block[at : at + 16384] for at in range(0, len(block), 16384)]
        frames = [frame(HEADERS, 0, 1, parts[0]), *(frame(CONTINUATION, 0, 1, part) for part in parts[1:])]
        return self._begun(*frames, frame(CONTINUATION, END_HEADERS, 1, b""))

    def _continued(self) -> bytes:
        """Header fields that never end."""
        part = self._random.choice([b"", http2.fields([(b"a", b"b")]), b"\x82" * 50])
        return self._begun(frame(HEADERS, 0, 1, part), *(frame(CONTINUATION, 0, 1, part) for _ in range(2000)))

    def _messages(self) -> bytes:
        chance = self._random
        body = self._mutated(pb.GetRequest(namespace="session", key="k"))
        wrong = [
            http2.message(body, length=len(body) + chance.randrange(1, 100)),
            http2.message(body, length=(1 << 32) - 1),
            http2.message(body, length=chance.randrange(len(body) + 1)),
            http2.message(body, compressed=chance.choice([1, 2, 255])),
            http2.message(body)[: chance.randrange(6)],
            http2.message(body) * chance.randrange(2, 30),
            chance.randbytes(chance.randrange(100)),
        ]
        encoding = chance.choice([(), ((b"grpc-encoding", b"gzip"),), ((b"grpc-encoding", b"deflate"),)])
        flags = END_STREAM if chance.random() < 0.8 else 0
        path = chance.choice(_METHODS)[0].encode()
        return self._begun(
            http2.headers(1, http2.request(path, *encoding)), frame(DATA, flags, 1, chance.choice(wrong))
        )

    def _rapid_reset(self) -> bytes:
        fields = http2.request(_GET)
        streams = range(1, self._random.choice([20, 200, 400]), 2)
        reset = frame(RST_STREAM, 0, 0, bytes(4))[:5]
        code = self._random.choice([0, 8, 0xFFFFFFFF]).to_bytes(4, "big")
        return self._begun(*(http2.headers(n, fields) + reset + n.to_bytes(4, "big") + code for n in streams))

    def _half_open(self) -> bytes:
        fields = http2.request(self._random.choice(_METHODS)[0].encode())
        return self._begun(
            *(http2.headers(number, fields) for number in range(1, self._random.choice([3, 99, 399]), 2))
        )

    def _paths(self) -> bytes:
        fields = http2.request(self._random.choice(_PATHS))
        return self._begun(http2.headers(1, fields), frame(DATA, END_STREAM, 1, http2.message(b"")))

    def _control(self) -> bytes:
        chance = self._random
        one = chance.choice(
            [
                frame(SETTINGS, 0, 0, struct.pack(">HI", chance.randrange(9), chance.getrandbits(32))),
                frame(SETTINGS, ACK, 0, b"x"),
                frame(PING, 0, 0, bytes(8)),
                frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"),
                frame(WINDOW_UPDATE, 0, chance.choice([0, 1]), bytes(4)),
                frame(PRIORITY, 0, 1, b"\0\0\0\1\0"),
                frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)),
                frame(GOAWAY, 0, 0, bytes(8)),
            ]
        )
        return self._begun(one * chance.choice([1, 10, 1000]))

    def _cut(self) -> bytes:
        whole = self._valid()
        return whole[: self._random.randrange(len(whole))]

    def _spoilt(self) -> bytes:
        return self._spoil(self._valid())

    def _valid(self) -> bytes:
        body = http2.message(pb.GetRequest(namespace="session", key="k").SerializeToString())
        return self._begun(http2.headers(1, http2.request(_GET)), frame(DATA, END_STREAM, 1, body))

    def _spoil(self, data: bytes) -> bytes:
        spoilt = bytearray(data)
        for _ in range(self._random.randrange(1, 6)):
            if spoilt:
                spoilt[self._random.randrange(len(spoilt))] = self._random.randrange(256)
        return bytes(spoilt)
