"""Faults of Valkey itself, and of both backends at once."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

import redis

from servers.base import HOST
from tests.chaos.faults import Scene, fault, grown
from tests.chaos.proxies import PASSING, Rule


@fault("valkey-killed")
def killed(scene: Scene) -> str:
    """kill -9; it comes back empty."""
    valkey = scene.deployment.valkey
    pid = valkey.process.pid
    valkey.kill()
    scene.hold(0.1, 2.0)
    valkey.restart()
    return f"process {pid} is {valkey.process.pid} now" if valkey.process.pid != pid else ""


@fault("valkey-paused")
def paused(scene: Scene) -> str:
    """Stopped: connections stay, nothing answers."""
    valkey = scene.deployment.valkey
    valkey.pause()
    try:
        seconds = scene.hold(1.0, 5.0)
        with _impatient(scene) as client:
            deaf = not _does(client, "PING")
    finally:
        valkey.resume()
    return f"no answer for {seconds:.1f} s" if deaf else ""


def _impatient(scene: Scene) -> redis.Redis:
    client = scene.deployment.valkey.client()
    client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
    return client


def _does(client: Any, *command: str) -> bool:
    """Whether it does it, in time."""
    try:
        client.execute_command(*command)
    except redis.RedisError:
        return False
    return True


@fault("valkey-flushed")
def flushed(scene: Scene) -> str:
    """FLUSHALL."""
    valkey = scene.deployment.valkey
    before = valkey.ask("DBSIZE")
    valkey.ask("FLUSHALL")
    return f"{before} keys flushed" if before else ""


@fault("valkey-evicts")
def evicts(scene: Scene) -> str:
    """Its memory is full, and any key may go at any time."""
    valkey = scene.deployment.valkey
    before = int(valkey.info("stats")["evicted_keys"])
    used = int(valkey.info("memory")["used_memory"])
    valkey.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    valkey.ask("CONFIG", "SET", "maxmemory", used - 100_000)
    try:
        scene.hold(2.0, 5.0)
        evicted = int(valkey.info("stats")["evicted_keys"]) - before
    finally:
        valkey.ask("CONFIG", "SET", "maxmemory", 0)
        valkey.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    return f"{evicted} keys evicted" if evicted else ""


@fault("valkey-forgets-while-a-daemon-is-stopped")
def forgets(scene: Scene) -> str:
    """What a daemon was about to tell comes seconds late, to a Valkey that has dropped much of what it had then."""
    daemon = scene.daemon()
    proxy = scene.deployment.to_valkey[daemon.number]
    forgotten = 0
    with contextlib.closing(scene.deployment.valkey.client()) as client:
        proxy.set(Rule(delay_s=0.08, jitter_s=0.05))
        try:
            for _ in range(6):
                forgotten += _forget_some(scene, client)
            daemon.signal(signal.SIGSTOP)
            for _ in range(scene.random.randint(12, 20)):
                forgotten += _forget_some(scene, client)
            stopped = daemon.process_state() == "T"
        finally:
            daemon.signal(signal.SIGCONT)
            scene.hold(1.0)
            proxy.set(PASSING)
    return f"daemon {daemon.number} stopped, {forgotten} copies dropped" if forgotten and stopped else ""


@fault("valkey-forgets-and-hears-late")
def forgets_and_hears_late(scene: Scene) -> str:
    """What a daemon has just read reaches Valkey seconds later; what others told it meanwhile has been dropped."""
    number = scene.random.randrange(len(scene.deployment.daemons))
    to_postgres, to_valkey = scene.deployment.to_postgres[number], scene.deployment.to_valkey[number]
    before, forgotten = to_valkey.seen["bytes delayed"], 0
    with contextlib.closing(scene.deployment.valkey.client()) as client:
        to_postgres.set(Rule(delay_s=0.1))
        try:
            for _ in range(4):
                forgotten += _forget_some(scene, client)
            to_valkey.set(Rule(delay_s=2.4))
            for _ in range(10):
                forgotten += _forget_some(scene, client)
        finally:
            to_postgres.set(PASSING)
            to_valkey.set(PASSING)
    late = grown(to_valkey, "bytes delayed", before, f"daemon {number}")
    return f"{late}, {forgotten} copies dropped" if late and forgotten else ""


def _forget_some(scene: Scene, client: Any) -> int:
    """Half of the copies, as an eviction does: nobody is told."""
    scene.hold(0.25)
    names = sorted(client.scan_iter(match="*:c:*", count=1000))
    chosen = [name for name in names if scene.random.random() < 0.5]
    return int(client.unlink(*chosen)) if chosen else 0


@fault("valkey-memory-full")
def memory_full(scene: Scene) -> str:
    """Its memory is full, and nothing may go: writes are refused."""
    valkey = scene.deployment.valkey
    valkey.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        scene.hold(1.0, 4.0)
        refused = _refused(scene)
    finally:
        valkey.ask("CONFIG", "SET", "maxmemory", 0)
    return "writes refused" if refused else ""


@fault("valkey-role-changed")
def role_changed(scene: Scene) -> str:
    """It is a replica for a while, of nobody: reads pass, writes are refused."""
    valkey = scene.deployment.valkey
    valkey.ask("REPLICAOF", HOST, 1)
    try:
        scene.hold(1.0, 4.0)
        refused = _refused(scene)
    finally:
        valkey.ask("REPLICAOF", "NO", "ONE")
    return "writes refused" if refused else ""


def _refused(scene: Scene) -> bool:
    with _impatient(scene) as client:
        return not _does(client, "SET", "probe", "x")


@fault("valkey-clients-killed")
def clients_killed(scene: Scene) -> str:
    """CLIENT KILL, a few times."""
    ended = 0
    for _ in range(3):
        ended += scene.deployment.valkey.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        scene.hold(0.1, 0.4)
    return f"{ended} connections killed" if ended else ""


@fault("valkey-clients-paused")
def clients_paused(scene: Scene) -> str:
    """CLIENT PAUSE, of all or of writes."""
    valkey = scene.deployment.valkey
    what = scene.random.choice(("ALL", "WRITE"))
    seconds = scene.random.uniform(1.0, 3.0)
    valkey.ask("CLIENT", "PAUSE", int(seconds * 1000), what)
    with _impatient(scene) as client:
        deaf = not _does(client, "SET", "probe", "x")
    scene.hold(seconds)
    return f"{what} paused for {seconds:.1f} s" if deaf else ""


@fault("valkey-refuses-clients")
def refuses_clients(scene: Scene) -> str:
    """It has as many clients as it takes, and those of the daemons end."""
    valkey = scene.deployment.valkey
    with contextlib.closing(valkey.client()) as connected:
        first: Any = connected
        first.execute_command("CONFIG", "SET", "maxclients", 1)
        try:
            first.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            before = _rejected(first)
            scene.hold(1.0, 3.0)
            rejected = _rejected(first) - before
        finally:
            first.execute_command("CONFIG", "SET", "maxclients", 1000)
    return f"{rejected} connections refused" if rejected else ""


def _rejected(client: Any) -> int:
    return int(client.info("stats")["rejected_connections"])


@fault("valkey-scripts-flushed")
def scripts_flushed(scene: Scene) -> str:
    """SCRIPT FLUSH, a few times: scripts have to be loaded again."""
    flushed = 0
    for _ in range(3):
        flushed += int(scene.deployment.valkey.info("memory")["number_of_cached_scripts"])
        scene.deployment.valkey.ask("SCRIPT", "FLUSH")
        scene.hold(0.2, 0.5)
    return f"{flushed} scripts forgotten" if flushed > 1 else ""


@fault("both-backends-paused")
def both_paused(scene: Scene) -> str:
    """Nothing answers anybody."""
    postgres = scene.deployment.postgres
    postgres.pause()
    try:
        return paused(scene)
    finally:
        postgres.resume()


@fault("both-backends-killed")
def both_killed(scene: Scene) -> str:
    """kill -9 of both; PostgreSQL comes back last."""
    valkey, postgres = scene.deployment.valkey, scene.deployment.postgres
    pids = {valkey.process.pid, postgres.process.pid}
    valkey.kill()
    postgres.kill()
    scene.hold(0.2, 3.0)
    valkey.restart()
    scene.hold(0.1, 1.0)
    postgres.restart()
    after = {valkey.process.pid, postgres.process.pid}
    return f"processes {sorted(pids)} are {sorted(after)} now" if not pids & after else ""
