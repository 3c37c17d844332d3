"""What `--to` names. Read before the library that writes there is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sidecar.runtime.parsing import url_path
from sidecar.stores.s3.target import S3Target, parse_target

_FORMS = "file:///path or s3://BUCKET/PREFIX?endpoint_url=…&region=…"


@dataclass(frozen=True, slots=True)
class Target:
    """A folder of this machine, or of a bucket."""

    at: Path | S3Target

    def __str__(self) -> str:
        return f"file://{self.at}" if isinstance(self.at, Path) else str(self.at)


def parse(url: str) -> Target:
    """The target of a URL. Raises ValueError, with a message that repeats no secret."""
    scheme, separator, rest = url.partition("://")
    if separator and rest and scheme == "file":
        return Target(url_path(url))
    if separator and scheme == "s3":
        return Target(_reachable(parse_target(url)))
    raise ValueError(f"it has the form {_FORMS}")


def _reachable(target: S3Target) -> S3Target:
    """The same, unless it asks for what Arrow's client of S3 can't do."""
    if target.endpoint_url is None and target.path_style:
        raise ValueError("path_style=true needs an endpoint_url here")
    if target.endpoint_url is not None and urlsplit(target.endpoint_url).path:
        raise ValueError("endpoint_url has the form http://host:port or https://host, without a path")
    return target
