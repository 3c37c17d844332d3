"""What sinks' URLs have in common. A wrong one is a ValueError for the operator, which repeats nothing of the URL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_NUMBER = re.compile(r"[0-9]{1,12}")


def split(url: str, form: str) -> SplitResult:
    """The parts of a URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"it can't be read as a URL; it has the form {form}") from None
    if parts.fragment or url.endswith("#"):
        raise ValueError("it has a #; write it as %23 in a password or a parameter")
    return parts


def parameters(query: str, known: Sequence[str]) -> dict[str, str]:
    """The parameters, each at most once and none that is unknown."""
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(name not in known for name, _ in pairs):
        raise ValueError(f"it has a parameter that is unknown; known are {', '.join(known)}")
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError("a parameter is given twice")
    return given


def whole(given: dict[str, str], name: str, *, default: int, low: int, high: int) -> int:
    """A parameter that is a whole number within bounds."""
    text = given.get(name, str(default))
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise ValueError(f"{name} is a number from {low} to {high}")
    return int(text)


def matched(given: dict[str, str], name: str, pattern: re.Pattern[str], form: str) -> str:
    """A parameter of a certain form; empty: it is not given."""
    text = given.get(name, "")
    if name in given and not pattern.fullmatch(text):
        raise ValueError(f"{name} is {form}")
    return text


def credentials(netloc: str) -> tuple[str | None, str | None, str]:
    """User, password and hosts."""
    userinfo, at, hosts = netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    return (unquote(user) if at else None), (unquote(password) if colon else None), hosts


def endpoints(hosts: str, port: int, form: str) -> tuple[str, ...]:
    """`host:port` of each of some hosts with commas between them."""
    found = []
    for host in hosts.split(","):
        try:
            parts = urlsplit(f"//{host}")
            name, own = parts.hostname, parts.port
        except ValueError:
            name, own = None, None
        if not name or own == 0 or "@" in host:
            raise ValueError(f"a host or its port is missing or wrong: write {form}")
        found.append(f"[{name}]:{own or port}" if ":" in name else f"{name}:{own or port}")
    return tuple(found)
