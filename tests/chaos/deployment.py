"""What a run is about: three daemons as processes, a Valkey and a PostgreSQL, and a proxy from each daemon to each of both.

All daemons have the same URLs, so that they share cached copies; each has an address of its own for PostgreSQL behind the
same name (PGHOSTADDR), and for Valkey a port. The passwords in the URLs are canaries: they must turn up nowhere.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import grpc
import redis
from psycopg import sql

from servers.base import HOST, free_ports
from servers.postgres import Postgres
from servers.redis import Valkey
from statesidecar.v1 import types_pb2
from statesidecar.v1.admin_service_pb2 import GetStatusRequest, ListDeadWritesRequest
from tests.chaos.planted import NONE
from tests.chaos.proxies import PASSING, Proxy, ProxyLoop
from tests.chaos.stepped import VARIABLE, SharedStep
from tests.support.process import Caller, DaemonProcess

DAEMONS = 3
CANARY = "canary-4f1e9b7c"
ROLE = "app"
DATABASE = "chaos"
SCHEMA = "state_sidecar"
CONNECTIONS_MAX = 40
STATUS_TIMEOUT_S = 2.0
BUFFERING = True
"""Whether namespace `chat` keeps writes in a journal while PostgreSQL is away."""
NAMESPACES = {"process": {"on_outage": "reject"}, "session": {"on_outage": "passthrough"}} | (
    {
        "chat": {"on_outage": "buffer", "reconcile": "merge"},
        "jobs": {"on_outage": "buffer", "reconcile": "reject"},
    }
    if BUFFERING
    else {}
)


class ChaosValkey(Valkey):
    """Asks for a password."""

    def __init__(self) -> None:
        super().__init__("--requirepass", CANARY)

    def client(self, **options: Any) -> redis.Redis:
        """As who knows it."""
        return super().client(password=CANARY, **options)


class ChaosDaemon(DaemonProcess):
    """A daemon with, if asked for, a planted defect; it dies with the runner."""

    def __init__(self, data_dir: Path, number: int, planted: str, environ: Mapping[str, str], **settings: str) -> None:
        super().__init__(data_dir, **settings)
        self.number = number
        self.clock = SharedStep(data_dir.with_name(f"clock-{number}"))
        self._environ = {VARIABLE: str(data_dir.with_name(f"clock-{number}"))} | dict(environ)
        at = self._command.index("sidecar")
        self._command[at : at + 1] = ["tests.chaos.planted", planted]
        if shutil.which("setpriv") and threading.current_thread() is threading.main_thread():
            self._command = ["setpriv", "--pdeathsig", "KILL", "--", *self._command]

    def launch(self, environ: Mapping[str, str] | None = None) -> None:
        """As usual, with its own variables."""
        super().launch(self._environ | dict(environ or {}))

    def status(self) -> Any:
        """What it says of itself. Raises grpc.RpcError."""
        with Caller(self.target) as caller:
            return caller.admin.GetStatus(GetStatusRequest(), timeout=STATUS_TIMEOUT_S)

    def dead_writes(self) -> list[str]:
        """Request ids of its buffered writes that could not be applied. Raises grpc.RpcError."""
        found, token = [], ""
        with Caller(self.target) as caller:
            while True:
                request = ListDeadWritesRequest(page_size=1000, page_token=token)
                page = caller.admin.ListDeadWrites(request, timeout=STATUS_TIMEOUT_S)
                found += [dead.request_id for dead in page.dead_writes]
                if not (token := page.next_page_token):
                    return found

    def mode(self) -> str:
        """NORMAL, DEGRADED, PASSTHROUGH, or empty where it does not answer."""
        try:
            return types_pb2.ServingMode.Name(self.status().mode).removeprefix("SERVING_MODE_")
        except grpc.RpcError:
            return ""

    def well(self) -> bool:
        """Whether it is NORMAL, with nothing left in its journal."""
        try:
            status = self.status()
        except grpc.RpcError:
            return False
        return bool(status.mode == types_pb2.SERVING_MODE_NORMAL and not status.journal_depth)

    def files_open(self) -> int:
        """How many file descriptors it has."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def process_state(self) -> str:
        """As the kernel says: T is stopped."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]


class Deployment:
    """All servers, proxies and daemons. Enter to start, exit to stop."""

    def __init__(self, directory: Path, *, seed: int, planted: str = NONE) -> None:
        self.directory = directory
        self.valkey = ChaosValkey()
        self.postgres = Postgres(settings={"max_connections": CONNECTIONS_MAX, "log_connections": "off"})
        self.daemons: list[ChaosDaemon] = []
        self.to_postgres: list[Proxy] = []
        self.to_valkey: list[Proxy] = []
        self._seed = seed
        self._planted = planted
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def proxies(self) -> list[Proxy]:
        """All of them."""
        return [*self.to_postgres, *self.to_valkey]

    def _start(self) -> None:
        for server in (self.valkey, self.postgres):
            self._stack.callback(server.stop)
            server.start()
        role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(ROLE), sql.Literal(CANARY))
        self.postgres.execute(role)
        self.postgres.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        loop = self._stack.enter_context(ProxyLoop())
        [postgres_port] = free_ports(1)
        for number in range(DAEMONS):
            here = f"127.0.0.{number + 2}"
            behind = ((HOST, self.postgres.port), postgres_port), ((HOST, self.valkey.port), 0)
            postgres, valkey = (
                Proxy(loop, target, host=here, port=port, seed=self._seed * 10 + number) for target, port in behind
            )
            self.to_postgres.append(postgres)
            self.to_valkey.append(valkey)
            for proxy in (postgres, valkey):
                proxy.start()
                self._stack.callback(proxy.stop)
            self._start_daemon(number, postgres, valkey)

    def _start_daemon(self, number: int, postgres: Proxy, valkey: Proxy) -> None:
        policies = {
            f"namespaces.{name}.{key}": value for name, policy in NAMESPACES.items() for key, value in policy.items()
        }
        daemon = ChaosDaemon(
            self.directory / f"data-{number}",
            number,
            self._planted,
            {"PGHOSTADDR": postgres.host},
            **{
                "app": "chaos",
                # Below those that the machine gives out: it is free again after a kill.
                "listen": f"{HOST}:{free_ports(1)[0]}",
                "tiers.hot": f"redis://:{CANARY}@{valkey.host}:{valkey.port}/0",
                "tiers.warm": f"postgresql://{ROLE}:{CANARY}@localhost:{postgres.port}/{DATABASE}?schema=state_sidecar",
                "write_timeout_s": "5",
                "grace_period_s": "5",
            },
            **policies,
        )
        self.daemons.append(daemon)
        self._stack.callback(_kill, daemon)
        daemon.start()

    def heal(self) -> None:
        """Undo whatever is left of faults; every server and daemon runs afterwards."""
        for proxy in self.proxies:
            proxy.set(PASSING)
            proxy.accept()
        for server in (self.valkey, self.postgres):
            if server._process is None or server.process.poll() is not None:
                server.restart()
        for daemon in self.daemons:
            daemon.clock.wanted = 0
            if not daemon.alive():
                daemon.restart()

    def dead_writes(self) -> list[str]:
        """Request ids of buffered writes that could not be applied, of all journals."""
        return [request_id for daemon in self.daemons for request_id in daemon.dead_writes()] if BUFFERING else []

    def requests(self) -> dict[tuple[str, str], int]:
        """What PostgreSQL remembers of each request (namespace, id): the version that it made, or 0 of a refusal."""
        rows = self.postgres.execute(f"SELECT namespace, request_id, outcome FROM {SCHEMA}.requests", database=DATABASE)
        return {
            (bytes(namespace).decode(), bytes(request_id).decode()): json.loads(bytes(outcome)).get("version", 0)
            for namespace, request_id, outcome in rows
        }

    def targets(self) -> list[str]:
        """Where clients dial."""
        return [daemon.target for daemon in self.daemons]

    def modes(self) -> list[str]:
        """What every daemon says of itself."""
        return [daemon.mode() for daemon in self.daemons]


def _kill(daemon: ChaosDaemon) -> None:
    if daemon.alive():
        daemon.kill()


def python(*arguments: str) -> list[str]:
    """The command for a module of ours."""
    return [sys.executable, "-m", *arguments]
