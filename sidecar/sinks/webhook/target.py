"""Which endpoint a URL names, and how events are written for it. Imports no client library.

http(s)://[user:password@]host:port/path?mode=structured|binary&timeout=SECONDS; any other parameter goes out with it
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from sidecar.sinks.parameters import credentials, endpoints, matched, split, whole

TIMEOUT_S, TIMEOUT_S_MAX = 10, 120
_FORM = "https://host:port/path?mode=structured"
_MODE = re.compile("structured|binary")
_OWN = ("mode", "timeout")
_TEXT = re.compile(r"[\x21-\x7e]*")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """An endpoint. Its path and parameters may be what authorises us: it is shown by its host."""

    url: str = field(repr=False)
    """As it is asked for, encoded."""
    host: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    binary: bool = False
    """Attributes in headers, the payload as the body; else all of it as JSON."""
    timeout_s: int = TIMEOUT_S
    """How long an answer may take."""


def parse_target(url: str) -> WebhookTarget:
    """Read a URL. Raises ValueError with a message for the operator, which names no secret."""
    parts = split(url, _FORM)
    if parts.scheme not in _PORTS or not parts.netloc:
        raise ValueError(f"it has the form {_FORM}")
    if not _TEXT.fullmatch(parts.path) or not _TEXT.fullmatch(parts.query):
        raise ValueError("it has spaces or characters beyond ASCII: write them as %XX")
    if "@" in parts.path and "@" not in parts.netloc:
        # A password ends at a slash, and its rest would be sent as a path.
        raise ValueError("write / as %2F, ? as %3F, # as %23 and @ as %40 in user, password and path")
    user, password, hosts = credentials(parts.netloc)
    if ":" in (user or ""):
        raise ValueError("a user has no : in it; that can't be told to an HTTP server")
    places = endpoints(hosts, _PORTS[parts.scheme], _FORM)
    if len(places) > 1:
        raise ValueError(f"it names one host: {_FORM}")
    given: dict[str, str] = {}
    others = []
    for pair in filter(None, parts.query.split("&")):
        name, _, value = pair.partition("=")
        if (known := unquote_plus(name)) in given:
            raise ValueError("a parameter is given twice")
        if known in _OWN:
            given[known] = unquote_plus(value)
        else:
            others.append(pair)
    return WebhookTarget(
        url=parts._replace(netloc=hosts, path=parts.path or "/", query="&".join(others)).geturl(),
        host=places[0],
        user=user,
        password=password,
        binary=matched(given, "mode", _MODE, "structured or binary") == "binary",
        timeout_s=whole(given, "timeout", default=TIMEOUT_S, low=1, high=TIMEOUT_S_MAX),
    )
