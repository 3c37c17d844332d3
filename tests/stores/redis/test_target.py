"""URLs: what they say, and what is said of those that say nothing useful."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sidecar.stores.redis.target import Endpoint, RedisTarget, Tls, Topology, Verify, parse_target


def test_the_least() -> None:
    assert parse_target("redis://cache") == RedisTarget(
        topology=Topology.SINGLE, endpoints=(Endpoint("cache", 6379),), database=0
    )


def test_a_server_with_all() -> None:
    url = "rediss://me:s%40cret%2F@cache:7000/3?ca_file=/ca.pem&cert_file=/c.pem&key_file=/k.pem&verify=ca"

    assert parse_target(url) == RedisTarget(
        topology=Topology.SINGLE,
        endpoints=(Endpoint("cache", 7000),),
        user="me",
        password="s@cret/",
        database=3,
        tls=Tls(ca_file="/ca.pem", cert_file="/c.pem", key_file="/k.pem", verify=Verify.CA),
    )


def test_a_password_without_a_user() -> None:
    target = parse_target("redis://:secret@cache")

    assert (target.user, target.password) == (None, "secret")


def test_a_cluster() -> None:
    target = parse_target("redis+cluster://me:secret@one:7001,[::1]:7002,three?tls=true")

    assert target.topology is Topology.CLUSTER
    assert target.endpoints == (Endpoint("one", 7001), Endpoint("::1", 7002), Endpoint("three", 6379))
    assert target.tls == Tls()
    assert str(target.endpoints[1]) == "[::1]:7002"


def test_sentinels() -> None:
    url = "redis+sentinel://me:secret@s1,s2:7000/the%20primary/2?sentinel_user=watcher&sentinel_password=hush"
    target = parse_target(url)

    assert target.topology is Topology.SENTINEL
    assert target.endpoints == (Endpoint("s1", 26379), Endpoint("s2", 7000))
    assert (target.primary_name, target.database) == ("the primary", 2)
    assert (target.sentinel_user, target.sentinel_password) == ("watcher", "hush")
    assert parse_target("redis+sentinel://s1/name").database == 0


def test_no_password_is_shown() -> None:
    shown = repr(parse_target("redis+sentinel://me:secret@s1/name?sentinel_password=hush"))

    assert "secret" not in shown
    assert "hush" not in shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://cache", "begins with redis"),
        ("redis:cache", "begins with redis"),
        ("redis://", "host is missing"),
        ("redis://:6379", "not host:port"),
        ("redis://:a/secret@cache", "%2F"),
        ("redis://me:a@b/secret@cache", "%2F"),
        ("redis://:a#secret@cache", "%23"),
        ("redis://:a?secret@cache", "%3F"),
        ("redis://cache:port", "not host:port"),
        ("redis://cache:70000", "not host:port"),
        ("redis://one,two", "one server"),
        ("redis://cache/zero", "not a database's number"),
        ("redis://cache/0/1", "not a database's number"),
        ("redis://cache?db=3", "unknown parameter 'db'; known are ca_file, cert_file, key_file, verify"),
        ("redis://cache?ca_file=/ca.pem", "write rediss://"),
        ("redis://cache?tls=true", "unknown parameter 'tls'"),
        ("rediss://cache?verify=maybe", "verify is full, ca"),
        ("rediss://cache?key_file=/k.pem", "key_file needs cert_file"),
        ("redis+cluster://one/1", "database 0 only"),
        ("redis+cluster://one,", "host is missing"),
        ("redis+cluster://one?tls=perhaps", "tls is true or false"),
        ("redis+cluster://one?ca_file=/ca.pem", "tls=true"),
        ("redis+cluster://one?sentinel_user=x", "unknown parameter 'sentinel_user'"),
        ("redis+sentinel://s1", "name is missing"),
        ("redis+sentinel://s1/name/zero", "not a database's number"),
    ],
)
def test_what_is_wrong_is_said(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_target(url)

    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_url_is_read_without_the_client_library() -> None:
    code = "import sys, sidecar.stores.redis as r; r.parse_target('redis://h'); sys.exit('hiredis' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
