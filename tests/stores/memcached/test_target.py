"""What an operator writes for a hot tier in memcached, and what is said about a wrong text."""

from __future__ import annotations

import pytest

from sidecar.stores.memcached.target import Address, MemcachedTarget, parse_target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("memcached://h1:11212", MemcachedTarget(servers=(Address(host="h1", port=11212),))),
        ("memcached://h1", MemcachedTarget(servers=(Address(host="h1", port=11211),))),
        ("memcached://h1/", MemcachedTarget(servers=(Address(host="h1", port=11211),))),
        (
            "memcached://h1:1,H2.example:2,10.0.0.3",
            MemcachedTarget(
                servers=(Address(host="h1", port=1), Address(host="h2.example", port=2), Address(host="10.0.0.3"))
            ),
        ),
        (
            "memcached://[::1]:7,[FE80::2]",
            MemcachedTarget(servers=(Address(host="::1", port=7), Address(host="fe80::2"))),
        ),
        ("memcached://h1?connections=8", MemcachedTarget(servers=(Address(host="h1"),), connections=8)),
    ],
)
def test_a_url_names_servers_and_connections(url: str, target: MemcachedTarget) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h1", "not a memcached URL"),
        ("memcached:h1", "not a memcached URL"),
        ("memcached://", "'' is not a host"),
        ("memcached://h1,,h2", "'' is not a host"),
        ("memcached://h1:x", "'h1:x' is not a host with a port"),
        ("memcached://h1:0", "port 0"),
        ("memcached://h1:65536", "port 65536"),
        ("memcached://h 1:1", "is not a host"),
        ("memcached://::1:1", "is not a host"),
        ("memcached://h1:1,H1:1", "h1:1 is named twice"),
        ("memcached://h1,h1:11211", "h1:11211 is named twice"),
        ("memcached://h1/0", "no paths"),
        ("memcached://h1#x", "no paths or fragments"),
        ("memcached://h1?pool=3", "unknown parameter 'pool': the only one is connections"),
        ("memcached://h1?connections=0", "a number from 1 to 64"),
        ("memcached://h1?connections=65", "a number from 1 to 64"),
        ("memcached://h1?connections=", "a number from 1 to 64"),
        (f"memcached://{','.join(f'h{n}' for n in range(65))}", "at most 64"),
    ],
)
def test_a_wrong_url_is_refused_with_what_is_wrong(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_target(url)


def test_a_password_is_refused_without_being_repeated() -> None:
    with pytest.raises(ValueError, match="no user or password") as caught:
        parse_target("memcached://user:secret@h1:1")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["h1:1", "[::1]:11211"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_target(f"memcached://{text}").servers[0]) == text
