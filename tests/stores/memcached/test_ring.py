"""Which server holds a key: evenly, the same for everyone, and only the keys of a server that goes move."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

from sidecar.stores.memcached.items import Keys
from sidecar.stores.memcached.ring import Ring

SERVERS = [f"10.0.0.{n}:11211" for n in range(1, 6)]
KEYS = [Keys("").of("namespace", f"key {n}") for n in range(5_000)]


def holders(servers: list[str]) -> list[str]:
    ring = Ring(servers)
    return [servers[ring.index(key)] for key in KEYS]


def test_every_server_holds_its_share() -> None:
    counts = Counter(holders(SERVERS))

    assert all(800 < counts[server] < 1200 for server in SERVERS)


def test_a_server_that_is_taken_away_moves_only_its_own_keys() -> None:
    before, after = holders(SERVERS), holders(SERVERS[:2] + SERVERS[3:])

    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {old for old, _ in moved} == {SERVERS[2]}
    assert len({new for _, new in moved}) == 4, "they spread over all others"


def test_the_order_of_the_servers_means_nothing() -> None:
    assert len({tuple(holders(list(order))) for order in permutations(SERVERS[:3])}) == 1


def test_every_process_of_every_release_agrees() -> None:
    """Fixed places: a change would have daemons of two releases look for a key at different servers."""
    keys = Keys("prefix")

    assert keys.of("namespace", "key") == b"KftVNhgHTs61g3WzbQXggcgz"
    assert [Ring(SERVERS).index(keys.of("namespace", f"{n}")) for n in range(12)] == [
        2,
        4,
        1,
        0,
        3,
        1,
        3,
        1,
        1,
        1,
        0,
        4,
    ]
    assert keys.marker == b"0GFw1mrbVCd2Z/SlBu7Wuf1R"


def test_names_of_items_are_those_that_memcached_takes() -> None:
    keys = Keys("a prefix")

    for key in ("", " ", "\0", "\r\n", "é" * 512, "k" * 1024):
        name = keys.of("n" * 128, key)
        assert len(name) == 24
        assert name.isascii()
        assert b" " not in name
        assert name.decode().isprintable()


def test_prefix_namespace_and_key_do_not_run_together() -> None:
    names = [
        Keys(prefix).of(namespace, key)
        for prefix, namespace, key in [
            ("", "ab", "c"),
            ("", "a", "bc"),
            ("a", "b", "c"),
            ("", "1:a", "bc"),
            ("1:", "a", "bc"),
        ]
    ]

    assert len(set(names)) == len(names)
