"""Faults of daemons and clients: killed, stopped for a while, drained."""

from __future__ import annotations

import signal

from tests.chaos.faults import Scene, fault

HOUR_MS = 3_600_000


@fault("daemon-killed")
def killed(scene: Scene) -> str:
    """As a crash: nothing is finished, nothing is closed."""
    daemon = scene.daemon()
    pid = daemon.pid
    daemon.kill()
    scene.hold(0.1, 1.5)
    daemon.restart()
    return f"daemon {daemon.number}: process {pid} is {daemon.pid} now" if daemon.pid != pid else ""


@fault("all-daemons-killed")
def all_killed(scene: Scene) -> str:
    """Nobody is there for a moment."""
    pids = [daemon.pid for daemon in scene.deployment.daemons]
    for daemon in scene.deployment.daemons:
        daemon.kill()
    for daemon in scene.deployment.daemons:
        daemon.restart()
    after = [daemon.pid for daemon in scene.deployment.daemons]
    return f"processes {pids} are {after} now" if not set(pids) & set(after) else ""


@fault("daemon-stopped-briefly")
def stopped_briefly(scene: Scene) -> str:
    """As a machine that is busy: shorter than any lease."""
    return _stopped(scene, 0.1, 1.0)


@fault("daemon-stopped-beyond-leases")
def stopped_beyond_leases(scene: Scene) -> str:
    """Longer than leases and turns last: others took over what it believes to hold."""
    return _stopped(scene, 4.0, 8.0)


def _stopped(scene: Scene, least_s: float, most_s: float) -> str:
    daemon = scene.daemon()
    daemon.signal(signal.SIGSTOP)
    try:
        seconds = scene.hold(least_s, most_s)
        state = daemon.process_state()
    finally:
        daemon.signal(signal.SIGCONT)
    return f"daemon {daemon.number}: stopped for {seconds:.1f} s" if state == "T" else ""


@fault("daemon-drained")
def drained(scene: Scene) -> str:
    """SIGTERM under load, and started again."""
    daemon = scene.daemon()
    code = daemon.terminate()
    daemon.restart()
    return f"daemon {daemon.number}: drained and ended" if code == 0 else ""


@fault("daemon-killed-in-drain")
def killed_in_drain(scene: Scene) -> str:
    """The grace period was too short."""
    daemon = scene.daemon()
    daemon.signal(signal.SIGTERM)
    scene.hold(0.01, 0.06)
    daemon.process.kill()
    code = daemon.ended()
    daemon.restart()
    # It may have been done already, which is no failure of the fault: it ended one way or the other.
    return f"daemon {daemon.number}: ended with {code} in its drain"


@fault("client-killed")
def client_killed(scene: Scene) -> str:
    """Its calls are answered to nobody."""
    return scene.clients.kill_one(scene.random)


@fault("daemon-starts-with-wrong-clock")
def wrong_clock(scene: Scene) -> str:
    """An hour or a day off, where PostgreSQL can't be asked for the time; then it can, and the clock is set right."""
    daemon = scene.daemon()
    proxy = scene.deployment.to_postgres[daemon.number]
    step = scene.random.choice((-1, 1)) * scene.random.choice((HOUR_MS, 24 * HOUR_MS))
    proxy.refuse()
    try:
        daemon.kill()
        daemon.clock.wanted = step
        daemon.restart()
        scene.hold(0.5, 3.0)
        used = daemon.clock.used
    finally:
        proxy.accept()
    scene.hold(0.5, 2.0)
    daemon.clock.wanted = 0
    return f"daemon {daemon.number}: {step / HOUR_MS:+g} h" if used == step else ""
