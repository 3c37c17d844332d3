"""What an operator writes in a setting or a flag: durations, sizes, addresses. A wrong text is a ValueError that says how."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

DURATION_FORMS = "write 30m, 90s, 1h30m, 500ms, PT30M or a number of seconds"
DURATION_TEXT_MAX = 64
UNIX_PATH_BYTES_MAX = 107
"""sun_path has 108 bytes on Linux, the last one a zero."""

_UNIT_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_SIZES = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_NUMBER = r"\d+(?:\.\d+)?"
# Units from the greatest to the smallest, each at most once: 1h30m, not 30m1h.
_COMPACT = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _UNIT_MS), re.ASCII)
_ISO = re.compile(
    rf"P(?:(?P<w>{_NUMBER})W)?(?:(?P<d>{_NUMBER})D)?"
    rf"(?P<time>T(?:(?P<h>{_NUMBER})H)?(?:(?P<m>{_NUMBER})M)?(?:(?P<s>{_NUMBER})S)?)?",
    re.ASCII,
)
_SECONDS = re.compile(_NUMBER, re.ASCII)
_SECRET = re.compile("password|secret|token|user|key$", re.IGNORECASE)
_SIZE = re.compile(r"(\d+) ?([kmg]ib|)", re.ASCII | re.IGNORECASE)


def parse_duration_ms(value: Any) -> int:
    """Milliseconds of `1h30m`, `PT1H30M`, or a number of seconds; at least 1. Months and years have no fixed length."""
    if isinstance(value, timedelta):
        exact = Fraction(value // timedelta(microseconds=1), 1000)
    elif isinstance(value, str):
        exact = _text_ms(value.strip())
    elif isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < 1e15:  # noqa: PLR0124  # not NaN
        exact = Fraction(str(value)) * 1000
    else:
        raise ValueError(f"{value!r} is not a duration: {DURATION_FORMS}")
    if exact <= 0:
        raise ValueError(f"{value!r} is not above zero")
    if exact.denominator != 1:
        raise ValueError(f"{value!r} is finer than a millisecond")
    return int(exact)


def parse_optional_duration_ms(value: Any) -> int | None:
    """As `parse_duration_ms`; `none` is without end."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        return None
    try:
        return parse_duration_ms(value)
    except ValueError as error:
        raise ValueError(f"{error}; or none, for without end") from None


def _text_ms(text: str) -> Fraction:
    if len(text) <= DURATION_TEXT_MAX:
        if _SECONDS.fullmatch(text):
            return Fraction(text) * 1000
        match = _COMPACT.fullmatch(text) or _ISO.fullmatch(text.upper())
        parts = {unit: number for unit, number in match.groupdict().items() if number} if match else {}
        # `PT` and `P1DT` say that a time follows, and none does.
        if parts and parts.pop("time", "") != "T":
            return sum((Fraction(number) * _UNIT_MS[unit] for unit, number in parts.items()), Fraction(0))
    raise ValueError(f"{text[:DURATION_TEXT_MAX]!r} is not a duration: {DURATION_FORMS}")


def parse_bytes(value: Any) -> int:
    """Bytes of `4MiB`, `512 KiB` or a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())) and len(match[1]) <= 15:
        return int(match[1]) * _SIZES[match[2].lower()]
    raise ValueError(f"{value!r} is not a size: write 4MiB, 512KiB or a number of bytes")


def parse_optional_bytes(value: Any) -> int | None:
    """As `parse_bytes`; `none` is without a bound."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        return None
    try:
        return parse_bytes(value)
    except ValueError as error:
        raise ValueError(f"{error}; or none") from None


def parse_tcp_address(address: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:7420`, `localhost:7420` or `[::1]:7420`; port 0 is any free one."""
    host, separator, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if (":" in bare) != (host == f"[{bare}]") or not separator or not bare:
        raise ValueError(f"{address!r} is not host:port, such as 127.0.0.1:7420 or [::1]:7420")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(f"{address!r}: the port is a number from 0 to 65535")
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine (in Kubernetes: this pod) can reach it. A name other than localhost is not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unix_path(address: str) -> Path | None:
    """The socket's path in `unix:///path`; None for a TCP address."""
    if not address.startswith("unix:"):
        return None
    path = address.removeprefix("unix://")
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError(f"{address!r} is not unix:///path, with an absolute path of a socket")
    return Path(path)


def url_path(url: str) -> Path:
    """The absolute path in `sqlite://PATH` or `file://PATH`; a relative one is seen from the working directory."""
    return absolute(Path(url.partition("://")[2]))


def absolute(path: Path) -> Path:
    """A path seen from the working directory, or from the home directory that its ~ means. Raises ValueError if none is."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"there is no home directory for {path.parts[0]}") from None


def without_credentials(url: str) -> str:
    """A tier's URL as it may be shown: no user, no password, neither before the host nor as a parameter."""
    scheme, separator, rest = url.partition("://")
    place, question, query = rest.partition("?")
    host, slash, path = place.partition("/")
    kept = [pair for pair in query.split("&") if pair and not _SECRET.search(pair.partition("=")[0])]
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}{question if kept else ''}{'&'.join(kept)}"
