"""Faults of the way between one daemon and one backend, by its proxy."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from tests.chaos.faults import Scene, fault, grown
from tests.chaos.proxies import DOWN, PASSING, UP, Proxy, Rule


def _under(
    scene: Scene, where: str, proxies: Sequence[Proxy], rule: Rule, counter: str, span: tuple[float, float]
) -> str:
    """Hold a rule on some proxies, and see all of them count."""
    before = [proxy.seen[counter] for proxy in proxies]
    for proxy in proxies:
        proxy.set(rule)
    try:
        scene.hold(*span)
    finally:
        for proxy in proxies:
            proxy.set(PASSING)
    shown = [grown(proxy, counter, count, where) for proxy, count in zip(proxies, before, strict=True)]
    return "; ".join(shown) if all(shown) else ""


@fault("link-blackholed")
def blackholed(scene: Scene) -> str:
    """Nothing passes in either direction, nobody is told."""
    where, proxy = scene.link()
    return _under(scene, where, [proxy], Rule(lost=frozenset({UP, DOWN})), "bytes lost", (1.5, 6.0))


@fault("link-replies-vanish")
def replies_vanish(scene: Scene) -> str:
    """Requests arrive and are done; no reply comes back."""
    where, proxy = scene.link()
    return _under(scene, where, [proxy], Rule(lost=frozenset({DOWN})), "bytes lost", (1.0, 4.0))


@fault("link-requests-vanish")
def requests_vanish(scene: Scene) -> str:
    """The other way round."""
    where, proxy = scene.link()
    return _under(scene, where, [proxy], Rule(lost=frozenset({UP})), "bytes lost", (1.0, 4.0))


@fault("link-half-open")
def half_open(scene: Scene) -> str:
    """Connections are accepted, and nothing ever answers on them."""
    where, proxy = scene.link()
    proxy.set(Rule(mute=True))
    proxy.cut()
    return _under(scene, where, [proxy], Rule(mute=True), "muted", (2.0, 5.0))


@fault("link-reset")
def reset(scene: Scene) -> str:
    """Once."""
    where, proxy = scene.link()
    cut = proxy.cut()
    return f"{where}: {cut} connections reset" if cut else ""


@fault("link-reset-again-and-again")
def reset_again(scene: Scene) -> str:
    """Each connection lives for a moment."""
    where, proxy = scene.link()
    cut = 0
    for _ in range(12):
        cut += proxy.cut()
        scene.hold(0.05, 0.3)
    return f"{where}: {cut} connections reset" if cut > 1 else ""


@fault("link-replies-cut")
def replies_cut(scene: Scene) -> str:
    """The request was delivered; of its reply comes a part, then the connection is reset."""
    where, proxy = scene.link()
    most = scene.random.choice((0, 64, 300, 1_000, 4_000))
    return _under(scene, where, [proxy], Rule(replies_bytes_max=most), "replies lost", (1.5, 4.0))


@fault("link-loses-replies")
def loses_replies(scene: Scene) -> str:
    """Of twenty replies one does not come, and the connection is reset."""
    where, proxy = scene.link()
    return _under(scene, where, [proxy], Rule(replies_lost=0.05), "replies lost", (2.0, 5.0))


@fault("postgres-loses-replies")
def postgres_loses_replies(scene: Scene) -> str:
    """The same for all daemons: many commits of which nobody hears."""
    proxies = scene.deployment.to_postgres
    return _under(scene, "PostgreSQL", proxies, Rule(replies_lost=0.05), "replies lost", (2.0, 5.0))


@fault("link-slow")
def slow(scene: Scene) -> str:
    """100 ms, give or take 80, in each direction."""
    where, proxy = scene.link()
    return _under(scene, where, [proxy], Rule(delay_s=0.1, jitter_s=0.08), "bytes delayed", (2.0, 5.0))


@fault("valkey-hears-late")
def hears_late(scene: Scene) -> str:
    """What one daemon tells Valkey comes there up to 3 s later, when the daemon has long given up waiting."""
    number = scene.random.randrange(len(scene.deployment.daemons))
    rule = Rule(delay_s=1.5, jitter_s=1.5)
    return _under(scene, f"daemon {number}", [scene.deployment.to_valkey[number]], rule, "bytes delayed", (3.0, 6.0))


@fault("link-narrow")
def narrow(scene: Scene) -> str:
    """1 to 16 KiB a second."""
    where, proxy = scene.link()
    rule = Rule(bytes_per_s=scene.random.uniform(1, 16) * 1024)
    return _under(scene, where, [proxy], rule, "bytes delayed", (2.0, 5.0))


@fault("link-refused")
def refused(scene: Scene) -> str:
    """Nobody listens there."""
    where, proxy = scene.link()
    proxy.refuse()
    try:
        scene.hold(1.0, 4.0)
        with socket.socket() as asking:
            code = asking.connect_ex((proxy.host, proxy.port))
    finally:
        proxy.accept()
    return f"{where}: refused ({code})" if code else ""


@fault("daemon-cut-off-from-postgres")
def cut_off(scene: Scene) -> str:
    """One daemon sees Valkey but no PostgreSQL; the others see both."""
    number = scene.random.randrange(len(scene.deployment.daemons))
    proxy = scene.deployment.to_postgres[number]
    rule = Rule(lost=frozenset({UP, DOWN}))
    return _under(scene, f"daemon {number}", [proxy], rule, "bytes lost", (4.0, 8.0))


@fault("postgres-cut-off-from-all")
def all_cut_off(scene: Scene) -> str:
    """No daemon sees PostgreSQL, which goes on with what it was told."""
    rule = Rule(lost=frozenset({UP, DOWN}))
    return _under(scene, "PostgreSQL", scene.deployment.to_postgres, rule, "bytes lost", (2.0, 5.0))


@fault("valkey-cut-off-from-all")
def cache_cut_off(scene: Scene) -> str:
    """No daemon sees Valkey, which keeps what it had."""
    rule = Rule(lost=frozenset({UP, DOWN}))
    return _under(scene, "Valkey", scene.deployment.to_valkey, rule, "bytes lost", (2.0, 5.0))


@fault("postgres-flaps")
def flaps(scene: Scene) -> str:
    """Six quick cuts, for everybody."""
    proxies, cut = scene.deployment.to_postgres, 0
    for _ in range(6):
        cut += sum(len(proxy.links) for proxy in proxies)
        for proxy in proxies:
            proxy.refuse()
        scene.hold(0.1, 0.4)
        for proxy in proxies:
            proxy.accept()
        scene.hold(0.2, 0.6)
    return f"{cut} connections cut in six flaps" if cut >= 6 else ""
