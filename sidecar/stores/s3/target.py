"""What an `s3://` URL names. Credentials are no part of it: they come from the places where AWS's own tools look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from sidecar.stores.apps import within

PREFIX_BYTES_MAX = 190
"""S3's bound of a key (1024) less what the longest name becomes (777) and an app's folder (50), rounded down."""

_FORM = "s3://BUCKET/PREFIX?endpoint_url=…&region=…"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_PART = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._=-]+")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_PARAMETERS = ("endpoint_url", "region", "create", "path_style")
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Target:
    """A bucket, a folder in it, and how to reach it; None: as AWS's own configuration says."""

    bucket: str
    prefix: str = ""
    """Without slashes around it, the app's folder at its end; empty: the whole bucket."""
    endpoint_url: str | None = None
    region: str | None = None
    create: bool = False
    """Make the bucket if it is missing."""
    path_style: bool = False
    """The bucket is in the path, not in the host's name."""

    def __str__(self) -> str:
        folder = f"/{self.prefix}" if self.prefix else ""
        return f"s3://{self.bucket}{folder}"


def parse_target(url: str, app: str = "") -> S3Target:
    """The target of an `s3://` URL, for an app's data. Raises ValueError, with a message for the operator that repeats no secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"it can't be read as a URL; it has the form {_FORM}") from None
    if parts.scheme != "s3":
        raise ValueError(f"it has the form {_FORM}")
    if "@" in parts.netloc:
        raise ValueError(
            "credentials are not read from the URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role"
        )
    if not _BUCKET.fullmatch(parts.netloc):
        raise ValueError(f"a bucket's name has 3 to 63 letters, digits, dots and dashes; the URL has the form {_FORM}")
    if parts.fragment:
        raise ValueError("it has a #, which is no part of a prefix")
    given = _parameters(parts.query)
    endpoint_url = given.get("endpoint_url")
    return S3Target(
        bucket=parts.netloc,
        prefix=within(_prefix(unquote(parts.path)), app),
        endpoint_url=None if endpoint_url is None else _endpoint(endpoint_url),
        region=_region(given),
        create=_truth(given, "create", default=False),
        path_style=_truth(given, "path_style", default=endpoint_url is not None),
    )


def _parameters(query: str) -> Mapping[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    for name, _ in pairs:
        if name not in _PARAMETERS:
            raise ValueError(f"there is no parameter {name[:40]!r}; there are {', '.join(_PARAMETERS)}")
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError("a parameter is given twice")
    return given


def _prefix(path: str) -> str:
    prefix = path.strip("/")
    if len(prefix.encode()) > PREFIX_BYTES_MAX:
        raise ValueError(f"the prefix has more than {PREFIX_BYTES_MAX} bytes")
    if prefix and not all(map(_PART.fullmatch, prefix.split("/"))):
        raise ValueError("a prefix has parts of letters, digits and . _ = -, with one slash between them")
    return prefix


def _endpoint(url: str) -> str:
    wrong = ValueError("endpoint_url has the form http://host:port or https://host")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise wrong
    if parts.username is not None:
        raise ValueError("endpoint_url holds credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
    if parts.query or parts.fragment:
        raise ValueError("endpoint_url has a ? or a #, which an endpoint has not")
    return url.rstrip("/")


def _region(given: Mapping[str, str]) -> str | None:
    region = given.get("region")
    if region is not None and not _REGION.fullmatch(region):
        raise ValueError("region is a name such as eu-central-1")
    return region


def _truth(given: Mapping[str, str], name: str, *, default: bool) -> bool:
    if name not in given:
        return default
    if given[name] not in _TRUTH:
        raise ValueError(f"{name} is true or false")
    return _TRUTH[given[name]]
