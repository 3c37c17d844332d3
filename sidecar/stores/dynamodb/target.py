"""What a `dynamodb://` URL names. Credentials never stand in it: they come from where AWS tools look for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

from sidecar.stores.apps import within

_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_REGION = re.compile(r"[a-z]{2,}(?:-[a-z0-9]+)+")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{0,64}")
_FORM = "write dynamodb://TABLE?region=eu-west-1"
_PARAMETERS = ("region", "endpoint_url", "profile", "prefix", "create")
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamoTarget:
    """A table and how to reach it; None: what the environment and the profile say.

    `prefix` keeps several stores apart in one table; the last part of it is the app's own. `create`: make the table where it is missing.
    """

    table: str
    region: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    prefix: str = ""
    create: bool = False


def parse_target(url: str, app: str = "") -> DynamoTarget:
    """The target of `dynamodb://TABLE?region=&endpoint_url=&profile=&prefix=&create=`. Raises ValueError."""
    parts = _split(url)
    if parts.scheme != "dynamodb":
        raise ValueError(f"not a dynamodb:// URL: {_FORM}")
    if "@" in parts.netloc:
        raise ValueError(
            f"credentials do not belong in the URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; {_FORM}"
        )
    if not _TABLE.fullmatch(parts.netloc):
        raise ValueError(f"a table's name has 3 to 255 letters, digits, '_', '.' and '-': {_FORM}")
    if parts.path not in ("", "/") or parts.fragment:
        raise ValueError(f"nothing but parameters may follow the table: {_FORM}")
    given = _parameters(parts.query)
    return DynamoTarget(
        table=parts.netloc,
        region=_matching(given, "region", _REGION, "a region is such as eu-west-1"),
        endpoint_url=_endpoint(given.get("endpoint_url")),
        profile=given.get("profile"),
        prefix=within(_prefix(given), app),
        create=_flag(given.get("create", "false")),
    )


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError(f"not a URL: {_FORM}") from None


def _parameters(query: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _PARAMETERS:
            raise ValueError(f"unknown parameter {name!r}; known are {', '.join(_PARAMETERS)}")
        if name in given:
            raise ValueError(f"{name} is given twice")
        if not value:
            raise ValueError(f"{name} is empty")
        given[name] = value
    return given


def _matching(given: dict[str, str], name: str, pattern: re.Pattern[str], message: str) -> str | None:
    value = given.get(name)
    if value is not None and not pattern.fullmatch(value):
        raise ValueError(message)
    return value


def _prefix(given: dict[str, str]) -> str:
    return _matching(given, "prefix", _PREFIX, "prefix has at most 64 letters, digits, '_', '.' and '-'") or ""


def _endpoint(url: str | None) -> str | None:
    if url is None:
        return None
    parts = _split(url)
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong in endpoint_url")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.path not in ("", "/"):
        raise ValueError("endpoint_url is such as http://127.0.0.1:8000, without a path")
    return url


def _flag(value: str) -> bool:
    if value not in _FLAGS:
        raise ValueError("create is true or false")
    return _FLAGS[value]
