"""URLs of PostgreSQL: what they mean, and what is refused in words that hold no secret."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sidecar.stores.postgres.target import PARAMETERS, PostgresTarget, parse_target


def test_a_host_and_a_database_are_enough() -> None:
    assert parse_target("postgresql://db/app") == PostgresTarget(hosts=(("db", 5432),), database="app")


def test_every_part_is_read() -> None:
    target = parse_target(
        "postgresql://us%20er:p%40ss%2Fw@one:6000,[::1],two:6001/my%20db?schema=mine&connections=9&prepared=off"
        "&application_name=a&passfile=/pass&sslmode=verify-full&sslrootcert=/ca&sslcert=/cert&sslkey=/key"
    )

    assert target == PostgresTarget(
        hosts=(("one", 6000), ("::1", 5432), ("two", 6001)),
        database="my db",
        user="us er",
        password="p@ss/w",
        schema="mine",
        connections=9,
        prepared=False,
        application_name="a",
        passfile="/pass",
        sslmode="verify-full",
        sslrootcert="/ca",
        sslcert="/cert",
        sslkey="/key",
    )
    assert target.parameters(target.hosts[0])["password"] == "p@ss/w"


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(parse_target("postgresql://u:secret@h/d"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://h/d", "postgresql://"),
        ("postgresql://h", "name the database"),
        ("postgresql://h/", "name the database"),
        ("postgresql://h/a/b", "name the database"),
        ("postgresql:///d", "name the host"),
        ("postgresql://h:0/d", "port"),
        ("postgresql://h:65536/d", "port"),
        ("postgresql://h:x/d", "name the host"),
        ("postgresql://u:a#b@h/d", "%23"),
        ("postgresql://h/d?schema=", "empty"),
        ("postgresql://h/d?schema=A", "schema"),
        ("postgresql://h/d?schema=a;b", "schema"),
        ("postgresql://h/d?schema=pg_mine", "pg_"),
        ("postgresql://h/d?schema=" + "a" * 64, "63"),
        ("postgresql://h/d?schema=a%0a", "schema"),
        ("postgresql://h/d?connections=1", "2 to 64"),
        ("postgresql://h/d?connections=many", "2 to 64"),
        ("postgresql://h/d?sslmode=yes", "verify-full"),
        ("postgresql://h/d?prepared=on", "auto, off"),
        ("postgresql://h/d?pool=1", ", ".join(PARAMETERS)),
        ("postgresql://h/d?schema=a&schema=b", "twice"),
        ("postgresql://[h/d", "can't be read"),
    ],
)
def test_what_is_wrong_is_said(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        parse_target(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@x@h/d/e",
        "postgresql://u:secret:secret@h:x/d",
        "postgresql://u:a/secret@h/d",
        "mysql://u:secret@h",
    ],
)
def test_no_refusal_holds_the_password(url: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # what it does not say is asked
        parse_target(url)

    assert "secret" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_reading_a_url_needs_no_driver() -> None:
    code = "import sys, sidecar.stores.postgres.target; sys.exit('psycopg' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)
